// The simple number or formula that a fitted number is meant to be: short decimals, small
// fractions, powers of the model's dimensions, softmax scales with YaRN's magnitude. Owns those
// forms; which of them the evidence bears out is for others to see.
#pragma once

#include <string>
#include <vector>

#include "model/spec.h"

namespace wb {

// A number with the formula that it is, e.g. {0.25, "qk_nope_head_dim^-0.5"} or {2.5, "2.5"}.
struct NamedNumber {
  double value;
  std::string text;
};
// Simple forms within `distance` (relative) of `value`, simplest first: short decimals, small
// fractions, powers of the model's dimensions; scales with YaRN's magnitude within 1e-6 alone.
std::vector<NamedNumber> simple_forms(double value, double distance, const ModelSpec& spec);
// The formula in the dimensions that `value` is to f64 rounding; "" when none.
std::string formula_of(double value, const ModelSpec& spec);

}  // namespace wb
