// What solve varies: one unknown for each open field of [model] and each setting that
// only a default answers, with the values to try. Owns the list of usual values for
// every field of ModelSpec that weights can't tell; runs nothing.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "recipe/recipe.h"

namespace wb {

struct Unknown {
  std::string key;  // field path, or setting
  bool setting = false;
  std::string help;
  std::vector<nlohmann::json> listed;  // the recipe's own candidates; empty = the usual values
  bool endless = false;  // a setting of whole numbers that the recipe gives no upper limit
  std::string usual_of;  // and then also the usual values of this field
  // Without effect on the first token of a sequence, which attends to itself alone: it only turns
  // or weighs queries and keys.
  bool later = false;
  // May act between the last hidden state and the logits.
  bool head = false;
  // Unknowns of one group act on the same thing and may hide each other; "" = of none.
  std::string group;
  // A real number that may be found by minimisation when no usual value fits: between these.
  bool real = false;
  double least = 0, most = 0;
};

std::vector<Unknown> unknowns_of(const std::vector<Question>& questions);
// What is known of a setting once the fields are known that it changes: it acts where they do, and
// is given their usual values where the recipe lists none.
void learn_from_fields(Unknown& setting, const std::vector<std::string>& fields);

// The values to try for `unknown` in a model of these dimensions, most usual first, each once.
// Never empty.
std::vector<nlohmann::json> values_to_try(const Unknown& unknown, const ModelSpec& spec);

}  // namespace wb
