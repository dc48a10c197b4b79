// See sampler.h.
#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "base/error.h"

namespace wb::engine {

namespace {

void check(bool fits, const char* option, const char* range, double value) {
  if (fits) return;
  throw Error(Code::usage, std::string("the value of ") + option + " is out of its range")
      .expected(range)
      .actual(std::to_string(value))
      .advice("Leave the option out for its default.");
}

// splitmix64: every seed gives its own numbers, the same on every machine.
std::uint64_t next(std::uint64_t& state) {
  std::uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

double Distribution::of(std::uint32_t token) const {
  auto it = std::find(tokens.begin(), tokens.end(), token);
  return it == tokens.end() ? 0.0 : probabilities[static_cast<std::size_t>(it - tokens.begin())];
}

void check_sampling(const SamplerOptions& o) {
  check(o.temperature >= 0 && std::isfinite(o.temperature), "temperature", "0 or more",
        o.temperature);
  check(o.top_p > 0 && o.top_p <= 1, "top_p", "above 0, at most 1", o.top_p);
  check(o.min_p >= 0 && o.min_p <= 1, "min_p", "0 to 1", o.min_p);
  check(o.repetition_penalty > 0 && std::isfinite(o.repetition_penalty), "repetition_penalty",
        "above 0", o.repetition_penalty);
}

Sampler::Sampler(const SamplerOptions& options) : options_(options), state_(options.seed) {
  check_sampling(options_);
}

double Sampler::uniform() { return static_cast<double>(next(state_) >> 11) * 0x1p-53; }

void Sampler::distribution(std::span<const float> logits, std::span<const std::uint32_t> before,
                           Distribution& out) {
  scaled_.assign(logits.begin(), logits.end());
  if (options_.repetition_penalty != 1.0) {
    const float penalty = static_cast<float>(options_.repetition_penalty);
    for (std::uint32_t t : before) {
      // From the logit as it was: a token that was met twice is moved once.
      scaled_[t] = logits[t] > 0 ? logits[t] / penalty : logits[t] * penalty;
    }
  }
  auto likelier = [&](std::uint32_t a, std::uint32_t b) {
    return scaled_[a] != scaled_[b] ? scaled_[a] > scaled_[b] : a < b;
  };
  if (options_.temperature == 0.0) {
    std::uint32_t best = 0;
    for (std::uint32_t t = 1; t < scaled_.size(); ++t) {
      if (likelier(t, best)) best = t;
    }
    out.tokens.assign(1, best);
    out.probabilities.assign(1, 1.0);
    return;
  }
  order_.resize(scaled_.size());
  std::iota(order_.begin(), order_.end(), 0u);
  std::size_t kept = order_.size();
  if (options_.top_k > 0 && options_.top_k < kept) {
    kept = options_.top_k;
    std::nth_element(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(kept),
                     order_.end(), likelier);
    order_.resize(kept);
  }
  std::sort(order_.begin(), order_.end(), likelier);
  const double top = static_cast<double>(scaled_[order_[0]]);
  std::vector<double>& p = out.probabilities;
  p.resize(kept);
  double total = 0;
  for (std::size_t i = 0; i < kept; ++i) {
    const double z = static_cast<double>(scaled_[order_[i]]) - top;
    total += p[i] = std::exp(z / options_.temperature);
  }
  // The fewest that reach top_p; then those that reach min_p of the first.
  double sum = 0;
  std::size_t n = 0;
  while (n < kept && (n == 0 || sum < options_.top_p * total)) sum += p[n++];
  while (n > 1 && p[n - 1] < options_.min_p * p[0]) sum -= p[--n];
  p.resize(n);
  sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& v : p) v /= sum;
  out.tokens.reserve(kept);  // of the next distribution more may be left
  out.tokens.assign(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(n));
}

std::uint32_t Sampler::draw(const Distribution& from) {
  WB_CHECK(!from.tokens.empty());
  if (from.tokens.size() == 1) return from.tokens[0];
  double left = uniform();
  for (std::size_t i = 0; i + 1 < from.tokens.size(); ++i) {
    left -= from.probabilities[i];
    if (left < 0) return from.tokens[i];
  }
  return from.tokens.back();
}

bool Sampler::accept(std::uint32_t drafted, const Distribution& draft, const Distribution& wanted,
                     std::uint32_t& instead) {
  const double p = wanted.of(drafted), q = draft.of(drafted);
  WB_CHECK(q > 0);
  if (p >= q || uniform() * q < p) return true;
  left_.clear();
  for (std::size_t i = 0; i < draft.tokens.size(); ++i) {
    if (draft.tokens[i] >= left_.size()) left_.resize(draft.tokens[i] + std::size_t{1}, 0.0);
    left_[draft.tokens[i]] = draft.probabilities[i];
  }
  Distribution rest;
  double total = 0;
  for (std::size_t i = 0; i < wanted.tokens.size(); ++i) {
    const std::uint32_t token = wanted.tokens[i];
    const double left = wanted.probabilities[i] - (token < left_.size() ? left_[token] : 0.0);
    if (left <= 0) continue;
    rest.tokens.push_back(token);
    rest.probabilities.push_back(left);
    total += left;
  }
  for (double& v : rest.probabilities) v /= total;
  // Where the two differ by rounding alone, nothing may be left.
  instead = rest.tokens.empty() ? draw(wanted) : draw(rest);
  return false;
}

}  // namespace wb::engine
