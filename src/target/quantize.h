// Which layers of a lowered model are quantised, and how: a plan as data, the same for every
// target, and its application. Owns MLX's rules (which modules can be quantised, which rows
// divide) and the "quantization" block that loaders read. Reads no tensor bytes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "quant/format.h"
#include "target/target.h"

namespace wb {

struct QuantRule {
  std::string pattern;                // of module paths; * is any run of characters, ? is one
  std::optional<QuantFormat> format;  // absent: the layer is left as it is
};
struct QuantPlan {
  std::vector<QuantRule> rules;     // the first that matches wins
  std::optional<QuantFormat> base;  // of layers that no rule matches; absent: left as they are
};
bool matches(std::string_view pattern, std::string_view path);

// mlx-lm's mixes (its convert.py): mixed_2_6, mixed_3_4, mixed_3_6, mixed_4_6, "low" and "high"
// bits. High: lm_head; value and down projections of the first and last eighth of the layers
// and of every third between. Throws Code::usage for another name.
QuantPlan mixed_plan(std::string_view name, std::uint64_t group_size, const LoweredModel& model);

// A module that the target's class can quantise: a weight of rank 2 or more, but for routers,
// norms and learned positions.
struct QuantizableLayer {
  std::string path;     // the weight's name less ".weight"
  std::size_t tensor;   // index into model.tensors
  std::uint64_t width;  // its last dimension
};
std::vector<QuantizableLayer> quantizable_layers(const LoweredModel& model);
// Why the layer cannot take the format ("" when it can): rows that do not divide, a key-value
// projection that the loader parts and quantises again.
std::string cannot_take(const LoweredModel& model, const QuantizableLayer& layer,
                        const QuantFormat& format);

struct QuantizedLayer {
  std::string path;
  std::optional<QuantFormat> format;  // absent: left as it is
  std::string reason;                 // why it is left
  std::uint64_t weights = 0;          // elements
  std::uint64_t bytes = 0;            // as written
};
struct QuantSummary {
  std::vector<QuantizedLayer> layers;  // all that could be quantised
  std::vector<std::string> unused;     // patterns of rules that no layer matched first
  double bits_per_weight = 0;          // of the whole model: 8 * bytes / parameters
  std::uint64_t bytes = 0;             // of the whole model's tensors
};
// Replaces each planned weight by weight, scales and biases, and writes "quantization" and
// "quantization_config" into the config. Throws what quantize() throws.
QuantSummary quantize_model(LoweredModel& model, const QuantPlan& plan);

}  // namespace wb
