// `weightbridge recipes solve`, declared by recipes.cpp.
#pragma once

#include "cli/cli.h"

namespace wb::cli {

void add_recipes_solve(CLI::App& recipes, Session& session);

}  // namespace wb::cli
