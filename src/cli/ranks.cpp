// See ranks.h.
#include "cli/ranks.h"

#include <dlfcn.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "mpi/module.h"

namespace wb::cli {

namespace {

namespace fs = std::filesystem;

// Where launchers say how many processes they started (Open MPI, PMIx and PMI).
unsigned launched() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
    if (const char* value = std::getenv(name)) return static_cast<unsigned>(std::atoi(value));
  }
  return 1;
}

std::string executable_folder() {
  std::array<char, 4096> path{};
  const ssize_t n = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
  return n > 0 ? fs::path(std::string(path.data(), static_cast<std::size_t>(n)))
                     .parent_path()
                     .string()
               : std::string(".");
}

const MpiModule* load_module() {
  const std::string here = executable_folder();
  for (const std::string& path :
       {here + "/" WB_MPI_MODULE, here + "/../lib/weightbridge/" WB_MPI_MODULE}) {
    // Global, because Open MPI loads parts of itself that look for its symbols.
    if (void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL)) {
      using Get = const MpiModule* (*)();
      if (void* get = ::dlsym(library, "weightbridge_mpi")) return reinterpret_cast<Get>(get)();
    }
  }
  const char* why = ::dlerror();
  throw Error(Code::usage, "mpirun started several processes, and this build cannot join them")
      .expected(WB_MPI_MODULE " beside the program")
      .actual(why != nullptr ? why : "none")
      .advice("Build with libopenmpi-dev installed, or run it without mpirun.");
}

struct Joined {
  const MpiModule* module = nullptr;
  RankGroup group;
};

Joined join() {
  Joined out;
  if (launched() < 2) return out;
  out.module = load_module();
  out.module->start(&out.group.rank, &out.group.size);
  const MpiModule* module = out.module;
  const unsigned size = out.group.size;
  out.group.gather = [module, size](const std::string& text) {
    std::vector<std::string> all(size);
    module->gather(text.data(), text.size(), &all,
                   [](void* to, unsigned rank, const char* data, std::size_t n) {
                     static_cast<std::vector<std::string>*>(to)->at(rank).assign(data, n);
                   });
    return all;
  };
  return out;
}

Joined& joined() {
  static Joined once = join();
  return once;
}

}  // namespace

const RankGroup& ranks() { return joined().group; }

void leave_ranks() {
  if (joined().module != nullptr) joined().module->finish();
}

}  // namespace wb::cli
