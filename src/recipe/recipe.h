// Recipes: how one source layout spells a canonical model (docs/recipes.md). A
// recipe is parsed and checked by itself (every mistake at once, with its line),
// then applied to a checkpoint: recognised by evidence, dimensions inferred and
// checked wherever they occur again, every source tensor accounted for. Applying
// reads no tensor bytes but those of a recipe's own checks (same(), equal()).
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "model/canonical.h"

namespace wb {

struct RecipeMistake {
  unsigned line, column;  // 1-based, in the recipe file
  std::string text;       // what is wrong and what would be right
};

class Recipe;  // parsed form, recipe_impl.h
using RecipePtr = std::shared_ptr<const Recipe>;

struct ParsedRecipe {
  RecipePtr recipe;                     // null when it could not be built
  std::vector<RecipeMistake> mistakes;  // empty = good; in line order
};
// `file` is for messages.
ParsedRecipe parse_recipe(const std::string& toml, const std::string& file);
// Reads and parses; throws Code::recipe_invalid with every mistake, one a line.
RecipePtr load_recipe(const std::string& path);
// The recipes that ship: built into the program, so that it is one file.
const std::vector<RecipePtr>& shipped_recipes();

struct RecipeSummary {
  std::string name, title, file;
  struct Ask {
    std::string key, help;
    nlohmann::json default_value;
  };
  std::vector<Ask> asks;
};
RecipeSummary summary(const Recipe& recipe);

struct Recognition {
  RecipePtr recipe;
  std::string prefix;  // "" or e.g. "model_state_dict._orig_mod."
};
// The one shipped recipe (or `only`, when given) whose evidence the checkpoint shows.
// Throws recipe_unknown with what was seen, grouped by pattern, and how to start one;
// recipe_ambiguous with the candidates.
Recognition recognise(const Checkpoint& checkpoint, const RecipePtr& only = nullptr,
                      const std::string& forced_prefix = "");

// settings: --set key=value, values as given. Unknown keys: setting_unknown.
CanonicalModel apply(const Recognition& recognition, const Checkpoint& checkpoint,
                     const std::map<std::string, std::string>& settings);

// Names grouped by pattern (digits -> {}), with counts, dtypes and shapes: what
// `inspect` shows for a layout that nobody knows.
struct NameGroup {
  std::string pattern;
  std::size_t count;
  std::string dtype;
  std::string shape;  // "[8, 512]" or "[8..16, 512]" where members differ
};
std::vector<NameGroup> group_names(const Checkpoint& checkpoint);

}  // namespace wb
