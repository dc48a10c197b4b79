// A part of the evidence that a reading can be held to: the logits, or what each block
// makes of the reference's own hidden state, on all tokens of a window or on the first
// token of each sequence alone. Owns the predictions, their errors and what rounding
// explains; searches nothing.
#pragma once

#include <string>
#include <vector>

#include "runtime/decoder.h"
#include "solve/evidence.h"

namespace wb {

// How far a reading is from one view. A row is one token (in one layer, where blocks are run
// alone).
struct Fit {
  double score = 0;     // mean over rows of log10(relative error): what the search lowers
  double relative = 0;  // ||error|| / ||target - what was known before|| over all rows
  double sum_squares = 0;
  double worst_units = 0;  // the largest row error in units of what rounding explains
  double within = 0;       // share of rows that rounding explains
  bool solved = false;     // all rows, but for one in fifty where a router may flip
};

class View {
 public:
  enum class Kind { head, middles, blocks, logits };
  // The first `sequences` x `tokens` of the evidence; tokens = 1 is the first token alone.
  // `any` is a reading to take dimensions from. The evidence must outlive the view.
  View(Kind kind, const Evidence& evidence, std::size_t sequences, std::size_t tokens,
       const Decoder& any);

  const std::string& name() const { return name_; }  // "block outputs, 2 x 12 tokens"
  Kind kind() const { return kind_; }
  bool first_token_only() const { return tokens_ == 1; }
  std::size_t rows() const { return scale_.size(); }
  double work() const { return work_; }  // multiply-adds of one prediction, about

  std::vector<float> predict(const Decoder& reading, unsigned threads) const;  // [rows, width]
  Fit fit(const std::vector<float>& predicted) const;
  // The residual of each row in units of that row's scale, in few numbers: [rows,
  // sketch_width()]. Sums and differences of residuals are those of their sketches, and lengths
  // nearly so.
  std::vector<float> sketch(const std::vector<float>& predicted) const;
  std::size_t sketch_width() const { return sketch_width_; }
  // How many standard deviations of the noise of `a` lie between the errors of `b` and `a`: the
  // matched filter for b - a in a's residual. Negative when b is nearer. 0 when both are equal.
  double separation(const std::vector<float>& a, const std::vector<float>& b) const;
  // Largest row error of each layer in units of what rounding explains; blocks and middles only.
  std::vector<double> worst_by_layer(const std::vector<float>& predicted) const;

 private:
  void add_target(const std::vector<float>& target, const std::vector<float>& before,
                  double tolerance);
  const std::vector<float> cut(const std::vector<float>& rows, std::size_t width) const;

  Kind kind_;
  const Evidence& evidence_;
  std::size_t sequences_, tokens_, width_ = 0, sketch_width_ = 0;
  std::string name_;
  double work_ = 0;
  std::vector<float> target_;          // [rows, width]
  std::vector<double> scale_, floor_;  // per row
};

}  // namespace wb
