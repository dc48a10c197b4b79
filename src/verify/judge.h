// The verdict: which measured numbers were held to which limits, and whether each
// holds. Limits come from options, else from what the folder claims to be: a faithful
// copy is held to rounding (compare.h, Tolerances), an approximation to a stated cost.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "verify/tensors.h"
#include "verify/verify.h"

namespace wb {

struct Thresholds {
  std::optional<double> max_kl, min_top1, max_abs, max_perplexity_ratio;  // as given by the user
};
struct Check {
  std::string name;  // "mean KL"
  double measured = 0;
  double limit = 0;
  bool at_least = false;  // measured must be >= limit instead of <=
  bool pass = false;
  std::string why;  // where the limit comes from
};

// What an approximation may cost before verify fails, when the user does not say: a mean KL of
// 0.05 nats. Four-bit weights commonly cost about as much.
inline constexpr double kApproximationKl = 0.05;

// `faithful`: the folder claims that every tensor is exact and unquantised.
std::vector<Check> judge(const ModelComparison& comparison, const Thresholds& thresholds,
                         bool faithful);
std::vector<Check> judge(const ReferenceComparison& comparison, const Thresholds& thresholds);
// For a folder of the same model description: no tensor may be other than rounded once.
Check judge(const TensorComparison& comparison);
bool all_pass(const std::vector<Check>& checks);

}  // namespace wb
