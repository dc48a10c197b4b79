// See view.h.
#include "solve/view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "verify/compare.h"

namespace wb {

namespace {

// A row is a sample of one: its error may be this many times the mean that rounding explains.
constexpr double kRowMargin = 4.0;
constexpr double kSmallest = 1e-12;
// Numbers of one sketch, about, and of a row of it at least.
constexpr std::size_t kSketch = 1024, kLeastSketch = 8;

double norm(const float* x, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return std::sqrt(sum);
}
double distance(const float* a, const float* b, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += d * d;
  }
  return std::sqrt(sum);
}

const char* in_words(View::Kind kind) {
  switch (kind) {
    case View::Kind::head:
      return "output head from the last hidden state";
    case View::Kind::middles:
      return "attention of each layer";
    case View::Kind::blocks:
      return "each layer from the hidden state before it";
    case View::Kind::logits:
      break;
  }
  return "logits";
}

}  // namespace

View::View(Kind kind, const Evidence& evidence, std::size_t sequences, std::size_t tokens,
           const Decoder& any)
    : kind_(kind),
      evidence_(evidence),
      sequences_(std::min(sequences, evidence.sequences)),
      tokens_(std::min(tokens, evidence.tokens)) {
  const ModelSpec& spec = any.spec();
  const Tolerances rounding = rounding_tolerances(spec, 0x1p-24, 1.0);
  name_ = in_words(kind);
  name_ += tokens_ == 1 ? ", first token" : fmt::format(", {} tokens", tokens_);
  if (sequences_ > 1) name_ += fmt::format(" of {} sequences", sequences_);
  const bool logits = kind == Kind::logits || kind == Kind::head;
  width_ = logits ? evidence.vocab : evidence.hidden_size;
  const auto& targets = kind == Kind::middles ? evidence.middle : evidence.hidden;
  const std::size_t layers =
      logits ? 1 : std::min<std::size_t>(targets.size(), evidence.hidden.size() + 1);
  for (std::size_t l = 0; l < layers; ++l) {
    for (std::size_t s = 0; s < sequences_; ++s) {
      if (logits) {
        // Before anything is known every logit is the row's mean.
        const std::vector<float> rows = cut(evidence.logits[s], width_);
        std::vector<float> means(rows.size());
        for (std::size_t at = 0; at < rows.size(); at += width_) {
          const double sum =
              std::accumulate(rows.begin() + static_cast<std::ptrdiff_t>(at),
                              rows.begin() + static_cast<std::ptrdiff_t>(at + width_), 0.0);
          std::fill_n(means.begin() + static_cast<std::ptrdiff_t>(at), width_,
                      static_cast<float>(sum / static_cast<double>(width_)));
        }
        // logits_max_abs is six deviations of what the whole model's rounding does.
        add_target(rows, means, rounding.logits_max_abs / 6);
        continue;
      }
      const std::vector<float> before = l == 0
                                            ? any.embed(std::span(evidence.ids[s]).first(tokens_))
                                            : cut(evidence.hidden[l - 1][s], width_);
      add_target(cut(targets[l][s], width_), before, rounding.hidden_relative[0]);
    }
  }
  sketch_width_ = std::min(width_, std::max(kLeastSketch, kSketch / rows()));
  const double body = static_cast<double>(any.parameters());
  work_ = static_cast<double>(rows()) * body / static_cast<double>(layers);
}

const std::vector<float> View::cut(const std::vector<float>& rows, std::size_t width) const {
  return {rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(tokens_ * width)};
}

void View::add_target(const std::vector<float>& target, const std::vector<float>& before,
                      double tolerance) {
  for (std::size_t at = 0; at < target.size(); at += width_) {
    const double scale = distance(target.data() + at, before.data() + at, width_);
    const bool logits = kind_ == Kind::logits || kind_ == Kind::head;
    scale_.push_back(std::max(scale, kSmallest));
    floor_.push_back(kRowMargin * tolerance * (logits ? scale : norm(target.data() + at, width_)) +
                     kSmallest);
  }
  target_.insert(target_.end(), target.begin(), target.end());
}

