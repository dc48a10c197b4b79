// The texts of recipes/*.toml, which the build turns into a source file
// (cmake/embed_recipes.cmake), so that the program is one file.
#pragma once

#include <string_view>
#include <vector>

namespace wb {

struct EmbeddedRecipe {
  std::string_view file;  // "recipes/NAME.toml"
  std::string_view text;
};
const std::vector<EmbeddedRecipe>& embedded_recipes();

}  // namespace wb
