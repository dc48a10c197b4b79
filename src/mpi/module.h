// What the program asks of MPI, as a table of C functions, so that a module built with
// MPI's compiler flags can be loaded at run time by a program that was not.
#pragma once

#include <cstddef>

struct MpiModule {
  // Joins; who this process is, and of how many.
  void (*start)(unsigned* rank, unsigned* size);
  // Every rank's bytes to every rank: calls take(to, rank, data, size) once per rank, in order.
  void (*gather)(const char* data, std::size_t size, void* to,
                 void (*take)(void* to, unsigned rank, const char* data, std::size_t size));
  void (*finish)();
};

// The module's one symbol.
extern "C" const MpiModule* weightbridge_mpi();
