// The texts of recipes/*.toml, which the build turns into a source file
// (cmake/embed_recipes.cmake), so that the program is one file.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "recipe/recipe.h"

namespace wb {

struct EmbeddedRecipe {
  std::string_view file;  // "recipes/NAME.toml"
  std::string_view text;
};
const std::vector<EmbeddedRecipe>& embedded_recipes();

// Number i of them, parsed when it is first asked for: recognising a checkpoint must not cost
// reading every layout there is. Safe from many threads.
RecipePtr shipped_recipe(std::size_t i);
// The names without index variables that the text's `recognise` lists, read off the text; empty
// where it has none of its own, as when it extends another recipe.
std::vector<std::string> literal_evidence(std::string_view text);

}  // namespace wb
