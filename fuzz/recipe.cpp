// Any text as a recipe: parsed, or answered with mistakes that stand somewhere in it. One without
// a mistake has none when all that it extends is written into it.
#include "recipe/recipe.h"

#include <algorithm>
#include <string>

#include "input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text = wb::fuzz::text_of(data, size);
  const wb::ParsedRecipe parsed = wb::parse_recipe(text, "fuzz.toml");
  const auto lines = static_cast<unsigned>(std::count(text.begin(), text.end(), '\n')) + 1;
  for (const wb::RecipeMistake& mistake : parsed.mistakes) {
    WB_CHECK(mistake.file < parsed.files.size() && !mistake.text.empty());
    WB_CHECK(mistake.line >= 1 && mistake.column >= 1);
    WB_CHECK(mistake.file != 0 || mistake.line <= lines);
  }
  if (!parsed.mistakes.empty()) return 0;
  WB_CHECK(parsed.recipe != nullptr);
  const std::string flat = wb::flat_recipe(text, "fuzz.toml");
  const wb::ParsedRecipe again = wb::parse_recipe(flat, "flat.toml");
  WB_CHECK(again.mistakes.empty() && again.recipe != nullptr);
  WB_CHECK(wb::flat_recipe(flat, "flat.toml") == flat);
  return 0;
}
