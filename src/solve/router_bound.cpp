// See router_bound.h. x / sqrt(mean x^2) of n numbers has length sqrt(n) at most, so a
// logit W . (w x) lies within sqrt(n) |W w| of its bias, and a score within the scores of
// both ends. Groups that are out of the choice take nothing from a sum of sigmoids: it is still one
// of k experts, whichever they are.
#include "solve/router_bound.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tensor/read.h"

namespace wb {

namespace {

struct Range {
  double low = 0, high = 0;
};

std::vector<float> values(const CanonicalModel& model, const std::string& name) {
  auto it = model.tensors.find(name);
  return it == model.tensors.end() ? std::vector<float>() : read_f32(it->second);
}

// The logits of layer `l`, each between two ends.
std::vector<Range> logits(const CanonicalModel& model, const std::string& layer) {
  const ModelSpec& s = model.spec;
  const std::size_t n = s.hidden_size;
  const std::vector<float> router = values(model, layer + ".mlp.router.weight");
  const std::vector<float> bias = values(model, layer + ".mlp.router.bias");
  const std::vector<float> balance = values(model, layer + ".mlp.router.expert_bias");
  const std::vector<float> norm = values(model, layer + ".mlp_norm.weight");
  const std::vector<float> shift = values(model, layer + ".mlp_norm.bias");
  std::vector<Range> out;
  for (std::size_t e = 0; e < s.moe.n_routed_experts; ++e) {
    double square = 0, middle = bias.empty() ? 0 : static_cast<double>(bias[e]);
    if (s.router.expert_bias == ExpertBias::logits) middle += static_cast<double>(balance[e]);
    for (std::size_t i = 0; i < n; ++i) {
      const double w = static_cast<double>(router[e * n + i]);
      square += std::pow(w * static_cast<double>(norm[i]), 2);
      if (!shift.empty()) middle += w * static_cast<double>(shift[i]);
    }
    const double reach = std::sqrt(static_cast<double>(n) * square);
    out.push_back({middle - reach, middle + reach});
  }
  return out;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// The least sum of k chosen sigmoids: k of the smallest, or what an expert gives that is always
// chosen, because fewer than k others can ever come before it.
double least_of_sigmoids(const std::vector<Range>& scores, const std::vector<float>& added,
                         std::size_t k, bool grouped) {
  std::vector<double> lows;
  for (const Range& s : scores) lows.push_back(s.low);
  std::sort(lows.begin(), lows.end());
  double least = 0;
  for (std::size_t i = 0; i < k; ++i) least += lows[i];
  if (grouped) return least;  // no expert is always chosen: its group may be out
  auto bias = [&](std::size_t e) { return added.empty() ? 0 : static_cast<double>(added[e]); };
  for (std::size_t e = 0; e < scores.size(); ++e) {
    std::size_t before = 0;
    for (std::size_t o = 0; o < scores.size(); ++o) {
      if (o != e && scores[o].high + bias(o) >= scores[e].low + bias(e)) ++before;
    }
    if (before < k) least = std::max(least, scores[e].low);
  }
  return least;
}

}  // namespace

double least_divisor(const CanonicalModel& model) {
  const ModelSpec& s = model.spec;
  const RouterSpec& r = s.router;
  if (!r.logit_clamp.empty() || !r.weight_clamp.empty()) return 0;
  const bool grouped = r.topk_group != r.n_group;
  if (grouped && (r.score != RouterScore::sigmoid || r.group_mask != GroupMask::negative_infinity))
    return 0;
  const bool joins = r.expert_bias == ExpertBias::scores;
  if (r.score == RouterScore::softmax_of_chosen) return joins ? 0 : 1;
  const std::size_t k = r.num_experts_per_tok;
  if (r.score == RouterScore::softmax) {
    // The k largest of E numbers whose sum is 1.
    const bool by_score = r.expert_bias == ExpertBias::none || r.expert_bias == ExpertBias::logits;
    return by_score ? static_cast<double>(k) / static_cast<double>(s.moe.n_routed_experts) : 0;
  }
  if (joins || s.norm.kind == NormKind::none) return 0;
  double out = INFINITY;
  for (std::uint64_t l = 0; l < s.num_hidden_layers; ++l) {
    if (!s.is_moe(l)) continue;
    const std::string layer = "layers." + std::to_string(l);
    std::vector<Range> scores = logits(model, layer);
    for (Range& range : scores) range = {sigmoid(range.low), sigmoid(range.high)};
    const std::vector<float> added = r.expert_bias == ExpertBias::selection
                                         ? values(model, layer + ".mlp.router.expert_bias")
                                         : std::vector<float>();
    out = std::min(out, least_of_sigmoids(scores, added, k, grouped));
  }
  return std::isinf(out) ? 0 : out;
}

}  // namespace wb
