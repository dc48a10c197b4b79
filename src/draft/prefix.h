// Under which prefix of a checkpoint's names the model is, by evidence: a part of the names that
// could be a whole model, and nothing beside it that belongs to one. State of an optimizer, which
// numbers the parameters, is told from a model.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace wb::draft {

struct Root {
  std::string prefix;                  // "" or with its last dot
  std::vector<std::string> optimizer;  // patterns with '*' of optimizer state
};

// `plain`: the name of each tensor, without what torch.compile adds. Throws Code::recipe_ambiguous
// when two models lie side by side.
Root find_root(const std::vector<std::string>& plain, const Checkpoint& checkpoint);

}  // namespace wb::draft
