// The parts of the stock target: what mlx-lm's deepseek_v3 can compute, as a table; its
// config; its attention and its mixtures for one layer. Internal to target/.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "target/capability.h"
#include "target/losses.h"

namespace wb {

// One field that the class restricts, and what is done about other values.
struct StockRow {
  Capability native;                           // the class computes it from plain views
  bool (*expressible)(const ModelSpec& spec);  // else: by `means`; null = never
  bool exact;                                  // by `means` nothing is lost but rounding
  std::string_view means;
};
const std::vector<StockRow>& stock_rows();
std::vector<Capability> stock_natives();  // of every row
// The losses of the table in docs/mappings.md that remain with the stock class.
const std::vector<LossRow>& stock_losses();

// What deepseek_v2 computes as it is: it is written instead of deepseek_v3 when all of it holds
// and some row of deepseek_v3 does not. (mlx-swift-lm does not have it.)
const std::vector<Capability>& stock_v2_capabilities();
bool is_stock_v2(const ModelSpec& spec);
// Makes the config of deepseek_v3 one of deepseek_v2.
void to_v2_config(const ModelSpec& spec, nlohmann::ordered_json& config);

// How the attention of one model is spelt in the class; the same for every layer.
struct StockPlan {
  enum class Query {
    direct,  // q_proj from the input
    latent,  // q_a_proj, norm, q_b_proj as in the source
    folded,  // q_proj = the product of both source projections
    freed,   // folded, behind q_a_proj = diag(1 / input norm) that the latent norm undoes
  };
  Query query = Query::direct;
  bool v2 = false;      // the class is deepseek_v2
  bool slots = false;   // every head's rope key side by side in the shared one
  bool biases = false;  // attention_bias
  RopeLayout rope_layout = RopeLayout::interleaved;  // in which the class rotates
  std::uint64_t q_lora_rank = 0, qk_rope_head_dim = 0;
  double q_latent_gain = 1.0, kv_latent_gain = 1.0;  // on rows that a norm follows
  double scale_nope = 1.0, scale_rope = 1.0;         // on query rows
  ExpertWidths widths{0, 0};
  std::uint64_t dense_width = 0;
  std::uint64_t hidden = 0;  // hidden_size and the spare dimensions
  double norm_scale = 1.0;   // on block norms: the mean is over `hidden` values
};
// Whether the class's softmax scale is the model's, for nope and rope alike.
bool stock_config_scale_matches(const ModelSpec& spec, std::uint64_t rope_width);
StockPlan plan_stock(const Lowering& source);
nlohmann::ordered_json stock_config(const ModelSpec& spec, const StockPlan& plan);

// Where a layer's tensors go: canonical names under `from`, target names under `to`.
struct StockLayer {
  const Lowering& source;
  const StockPlan& plan;
  const StockCalibration::Layer* calibration;  // null without one
  std::string from, to;
  std::vector<TargetTensor>& out;

  std::string name(const std::string& canonical) const { return from + canonical; }
  bool has(const std::string& canonical) const { return source.has(name(canonical)); }
  Tensor get(const std::string& canonical) const { return source.get(name(canonical)); }
  // raw * factor in f64, rounded once to the written type; untouched when factor is 1.
  Tensor scaled(const std::string& canonical, double factor) const;
  // Zeros in the spare dimensions of an axis that is hidden_size long.
  Tensor wide(const Tensor& tensor, int axis) const { return pad_to(tensor, axis, plan.hidden); }
  // [out, hidden] + bias one^T of `dtype`; without a bias or a calibration the weight, cast.
  Tensor fold_bias(const Tensor& weight, const std::optional<Tensor>& bias, DType dtype) const;
  void put(const std::string& target, Tensor tensor, std::uint64_t entries = 1) const {
    out.push_back({to + target, std::move(tensor), false, true, entries, ""});
  }
  void make_up(const std::string& target, Tensor tensor) const {
    out.push_back({to + target, std::move(tensor), true, true, 1,
                   "made up: the class cannot load without it"});
  }
};
void stock_attention(const StockLayer& layer);
void stock_mixture(const StockLayer& layer);
void stock_dense(const StockLayer& layer);

// Rope rows [heads, R, in] reordered from one layout to the other.
Tensor rope_rows(const Tensor& rows, RopeLayout from, RopeLayout to);
// [heads, width, in] with each head `times` over, in place.
Tensor repeat_heads(const Tensor& tensor, std::uint64_t times);

}  // namespace wb
