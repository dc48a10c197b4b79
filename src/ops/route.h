// Choosing experts: scores, balancing bias, group limits, top-k, weights; all in f64.
// One token at a time. Takes its switches as plain arguments; refuses nothing (the
// decoder has checked that k experts are there to be chosen).
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace wb::ops {

// The indices of the k largest values, largest first; of equal ones the lower index first.
std::vector<std::uint32_t> top_k(std::span<const double> values, std::size_t k);

struct RouteArgs {
  enum class Score { softmax_of_chosen, softmax, sigmoid } score = Score::sigmoid;
  // none; added to the logits; to the scores for the choice only; to the scores for the choice
  // and the weights.
  enum class Bias { none, logits, selection, scores } bias = Bias::none;
  const float* expert_bias = nullptr;  // [experts] unless bias is none
  // Bounds, for none of which there are infinities: of the logits before the bias, and of the
  // chosen weights before they are normalised.
  double logit_min = -std::numeric_limits<double>::infinity();
  double logit_max = std::numeric_limits<double>::infinity();
  double weight_min = -std::numeric_limits<double>::infinity();
  double weight_max = std::numeric_limits<double>::infinity();
  std::size_t k = 1;
  bool norm = false;  // divide the weights by their sum + norm_eps, by norm_min at least
  double norm_eps = 0.0, norm_min = 0.0;
  double factor = 1.0;
  std::size_t groups = 1, groups_kept = 1;
  bool group_by_max = false;        // else by the sum of its two best
  bool mask_with_infinity = false;  // masked groups' scores become -inf, else 0
};
// What choosing needs beside; grown by the first use, so that more of a kind allocate nothing.
struct RouteWork {
  std::vector<double> scores, choice, groups, chosen;
  std::vector<std::uint32_t> order;
};
// logits [experts]; writes k experts, best first, and their weights.
void route(const RouteArgs& args, std::span<const double> logits, std::uint32_t* experts,
           float* weights, RouteWork& work);
void route(const RouteArgs& args, std::span<const double> logits, std::uint32_t* experts,
           float* weights);

}  // namespace wb::ops
