// What the settings of a recipe reach: which fields of [model] change with which of
// them, and which change tensors. Read off the recipe's expressions, so that a search can
// tell what must be computed again; runs nothing.
#pragma once

#include <map>
#include <set>
#include <string>

#include "recipe/recipe.h"

namespace wb {

struct Reach {
  // By field path: the settings that its expression depends on, also by way of dimensions. Fields
  // that depend on none are not listed.
  std::map<std::string, std::set<std::string>> fields;
  // By setting: those that its limits depend on, and itself.
  std::map<std::string, std::set<std::string>> limits;
  // Settings that tensors, shapes, indices or conditions depend on.
  std::set<std::string> tensors;
};
Reach reach_of_settings(const Recipe& recipe);

}  // namespace wb
