// The router's arithmetic; see route.h.
#include "ops/route.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace wb::ops {

namespace {

void softmax_in_place(std::vector<double>& x) {
  const double max = *std::max_element(x.begin(), x.end());
  double total = 0;
  for (double& v : x) total += v = std::exp(v - max);
  for (double& v : x) v /= total;
}

// As top_k(), into `order`.
void order_best(std::span<const double> values, std::size_t k, std::vector<std::uint32_t>& order) {
  order.resize(values.size());
  std::iota(order.begin(), order.end(), 0u);
  k = std::min(k, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k), order.end(),
                    [&](std::uint32_t a, std::uint32_t b) {
                      return values[a] != values[b] ? values[a] > values[b] : a < b;
                    });
  order.resize(k);
}

// The largest of some values, plus the second where it counts.
double group_score(std::span<const double> members, bool by_max) {
  double best = -std::numeric_limits<double>::infinity(), second = best;
  for (double v : members) {
    second = std::max(second, std::min(best, v));
    best = std::max(best, v);
  }
  return by_max || members.size() == 1 ? best : best + second;
}

// Masks all groups but the best `groups_kept` of `choice`.
void limit_groups(const RouteArgs& args, RouteWork& work) {
  std::vector<double>& choice = work.choice;
  const std::size_t size = choice.size() / args.groups;
  work.groups.resize(args.groups);
  for (std::size_t g = 0; g < args.groups; ++g) {
    work.groups[g] = group_score(std::span(choice).subspan(g * size, size), args.group_by_max);
  }
  order_best(work.groups, args.groups_kept, work.order);
  const double masked = args.mask_with_infinity ? -std::numeric_limits<double>::infinity() : 0.0;
  for (std::size_t e = 0; e < choice.size(); ++e) {
    const auto group = static_cast<std::uint32_t>(e / size);
    const bool kept = std::find(work.order.begin(), work.order.end(), group) != work.order.end();
    if (!kept) choice[e] = masked;
  }
}

}  // namespace

std::vector<std::uint32_t> top_k(std::span<const double> values, std::size_t k) {
  std::vector<std::uint32_t> order;
  order_best(values, k, order);
  return order;
}

void route(const RouteArgs& args, std::span<const double> logits, std::uint32_t* experts,
           float* weights) {
  RouteWork work;
  route(args, logits, experts, weights, work);
}

void route(const RouteArgs& args, std::span<const double> logits, std::uint32_t* experts,
           float* weights, RouteWork& work) {
  using Score = RouteArgs::Score;
  using Bias = RouteArgs::Bias;
  std::vector<double>& scores = work.scores;
  scores.assign(logits.begin(), logits.end());
  auto add_bias = [&](std::vector<double>& to) {
    for (std::size_t e = 0; e < to.size(); ++e) to[e] += static_cast<double>(args.expert_bias[e]);
  };
  for (double& s : scores) s = std::clamp(s, args.logit_min, args.logit_max);
  if (args.bias == Bias::logits) add_bias(scores);
  if (args.score == Score::softmax) softmax_in_place(scores);
  if (args.score == Score::sigmoid) {
    for (double& s : scores) s = 1.0 / (1.0 + std::exp(-s));
  }
  std::vector<double>& choice = work.choice;
  choice.assign(scores.begin(), scores.end());
  if (args.bias == Bias::selection || args.bias == Bias::scores) add_bias(choice);
  if (args.groups > 1) limit_groups(args, work);
  // With the bias in the scores, what chose is what weighs: masked groups weigh 0 there.
  const std::vector<double>& weigh = args.bias == Bias::scores ? choice : scores;

  order_best(choice, args.k, work.order);
  std::vector<double>& w = work.chosen;
  w.clear();
  for (std::uint32_t e : work.order) w.push_back(weigh[e]);
  if (args.score == Score::softmax_of_chosen) softmax_in_place(w);
  for (double& v : w) v = std::clamp(v, args.weight_min, args.weight_max);
  double divisor = 1.0;
  if (args.norm) {
    divisor = std::accumulate(w.begin(), w.end(), 0.0) + args.norm_eps;
    if (args.norm_min > 0.0) divisor = std::max(divisor, args.norm_min);
  }
  for (std::size_t i = 0; i < work.order.size(); ++i) {
    experts[i] = work.order[i];
    weights[i] = static_cast<float>(w[i] / divisor * args.factor);
  }
}

}  // namespace wb::ops
