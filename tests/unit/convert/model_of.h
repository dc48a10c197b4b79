// A lowered model of nothing but tensors, for tests of layouts and of what hangs on them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "convert/layout.h"

namespace wb {

inline LoweredModel model_of(std::vector<std::pair<std::string, Tensor>> tensors) {
  LoweredModel model;
  for (auto& [name, tensor] : tensors) {
    TargetTensor target;
    target.name = name;
    target.tensor = tensor;
    model.tensors.push_back(target);
  }
  return model;
}

}  // namespace wb
