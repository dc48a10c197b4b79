// A pickle machine that only draws pictures: it runs the stack and the memo of
// protocols 2 to 5 and builds inert nodes. Nothing is imported, resolved or called;
// a handful of names (pickle_globals.h) turn into dicts, tuples and tensor
// descriptions, the dangerous ones are refused, the rest stay words. Iterative,
// with limits on everything that a file chooses.
#pragma once

#include <cstdint>

#include "checkpoint/bytes.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/pickle_value.h"

namespace wb {

struct UnpickleOptions {
  // Items that a persistent id must have: 5 in zip archives, 6 in legacy files, 0 = refuse all.
  unsigned persistent_id_items = 0;
  std::uint64_t max_opcodes = 1u << 26;
  std::uint64_t max_nodes = 1u << 22;
  std::uint64_t max_memo = 1u << 22;
  std::uint64_t max_stack = 1u << 21;
};

// The limits of an opening, for one pickle.
UnpickleOptions unpickle_options(const OpenOptions& options, unsigned persistent_id_items);

// Reads one pickle from the start of `bytes`; what follows its STOP is not looked at
// (Pickle::length says where it ends). The result views `bytes`.
// Throws pickle_opcode, pickle_structure, pickle_global, pickle_storage, format_refused
// (a saved whole module), limit_exceeded.
Pickle unpickle(Bytes bytes, const UnpickleOptions& options);

}  // namespace wb
