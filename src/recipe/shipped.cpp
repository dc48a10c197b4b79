// The recipes that ship, parsed once. A mistake in one is ours: the tests parse them all.
#include "recipe/shipped.h"

#include "recipe/recipe.h"

namespace wb {

const std::vector<RecipePtr>& shipped_recipes() {
  static const std::vector<RecipePtr> recipes = [] {
    std::vector<RecipePtr> out;
    for (const EmbeddedRecipe& embedded : embedded_recipes()) {
      ParsedRecipe parsed = parse_recipe(std::string(embedded.text), std::string(embedded.file));
      if (parsed.recipe == nullptr) {
        const RecipeMistake& m = parsed.mistakes.front();
        WB_BUG((std::string(embedded.file) + ":" + std::to_string(m.line) + ": " + m.text).c_str());
      }
      out.push_back(parsed.recipe);
    }
    return out;
  }();
  return recipes;
}

}  // namespace wb
