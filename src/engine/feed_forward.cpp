// Dense networks and mixtures of experts; see runner.h. The rows of each chosen expert are gathered
// side by side, so that every expert is one product however many tokens chose it; each token's
// answers are then summed in the order of its choice.
#include <algorithm>

#include "base/error.h"
#include "engine/runner.h"
#include "ops/simd.h"

namespace wb::engine {

namespace {

// Multiplications of the router beyond which its experts are shared out.
constexpr std::size_t kThreadWork = std::size_t{1} << 18;

}  // namespace

void Runner::choose(const Layer& l, const float* x, std::size_t n) {
  const std::size_t experts = l.experts.size(), k = l.route.k;
  chosen_.resize(std::max(chosen_.size(), n * k));
  sized(chosen_weights_, n * k);
  logits_.resize(std::max(logits_.size(), n * experts));
  auto body = [&](std::size_t i, unsigned) {
    const std::size_t e = i % experts, t = i / experts;
    const double bias = l.router_bias.empty() ? 0.0 : static_cast<double>(l.router_bias[e]);
    // In f64: a choice is a discontinuity, so it should not hang on rounding of our own.
    logits_[i] =
        bias + ops::simd_wide_dot(l.router.data() + e * d_.hidden, x + t * d_.hidden, d_.hidden);
  };
  if (n * experts * d_.hidden < kThreadWork) {
    for (std::size_t i = 0; i < n * experts; ++i) body(i, 0);
  } else {
    pool_.run(n * experts, body);
  }
  for (std::size_t t = 0; t < n; ++t) {
    ops::route(l.route, std::span(logits_).subspan(t * experts, experts), chosen_.data() + t * k,
               chosen_weights_.data() + t * k, route_work_);
  }
}

void Runner::gather(const Layer& l, const float* x, std::size_t n) {
  const std::size_t k = l.route.k;
  first_.assign(l.experts.size() + 1, 0);
  for (std::size_t s = 0; s < n * k; ++s) ++first_[chosen_[s] + 1];
  for (std::size_t e = 0; e < l.experts.size(); ++e) first_[e + 1] += first_[e];
  place_.resize(std::max(place_.size(), n * k));
  // Rows of one expert in the order of tokens; first_ is put back below.
  for (std::size_t s = 0; s < n * k; ++s) place_[s] = first_[chosen_[s]]++;
  for (std::size_t e = l.experts.size(); e > 0; --e) first_[e] = first_[e - 1];
  first_[0] = 0;
  if (n == 1) return;  // its one row is where it is, for all of them
  float* rows = sized(gathered_, n * k * d_.hidden);
  for (std::size_t s = 0; s < n * k; ++s) {
    std::copy_n(x + s / k * d_.hidden, d_.hidden, rows + place_[s] * d_.hidden);
  }
}

// All networks of the layer: the chosen experts' answers into slots_, the shared one's into
// shared_.
void Runner::mlps(const Layer& l, const float* x, std::size_t n, const Layer* then) {
  const std::size_t width = l.experts[0].up.out(), rows = n * l.route.k;
  sized(inner_, rows * width);
  sized(slots_, rows * d_.hidden);
  const bool shared = l.shared.up.out() > 0;
  for (std::size_t e = 0; e < l.experts.size(); ++e) {
    const Mlp& m = l.experts[e];
    if (first_[e] == first_[e + 1]) continue;
    products_.add({.w = &m.up,
                   .x = n == 1 ? x : gathered_.data() + first_[e] * d_.hidden,
                   .n = first_[e + 1] - first_[e],
                   .y = inner_.data() + first_[e] * width,
                   .gate = m.gated ? &m.gate : nullptr,
                   .activated = true,
                   .act = m.act});
  }
  if (shared) {
    products_.add({.w = &l.shared.up,
                   .x = x,
                   .n = n,
                   .y = sized(shared_inner_, n * l.shared.up.out()),
                   .gate = l.shared.gated ? &l.shared.gate : nullptr,
                   .activated = true,
                   .act = l.shared.act});
  }
  products_.next({{shared ? &l.shared.down : nullptr}});
  products_.run();
  for (std::size_t e = 0; e < l.experts.size(); ++e) {
    if (first_[e] == first_[e + 1]) continue;
    products_.add({.w = &l.experts[e].down,
                   .x = inner_.data() + first_[e] * width,
                   .n = first_[e + 1] - first_[e],
                   .y = slots_.data() + first_[e] * d_.hidden});
  }
  if (shared) {
    products_.add({.w = &l.shared.down,
                   .x = shared_inner_.data(),
                   .n = n,
                   .y = sized(shared_, n * d_.hidden)});
  }
  after_block(then);
  products_.run();
}

void Runner::sum_experts(const Layer& l, std::size_t n) {
  const std::size_t k = l.route.k;
  const bool shared = l.shared.up.out() > 0 && spec_.moe.shared_scale != 0.0;
  answers_.resize(k + 1);
  factors_.resize(k + 1);
  for (std::size_t t = 0; t < n; ++t) {
    for (std::size_t s = 0; s < k; ++s) {
      answers_[s] = slots_.data() + place_[t * k + s] * d_.hidden;
      factors_[s] = static_cast<double>(chosen_weights_[t * k + s]);
    }
    answers_[k] = shared_.data() + t * d_.hidden;
    factors_[k] = spec_.moe.shared_scale;
    ops::simd_wide_mix(answers_.data(), factors_.data(), shared ? k + 1 : k,
                       out_.data() + t * d_.hidden, d_.hidden);
  }
}

// Says what follows a block's last section.
void Runner::after_block(const Layer* then) {
  if (then == nullptr) return products_.next({{&weights_.head}});
  products_.next({{&then->q_down}, {&then->kv_down}, {&then->k_rope}});
}

void Runner::feed_forward(const Layer& l, const float* x, std::size_t n, const Layer* then) {
  sized(out_, n * d_.hidden);
  if (l.moe) {
    choose(l, x, n);
    gather(l, x, n);
    mlps(l, x, n, then);
    sum_experts(l, n);
    return;
  }
  products_.add({.w = &l.dense.up,
                 .x = x,
                 .n = n,
                 .y = sized(inner_, n * l.dense.up.out()),
                 .gate = l.dense.gated ? &l.dense.gate : nullptr,
                 .activated = true,
                 .act = l.dense.act});
  products_.next({{&l.dense.down}});
  products_.run();
  products_.add({.w = &l.dense.down, .x = inner_.data(), .n = n, .y = out_.data()});
  after_block(then);
  products_.run();
}

}  // namespace wb::engine
