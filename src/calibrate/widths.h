// Bits per layer under a size, by the error that each width causes: in the weights alone, for
// any checkpoint, or in the logits on a text, for one that is small enough to run. Owns the measure
// and the choice; makes a plan, writes nothing.
//
// The measure of a layer at b bits is its number of weights times the squared error relative to
// the squared weights, ||w - w_b||^2 / ||w||^2, on samples spread evenly over the layer. The
// choice is greedy along the lower convex hull of (bytes, measure) of every layer: the step that
// takes most error away per byte first, as long as it fits.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "target/quantize.h"

namespace wb {

struct WidthError {
  unsigned bits;  // 0: left as it is
  std::uint64_t bytes;
  double error;  // relative squared
};
struct LayerWidths {
  std::string path;
  std::uint64_t weights = 0;
  std::vector<WidthError> widths;  // by bytes
};
// Of the layers that `plan`'s rules do not name and that can take the group size. Reads at most
// kSampled elements of each. Deterministic, whatever the threads. Throws what quantize() throws.
inline constexpr std::uint64_t kSampled = 1u << 18;
std::vector<LayerWidths> measure_widths(const LoweredModel& model,
                                        const std::vector<QuantRule>& fixed,
                                        std::uint64_t group_size, unsigned threads);
// The same for a model that is small enough to run: `error` is the mean KL divergence, in nats per
// token of `sequences` (windows, each from position 0), of the model with this layer alone
// quantised from the model as it is, and `weights` is 1. 2, 3 and 4 bits are run; what more bits
// cost is that of 4, scaled by the squared errors of the weights, which it follows where it is
// small. Throws what load_model() and Decoder throw.
std::vector<LayerWidths> measure_logits(const LoweredModel& model,
                                        const std::vector<QuantRule>& fixed,
                                        std::uint64_t group_size,
                                        std::span<const std::vector<std::uint32_t>> sequences,
                                        unsigned threads);
// One index into `widths` per layer; the smallest everywhere if even that is past the budget.
std::vector<std::size_t> choose_widths(const std::vector<LayerWidths>& layers,
                                       std::uint64_t budget);

// `fixed` rules first, then one rule for each layer measured. All tensors of the model take at
// most `size` bytes. By the weights, or by the logits where there are sequences. Throws Code::usage
// with the smallest size that can be had.
QuantPlan plan_for_size(const LoweredModel& model, const std::vector<QuantRule>& fixed,
                        std::uint64_t group_size, std::uint64_t size, unsigned threads,
                        std::span<const std::vector<std::uint32_t>> sequences = {});

}  // namespace wb