std::vector<float> View::predict(const Decoder& reading, unsigned threads) const {
  std::vector<float> out;
  out.reserve(target_.size());
  auto append = [&](const std::vector<float>& rows) {
    out.insert(out.end(), rows.begin(), rows.end());
  };
  if (kind_ == Kind::head) {
    for (std::size_t s = 0; s < sequences_; ++s) {
      append(reading.run_head(cut(evidence_.hidden.back()[s], evidence_.hidden_size), threads));
    }
    return out;
  }
  if (kind_ == Kind::logits) {
    ForwardOptions options;
    options.threads = threads;
    for (std::size_t s = 0; s < sequences_; ++s) {
      append(reading.forward(std::span(evidence_.ids[s]).first(tokens_), options).logits);
    }
    return out;
  }
  const std::size_t layers = rows() / (sequences_ * tokens_);
  for (std::size_t l = 0; l < layers; ++l) {
    for (std::size_t s = 0; s < sequences_; ++s) {
      std::vector<float> h = l == 0 ? reading.embed(std::span(evidence_.ids[s]).first(tokens_))
                                    : cut(evidence_.hidden[l - 1][s], width_);
      std::vector<float> middle;
      reading.run_layer(l, h, threads, kind_ == Kind::middles ? &middle : nullptr);
      append(kind_ == Kind::middles ? middle : h);
    }
  }
  return out;
}

Fit View::fit(const std::vector<float>& predicted) const {
  WB_CHECK(predicted.size() == target_.size());
  Fit out;
  double scale = 0;
  std::size_t within = 0;
  for (std::size_t r = 0; r < rows(); ++r) {
    const double miss =
        distance(predicted.data() + r * width_, target_.data() + r * width_, width_);
    if (!std::isfinite(miss)) {  // overflow: as wrong as can be
      out.score = out.relative = out.sum_squares = out.worst_units = INFINITY;
      return out;
    }
    out.score += std::log10(std::max(miss / scale_[r], kSmallest));
    out.sum_squares += miss * miss;
    scale += scale_[r] * scale_[r];
    out.worst_units = std::max(out.worst_units, miss / floor_[r]);
    if (miss <= floor_[r]) ++within;
  }
  const double n = static_cast<double>(rows());
  out.score /= n;
  out.relative = std::sqrt(out.sum_squares / scale);
  out.within = static_cast<double>(within) / n;
  out.solved = within + rows() / 50 >= rows();
  return out;
}

std::vector<float> View::sketch(const std::vector<float>& predicted) const {
  WB_CHECK(predicted.size() == target_.size());
  std::vector<float> out(rows() * sketch_width_, 0.0f);
  const bool whole = sketch_width_ == width_;
  for (std::size_t r = 0; r < rows(); ++r) {
    float* to = out.data() + r * sketch_width_;
    // A count sketch: every number joins one sum, with a sign, both by a fixed scrambling.
    std::uint64_t state = 0x9e3779b97f4a7c15;
    for (std::size_t i = 0; i < width_; ++i) {
      const double miss = (static_cast<double>(target_[r * width_ + i]) -
                           static_cast<double>(predicted[r * width_ + i])) /
                          scale_[r];
      if (whole) {
        to[i] = static_cast<float>(miss);
        continue;
      }
      state = state * 6364136223846793005u + 1442695040888963407u;
      const std::uint64_t bits = state >> 33;
      to[(bits >> 1) % sketch_width_] += static_cast<float>((bits & 1) != 0 ? miss : -miss);
    }
  }
  return out;
}

double View::separation(const std::vector<float>& a, const std::vector<float>& b) const {
  // Each row counts by its own noise, but by no less than the usual row's: where a router flips,
  // or in a row that happens to be exact, the residual says nothing about the others.
  std::vector<double> noise, apart, gain;
  for (std::size_t at = 0; at < target_.size(); at += width_) {
    double n = 0, d2 = 0, g = 0;
    for (std::size_t i = at; i < at + width_; ++i) {
      const double r = static_cast<double>(target_[i]) - static_cast<double>(a[i]);
      const double d = static_cast<double>(b[i]) - static_cast<double>(a[i]);
      n += r * r;
      d2 += d * d;
      g += d * d - 2 * r * d;  // |r - d|^2 - |r|^2
    }
    noise.push_back(n / static_cast<double>(width_));
    apart.push_back(d2);
    gain.push_back(g);
  }
  std::vector<double> sorted = noise;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2),
                   sorted.end());
  const double usual = std::max(sorted[sorted.size() / 2], kSmallest * kSmallest);
  double all_apart = 0, all_gain = 0;
  for (std::size_t r = 0; r < noise.size(); ++r) {
    const double variance = std::max(noise[r], usual);
    all_apart += apart[r] / variance;
    all_gain += gain[r] / variance;
  }
  return all_apart == 0 ? 0 : all_gain / (2 * std::sqrt(all_apart));
}

std::vector<double> View::worst_by_layer(const std::vector<float>& predicted) const {
  const std::size_t per_layer = sequences_ * tokens_;
  std::vector<double> out(rows() / per_layer, 0.0);
  for (std::size_t r = 0; r < rows(); ++r) {
    const double miss =
        distance(predicted.data() + r * width_, target_.data() + r * width_, width_);
    double& worst = out[r / per_layer];
    if (!(miss / floor_[r] <= worst)) worst = miss / floor_[r];
  }
  return out;
}

}  // namespace wb
