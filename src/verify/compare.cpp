// The formulas of compare.h.
#include "verify/compare.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace wb {

namespace {

// The larger of both; a NaN is larger than everything, and stays.
void keep_larger(double& largest, double value) {
  if (!(value <= largest) && !std::isnan(largest)) largest = value;
}

double log_sum_exp(std::span<const float> row) {
  double top = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (float x : row) sum += std::exp(static_cast<double>(x) - top);
  return top + std::log(sum);
}

// Indices of the five largest, best first; ties go to the lower index.
std::array<std::uint32_t, 5> top_five(std::span<const float> row) {
  std::array<std::uint32_t, 5> best;
  best.fill(~0u);
  for (std::uint32_t i = 0; i < row.size(); ++i) {
    std::size_t at = best.size();
    while (at > 0 && (best[at - 1] == ~0u || row[i] > row[best[at - 1]])) --at;
    if (at == best.size()) continue;
    std::move_backward(best.begin() + static_cast<std::ptrdiff_t>(at), best.end() - 1, best.end());
    best[at] = i;
  }
  return best;
}

double kl_divergence(std::span<const float> a, std::span<const float> b) {
  double za = log_sum_exp(a), zb = log_sum_exp(b), kl = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    double log_p = static_cast<double>(a[i]) - za;
    double log_q = static_cast<double>(b[i]) - zb;
    kl += std::exp(log_p) * (log_p - log_q);
  }
  return std::max(kl, 0.0);  // rounding can leave it a hair below
}

}  // namespace

double LossStats::perplexity() const { return std::exp(mean_nll); }
double LossStats::perplexity_error() const { return perplexity() * standard_error; }

double log_probability(std::span<const float> row, std::uint32_t token) {
  WB_CHECK(token < row.size());
  return static_cast<double>(row[token]) - log_sum_exp(row);
}

void LogitComparison::add(std::span<const float> a, std::span<const float> b, std::size_t vocab) {
  WB_CHECK(vocab > 0 && a.size() == b.size() && a.size() % vocab == 0);
  for (std::size_t at = 0; at < a.size(); at += vocab) {
    auto x = a.subspan(at, vocab), y = b.subspan(at, vocab);
    double mean = std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(vocab);
    for (std::size_t i = 0; i < vocab; ++i) {
      double difference = std::fabs(static_cast<double>(x[i]) - static_cast<double>(y[i]));
      keep_larger(sum_.max_abs, difference);
      square_sum_ += (static_cast<double>(x[i]) - mean) * (static_cast<double>(x[i]) - mean);
    }
    double kl = kl_divergence(x, y);
    sum_.mean_kl += kl;
    keep_larger(sum_.max_kl, kl);
    auto best_a = top_five(x), best_b = top_five(y);
    sum_.top1 += best_a[0] == best_b[0] ? 1 : 0;
    std::size_t count = std::min<std::size_t>(vocab, best_a.size()), shared = 0;
    for (std::size_t i = 0; i < count; ++i) {
      shared += static_cast<std::size_t>(std::count(best_b.begin(), best_b.end(), best_a[i]));
    }
    sum_.top5 += static_cast<double>(shared) / static_cast<double>(count);
    ++sum_.positions;
  }
  logits_ += a.size();
}

LogitStats LogitComparison::result() const {
  LogitStats out = sum_;
  if (out.positions == 0) return out;
  auto n = static_cast<double>(out.positions);
  out.mean_kl /= n;
  out.top1 /= n;
  out.top5 /= n;
  out.rms = std::sqrt(square_sum_ / static_cast<double>(logits_));
  return out;
}

void LossSum::add(double nll) {
  ++n_;
  double delta = nll - mean_;
  mean_ += delta / static_cast<double>(n_);
  m2_ += delta * (nll - mean_);
}

LossStats LossSum::result() const {
  LossStats out{n_, mean_, 0};
  if (n_ > 1) {
    auto n = static_cast<double>(n_);
    out.standard_error = std::sqrt(m2_ / (n - 1) / n);
  }
  return out;
}

void HiddenComparison::add(std::span<const float> a, std::span<const float> b) {
  WB_CHECK(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    double x = a[i], difference = x - static_cast<double>(b[i]);
    keep_larger(max_abs_, std::fabs(difference));
    difference_ += difference * difference;
    norm_ += x * x;
  }
}

HiddenStats HiddenComparison::result() const {
  if (difference_ == 0) return {max_abs_, 0};
  return {max_abs_, std::sqrt(difference_ / norm_)};
}

void RouterComparison::add(std::span<const std::uint32_t> a, std::span<const float> weights_a,
                           std::size_t k_a, std::span<const std::uint32_t> b,
                           std::span<const float> weights_b, std::size_t k_b) {
  if (k_a == 0 || k_b == 0) return;
  WB_CHECK(a.size() / k_a == b.size() / k_b);
  for (std::size_t t = 0; t < a.size() / k_a; ++t) {
    std::size_t common = 0;
    for (std::size_t i = 0; i < k_a; ++i) {
      for (std::size_t j = 0; j < k_b; ++j) {
        if (a[t * k_a + i] != b[t * k_b + j]) continue;
        ++common;
        weight_error_ += std::fabs(static_cast<double>(weights_a[t * k_a + i]) -
                                   static_cast<double>(weights_b[t * k_b + j]));
      }
    }
    shared_ += common;
    ++sum_.tokens;
    sum_.agreement += static_cast<double>(common) / static_cast<double>(k_a);
    sum_.same_choice += common == k_a && k_a == k_b ? 1 : 0;
  }
}

RouterStats RouterComparison::result() const {
  RouterStats out = sum_;
  if (out.tokens > 0) {
    out.agreement /= static_cast<double>(out.tokens);
    out.same_choice /= static_cast<double>(out.tokens);
  }
  if (shared_ > 0) out.weight_error = weight_error_ / static_cast<double>(shared_);
  return out;
}

Tolerances rounding_tolerances(const ModelSpec& spec, double weight_roundoff, double rms) {
  std::uint64_t longest =
      std::max({spec.hidden_size, spec.attention.q_lora_rank, spec.attention.kv_lora_rank,
                spec.attention.num_attention_heads * spec.attention.v_head_dim,
                spec.moe.routed.intermediate_size, spec.moe.shared.intermediate_size,
                spec.dense.intermediate_size});
  double step = 0x1p-24 * std::sqrt(static_cast<double>(longest)) + weight_roundoff;
  auto relative = [&](std::uint64_t blocks) {
    return std::sqrt(6.0 * static_cast<double>(blocks)) * step;
  };
  Tolerances out;
  for (std::uint64_t l = 0; l < spec.num_hidden_layers; ++l) {
    out.hidden_relative.push_back(relative(l + 1));
  }
  double error = relative(spec.num_hidden_layers + 1) * rms;
  out.logits_max_abs = 6 * error;
  out.mean_kl = error * error / 2;
  return out;
}

}  // namespace wb
