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
  unsigned file = 0;      // index into ParsedRecipe::files
};

class Recipe;  // parsed form, recipe_impl.h
using RecipePtr = std::shared_ptr<const Recipe>;

struct ParsedRecipe {
  RecipePtr recipe;                     // null when it could not be built
  std::vector<RecipeMistake> mistakes;  // empty = good; in line order
  std::vector<std::string> files;       // the recipe's, then those that it extends
};
// `file` is for messages, and what the recipe extends is looked for beside it.
ParsedRecipe parse_recipe(const std::string& toml, const std::string& file);
// Reads and parses; throws Code::recipe_invalid with every mistake, one a line.
RecipePtr load_recipe(const std::string& path);
// The recipe with all that it extends merged into it, as TOML. Throws Code::recipe_invalid.
std::string flat_recipe(const std::string& toml, const std::string& file);
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

// Values that stand in for what a recipe says, so that many readings of one checkpoint can be
// tried without another recipe text.
struct Overrides {
  std::map<std::string, nlohmann::json> fields;    // by path, e.g. "router.score" -> "sigmoid"
  std::map<std::string, nlohmann::json> settings;  // by key; goes before --set
};

// settings: --set key=value, values as given. Unknown keys: setting_unknown.
// Throws recipe_open while a field of [model] is "?" and `overrides` does not say it.
CanonicalModel apply(const Recognition& recognition, const Checkpoint& checkpoint,
                     const std::map<std::string, std::string>& settings,
                     const Overrides& overrides = {});

// What weights can't tell and nobody has said yet: a field of [model] that is "?", or a setting
// that neither --set nor a value beside the tensors gives.
struct Question {
  enum class Kind { field, setting };
  Kind kind;
  std::string key;  // the field's path, or the setting's key
  std::string help;
  nlohmann::json default_value;  // the setting's; null for a field
  // Values to try, as far as the recipe tells: a setting's candidates, else its choices, else true
  // and false, else the whole numbers between its bounds (the first 64); a field's words, or
  // true and false. Empty for other numbers.
  std::vector<nlohmann::json> candidates;
  // A setting of real numbers that has both bounds: what lies between them may be tried.
  double least = 0, most = 0;
};
// What [model] says, with fields that are open and not in `overrides` at their defaults; not
// validated, and no tensor is made. Throws where the dimensions contradict the checkpoint.
ModelSpec stated_spec(const Recognition& recognition, const Checkpoint& checkpoint,
                      const std::map<std::string, std::string>& settings,
                      const Overrides& overrides);
std::vector<Question> questions(const Recognition& recognition, const Checkpoint& checkpoint,
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
