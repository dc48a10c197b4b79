// Numbers that say how far two models are apart: logits, losses, hidden states and
// routing, on the same tokens. Owns the formulas and their tolerances; runs nothing.
// Every mean is accumulated in f64; every probability comes from a log-softmax in f64.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/spec.h"

namespace wb {

// Two sets of logits on the same positions. `a` is the side that is held to be right.
struct LogitStats {
  std::uint64_t positions = 0;
  double max_abs = 0;  // largest |a - b| over positions and tokens
  double mean_kl = 0;  // mean over positions of KL(softmax a || softmax b), nats
  double max_kl = 0;
  double top1 = 0;  // share of positions with the same most likely token
  double top5 = 0;  // mean share of a's five likeliest tokens among b's five
  double rms = 0;   // root mean square of a's logits about each position's mean
};
// Loss of one side on a text.
struct LossStats {
  std::uint64_t predictions = 0;
  double mean_nll = 0;        // nats per token
  double standard_error = 0;  // of mean_nll, predictions taken as independent
  double perplexity() const;
  double perplexity_error() const;  // standard error of the perplexity, to first order
};
// Two sides' residual streams after one layer.
struct HiddenStats {
  double max_abs = 0;
  double relative = 0;  // ||a - b|| / ||a|| over all positions
};
// Two sides' routing in one layer; tokens = 0 for a dense layer.
struct RouterStats {
  std::uint64_t tokens = 0;
  double agreement = 0;     // mean share of a's experts that b chose too
  double same_choice = 0;   // share of tokens with the same set of experts
  double weight_error = 0;  // mean |difference| of the weights of experts that both chose
};

// log softmax(row)[token], in f64.
double log_probability(std::span<const float> row, std::uint32_t token);

// Accumulates over any number of windows.
class LogitComparison {
 public:
  // a, b: [positions, vocab], row-major.
  void add(std::span<const float> a, std::span<const float> b, std::size_t vocab);
  LogitStats result() const;

 private:
  LogitStats sum_;
  double square_sum_ = 0;
  std::uint64_t logits_ = 0;
};
class LossSum {
 public:
  void add(double nll);
  LossStats result() const;

 private:
  std::uint64_t n_ = 0;
  double mean_ = 0, m2_ = 0;  // Welford
};
class HiddenComparison {
 public:
  void add(std::span<const float> a, std::span<const float> b);
  HiddenStats result() const;

 private:
  double max_abs_ = 0, difference_ = 0, norm_ = 0;
};
class RouterComparison {
 public:
  // experts, weights: [tokens, k]; k may differ between the sides.
  void add(std::span<const std::uint32_t> a, std::span<const float> weights_a, std::size_t k_a,
           std::span<const std::uint32_t> b, std::span<const float> weights_b, std::size_t k_b);
  RouterStats result() const;

 private:
  RouterStats sum_;
  double weight_error_ = 0;
  std::uint64_t shared_ = 0;
};

// What rounding alone may do to a faithful copy.
//
// A sum of n products in f32 errs by about u sqrt(n) of its size (u = 2^-24; random signs);
// weights stored with unit roundoff w add w for each product, which averages to about w of the
// result. The residual stream passes `6 per block` such sums, whose errors add like a random walk:
//   relative(l) = sqrt(6 (l + 1)) * (u sqrt(n) + w),      n = the longest sum
// and logits err by relative(L) of their spread (rms about the mean). A maximum over positions
// and vocabulary of a random error is taken as six of its standard deviations. The KL that an
// independent error e in every logit makes is e^2 / 2 to second order.
struct Tolerances {
  double logits_max_abs = 0, mean_kl = 0;
  std::vector<double> hidden_relative;  // per layer
};
// weight_roundoff: 2^-24 for f32, 2^-11 for f16, 2^-8 for bf16; rms: LogitStats::rms.
Tolerances rounding_tolerances(const ModelSpec& spec, double weight_roundoff, double rms);

}  // namespace wb
