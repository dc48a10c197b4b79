// From the fields of a ModelSpec to the arguments of ops/, which knows no ModelSpec. Shared by all
// that run models; refuses nothing (validate() has).
#pragma once

#include "model/spec.h"
#include "ops/elementwise.h"
#include "ops/rope.h"
#include "ops/route.h"

namespace wb {

ops::Act act_of(Activation activation);
// The angles of `heads` heads (the queries', or the rope keys').
ops::RopeTable rope_table(const ModelSpec& spec, std::size_t heads);
// `expert_bias` [n_routed_experts], or null; borrowed.
ops::RouteArgs route_args(const RouterSpec& router, const float* expert_bias);

}  // namespace wb
