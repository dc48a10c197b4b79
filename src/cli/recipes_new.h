// `recipes new`, a subcommand of recipes.cpp's command.
#pragma once

#include "cli/cli.h"

namespace wb::cli {

void add_recipes_new(CLI::App& recipes, Session& session);

}  // namespace wb::cli
