// How small the divisor of a router's weights can be, whatever the tokens are: a norm bounds
// what a router reads, so its weights bound the logits. Owns that bound; reads tensors.
#pragma once

#include "model/canonical.h"

namespace wb {

// A number that the sum of the chosen scores (before norm_eps) is never below in any layer; 0 where
// none is known: a router's input without a norm, groups of experts, clamps.
double least_divisor(const CanonicalModel& model);

}  // namespace wb
