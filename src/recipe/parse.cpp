// From a recipe's text to the checked recipe: what it extends is merged in, the whole is checked,
// and mistakes come in the order of their lines, each once. Refuses a recipe with any of them.
#include <algorithm>
#include <tuple>

#include "recipe/check.h"
#include "recipe/merge.h"

namespace wb {

namespace {

constexpr std::size_t kMostTold = 100;

[[noreturn]] void invalid(const ParsedRecipe& parsed, const std::string& path) {
  std::size_t n = parsed.mistakes.size();
  std::string sentence =
      "the recipe has " + std::to_string(n) + (n == 1 ? " mistake" : " mistakes");
  std::size_t told = 0;
  for (const RecipeMistake& m : parsed.mistakes) {
    if (++told > kMostTold) {
      sentence += "\n... and " + std::to_string(n - kMostTold) + " more";
      break;
    }
    sentence += "\n" + parsed.files[m.file] + ":" + std::to_string(m.line) + ":" +
                std::to_string(m.column) + ": " + m.text;
  }
  throw Error(Code::recipe_invalid, sentence + "\n")
      .file(path)
      .advice("Correct these lines; docs/recipes.md describes the language.");
}

}  // namespace

ParsedRecipe parse_recipe(const std::string& toml, const std::string& file) {
  ParsedRecipe out;
  MergedDocument doc = merged_document(toml, file, out.mistakes);
  out.files = doc.files;
  if (!out.mistakes.empty()) return out;
  std::shared_ptr<Recipe> recipe = RecipeChecker(doc.root, doc.files, out.mistakes).run();
  auto order = [](const RecipeMistake& a, const RecipeMistake& b) {
    return std::tie(a.file, a.line, a.column, a.text) < std::tie(b.file, b.line, b.column, b.text);
  };
  auto same = [&](const RecipeMistake& a, const RecipeMistake& b) {
    return !order(a, b) && !order(b, a);
  };
  // A line that is spelled out for several blocks reports its mistake for each.
  std::sort(out.mistakes.begin(), out.mistakes.end(), order);
  out.mistakes.erase(std::unique(out.mistakes.begin(), out.mistakes.end(), same),
                     out.mistakes.end());
  if (out.mistakes.empty()) out.recipe = std::move(recipe);
  return out;
}

RecipePtr load_recipe(const std::string& path) {
  ParsedRecipe parsed = parse_recipe(read_document(path), path);
  if (parsed.recipe != nullptr) return parsed.recipe;
  invalid(parsed, path);
}

std::string flat_recipe(const std::string& toml, const std::string& file) {
  ParsedRecipe parsed = parse_recipe(toml, file);
  if (parsed.recipe == nullptr) invalid(parsed, file);
  return to_toml(merged_document(toml, file, parsed.mistakes).root);
}

RecipeSummary summary(const Recipe& recipe) {
  RecipeSummary out{recipe.name, recipe.title, recipe.file, {}};
  for (const AskRule& ask : recipe.asks) {
    out.asks.push_back({recipe.scalars[ask.slot].name, ask.help, ask.default_value});
  }
  return out;
}

}  // namespace wb
