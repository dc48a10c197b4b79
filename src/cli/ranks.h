// The processes that mpirun started beside this one, if it did: who this one is, and
// how they exchange text. MPI itself is a module that is loaded when it is needed, so
// that the program starts without it where there is none.
#pragma once

#include "convert/convert.h"

namespace wb::cli {

// This process's group; one rank where mpirun did not start it. Joins MPI on the first call.
// Throws Code::usage when mpirun started it and the module cannot be loaded.
const RankGroup& ranks();
// To be called once everything has gone well. A process that ends without it ends the others too.
void leave_ranks();

}  // namespace wb::cli
