// `recipes solve`: which settings of a recipe reproduce a run of the user's own. Stage
// by stage: what acts on a first token before what needs others to attend to, a layer
// at a time where hidden states were exported, few tokens before many. Owns the order
// of the stages and the verdict, which is verify's: nothing is accepted that does not
// reproduce the whole reference to rounding.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "recipe/recipe.h"
#include "solve/decide.h"
#include "verify/judge.h"

namespace wb {

struct StageReport {
  std::string name;
  Fit fit;
  std::size_t looks = 0;             // readings that were run
  std::vector<std::string> decided;  // fields with one value left after it
};

struct FieldReport {
  Unknown unknown;
  nlohmann::json value;
  std::string formula;          // "qk_nope_head_dim^-0.5"; "" when the value is no formula
  std::size_t stage = 0;        // where `tried` was measured
  std::vector<Tried> tried;     // every value that was in question there, `value` among them
  bool without_effect = false;  // a setting that nothing of the recipe depends on
  // For each value that is as near: why it computes the same, or what would tell.
  struct Same {
    nlohmann::json value;
    std::string proof;        // "" = not proven
    std::string would_tell;   // when not proven
    double logits_apart = 0;  // largest logit difference on the window
  };
  std::vector<Same> same;
};

struct LayerReport {
  double own_units = 0;  // from the reference's own input: worst row, in units of rounding
  bool agrees = false;
};

struct Solution {
  bool solved = false;
  std::vector<StageReport> stages;
  std::vector<FieldReport> fields;
  ReferenceComparison comparison;       // of the answer (or the nearest) with the whole reference
  std::vector<Check> checks;            // verify's, on `comparison`
  std::vector<LayerReport> layers;      // where hidden states were exported
  std::optional<std::size_t> parts_at;  // the first layer that does not follow from its input
  bool head_parts = false;              // all layers agree and the logits do not
  std::size_t looks = 0;
  CanonicalModel model;
};

struct SolveOptions {
  unsigned threads = 0;
  std::function<void(const std::string& stage)> progress;
};

// Throws what apply() throws where no values of the unknowns fit the weights, and what the
// reference's reading throws.
Solution solve(const Recognition& recognition, const Checkpoint& checkpoint,
               const std::map<std::string, std::string>& settings, const Checkpoint& reference,
               const SolveOptions& options);

// The recipe's text with the answers in place: each "?" of [model] and each setting's default.
// Comments and order stay.
std::string with_answers(const std::string& toml, const std::vector<FieldReport>& fields);

}  // namespace wb
