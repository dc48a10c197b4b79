// The plan that a spec leads to, and the config of mlx-lm's deepseek_v3 (or deepseek_v2) that says
// so. What the class cannot compute is not asked here: stock_rows.cpp has that.
#include <algorithm>
#include <cmath>

#include "target/stock.h"
#include "tensor/read.h"

namespace wb {

namespace {

// A power of two that lifts a latent so far that the class's epsilon vanishes beside it, and
// leaves room in f16. What the norm divides out again costs no rounding.
constexpr double kLiftLatent = 256.0;
constexpr double kLiftQuery = 16.0;

double latent_gain(const NormSpec& norm) {
  if (norm.kind == NormKind::none) return 1.0;
  if (norm.eps_outside_root || norm.eps <= 0.0) return kLiftLatent;
  // g x / sqrt(g^2 mean(x^2) + 1e-6) has the source's epsilon for g = sqrt(1e-6 / eps).
  return norm.eps == 1e-6 ? 1.0 : std::sqrt(1e-6 / norm.eps);
}

double yarn_scale(const RopeSpec& rope) {
  if (rope.scaling != RopeScaling::yarn || rope.mscale_all_dim == 0.0 || rope.factor <= 1.0) {
    return 1.0;
  }
  double m = 0.1 * rope.mscale_all_dim * std::log(rope.factor) + 1.0;
  return m * m;
}

// The class's softmax scale for a rope width.
double class_scale(const ModelSpec& spec, std::uint64_t rope_width) {
  double width = static_cast<double>(
      checked_add(spec.attention.qk_nope_head_dim, rope_width, "the query width"));
  return yarn_scale(spec.rope) / std::sqrt(width);
}
double ratio(double a, double b) {
  double r = a / b;
  return std::abs(r - 1.0) < 1e-12 ? 1.0 : r;
}

// The freed query divides by the input norm's weights: none may be zero, nor so small that
// the quotient leaves the written type. Reads [hidden] values per layer, the only tensor
// bytes that a lowering looks at.
bool input_norms_invertible(const Lowering& source) {
  for (std::uint64_t l = 0; l < source.spec().num_hidden_layers; ++l) {
    const Tensor& weight = source.raw("layers." + std::to_string(l) + ".attn_norm.weight");
    for (float x : read_f32(weight)) {
      if (!(std::abs(x) > 1e-3f) || !std::isfinite(x)) return false;
    }
  }
  return true;
}

// Frequencies of the side-by-side key: the class divides base^(2i / (H R)) out again.
std::vector<double> slot_factors(const ModelSpec& spec) {
  const std::uint64_t half = spec.attention.qk_rope_head_dim / 2;
  const std::uint64_t heads = spec.attention.num_attention_heads;
  std::vector<double> factors;
  for (std::uint64_t h = 0; h < heads; ++h) {
    for (std::uint64_t j = 0; j < half; ++j) {
      double own = static_cast<double>(j) / static_cast<double>(half);
      double whole = static_cast<double>(h * half + j) / static_cast<double>(heads * half);
      double f = std::pow(spec.rope.base, own - whole);
      if (spec.rope.scaling == RopeScaling::linear) f *= spec.rope.factor;
      if (spec.rope.scaling == RopeScaling::longrope) f *= spec.rope.long_factor.at(j);
      factors.push_back(f);
    }
  }
  return factors;
}

nlohmann::ordered_json longrope(std::uint64_t positions, const std::vector<double>& factors) {
  nlohmann::ordered_json scaling;
  scaling["type"] = "longrope";
  scaling["original_max_position_embeddings"] = positions;
  scaling["short_factor"] = factors;  // must be there, is not used
  scaling["long_factor"] = factors;
  return scaling;
}

nlohmann::ordered_json rope_scaling(const ModelSpec& spec, const StockPlan& plan,
                                    std::uint64_t positions) {
  const RopeSpec& rope = spec.rope;
  if (plan.slots) return longrope(positions, slot_factors(spec));
  nlohmann::ordered_json scaling;
  switch (rope.scaling) {
    case RopeScaling::none:
      return nullptr;
    case RopeScaling::longrope:
      return longrope(rope.original_max_position_embeddings, rope.long_factor);
    case RopeScaling::linear:
      scaling["type"] = "linear";
      scaling["factor"] = rope.factor;
      return scaling;
    case RopeScaling::yarn:
      scaling["type"] = "yarn";
      scaling["factor"] = rope.factor;
      scaling["original_max_position_embeddings"] = rope.original_max_position_embeddings;
      scaling["beta_fast"] = rope.beta_fast;
      scaling["beta_slow"] = rope.beta_slow;
      scaling["mscale"] = rope.mscale;
      scaling["mscale_all_dim"] = rope.mscale_all_dim;
      return scaling;
  }
  WB_BUG("a rope scaling that is no enumerator");
}

// One more hidden unit where a down projection's bias is to be folded, and then the
// largest power of two up to 64 that the source's width was a multiple of, for quantisers.
std::uint64_t width_with_unit(const MlpSpec& mlp, bool calibrated) {
  if (!calibrated || !mlp.bias || mlp.intermediate_size == 0) return mlp.intermediate_size;
  std::uint64_t step = 64;
  while (mlp.intermediate_size % step != 0) step /= 2;
  return round_up(mlp.intermediate_size + 1, step, "a network's width");
}

void plan_widths(const Lowering& source, StockPlan& plan) {
  const ModelSpec& spec = source.spec();
  const bool calibrated = source.options().calibration != nullptr;
  plan.widths =
      smart_expert_widths(width_with_unit(spec.moe.routed, calibrated),
                          width_with_unit(spec.moe.shared, calibrated), spec.moe.n_routed_experts);
  plan.dense_width = width_with_unit(spec.dense, calibrated);
}

}  // namespace

bool stock_config_scale_matches(const ModelSpec& spec, std::uint64_t rope_width) {
  double scale = class_scale(spec, rope_width);
  return ratio(spec.scale_nope(), scale) == 1.0 && ratio(spec.scale_rope(), scale) == 1.0;
}

StockPlan plan_stock(const Lowering& source) {
  using Query = StockPlan::Query;
  const ModelSpec& spec = source.spec();
  const AttentionSpec& a = spec.attention;
  StockPlan plan;
  plan.v2 = is_stock_v2(spec);
  plan.slots = spec.rope_key_heads() > 1;
  plan.qk_rope_head_dim = plan.slots ? checked_mul(a.num_attention_heads, a.qk_rope_head_dim,
                                                   "the heads' rope keys side by side")
                                     : a.qk_rope_head_dim;
  if (plan.slots || spec.rope.scaling == RopeScaling::longrope) {
    plan.rope_layout = RopeLayout::half_split;  // the class's longrope rotates halves
  }
  bool folded = a.q_lora_rank > 0 && a.q_norm.kind == NormKind::none;
  if (folded) {
    plan.query =
        source.options().for_swift && input_norms_invertible(source) ? Query::freed : Query::folded;
  } else if (a.q_lora_rank > 0) {
    plan.query = Query::latent;
    plan.q_latent_gain = latent_gain(a.q_norm);
  }
  if (plan.query == Query::freed) plan.q_latent_gain = kLiftQuery;
  plan.q_lora_rank = plan.query == Query::freed    ? spec.hidden_size
                     : plan.query == Query::latent ? a.q_lora_rank
                                                   : 0;
  plan.kv_latent_gain = latent_gain(a.kv_norm);
  double scale = class_scale(spec, plan.qk_rope_head_dim);
  plan.scale_nope = ratio(spec.scale_nope(), scale);
  plan.scale_rope = ratio(spec.scale_rope(), scale);
  plan.biases = (plan.query == Query::latent && a.q_down_bias) || a.kv_down_bias || a.k_rope_bias ||
                a.o_bias || a.kv_up_bias;
  plan_widths(source, plan);
  const StockCalibration* calibration = source.options().calibration;
  plan.hidden = spec.hidden_size;
  if (calibration != nullptr && calibration->spare > 0) {
    plan.hidden = checked_add(spec.hidden_size, calibration->spare, "hidden_size");
    plan.norm_scale =
        std::sqrt(static_cast<double>(spec.hidden_size) / static_cast<double>(plan.hidden));
  }
  return plan;
}

nlohmann::ordered_json stock_config(const ModelSpec& spec, const StockPlan& plan) {
  const AttentionSpec& a = spec.attention;
  const RouterSpec& router = spec.router;
  bool mixtures = spec.moe.n_routed_experts > 0;
  // Models without a limit of their own get the class's default.
  std::uint64_t positions = spec.max_position_embeddings > 0 ? spec.max_position_embeddings : 2048;
  std::uint64_t dense =
      plan.dense_width > 0 ? plan.dense_width : checked_mul(4, plan.hidden, "intermediate_size");
  auto or_null = [](std::uint64_t n) {
    return n > 0 ? nlohmann::ordered_json(n) : nlohmann::ordered_json(nullptr);
  };
  nlohmann::ordered_json config;
  config["model_type"] = "deepseek_v3";
  config["vocab_size"] = spec.vocab_size;
  config["hidden_size"] = plan.hidden;
  config["intermediate_size"] = dense;
  config["moe_intermediate_size"] = mixtures ? plan.widths.moe_intermediate_size : dense;
  config["num_hidden_layers"] = spec.num_hidden_layers;
  config["num_attention_heads"] = a.num_attention_heads;
  config["num_key_value_heads"] = a.num_attention_heads;
  config["n_shared_experts"] = or_null(mixtures ? plan.widths.n_shared_experts : 0);
  config["n_routed_experts"] = or_null(spec.moe.n_routed_experts);
  config["num_experts_per_tok"] = std::max<std::uint64_t>(router.num_experts_per_tok, 1);
  config["kv_lora_rank"] = a.kv_lora_rank;
  config["q_lora_rank"] = or_null(plan.q_lora_rank);
  config["qk_rope_head_dim"] = plan.qk_rope_head_dim;
  config["v_head_dim"] = a.value_is_key_content ? a.qk_nope_head_dim : a.v_head_dim;
  config["qk_nope_head_dim"] = a.qk_nope_head_dim;
  config["max_position_embeddings"] = positions;
  config["topk_method"] = "noaux_tc";
  config["scoring_func"] = "sigmoid";
  config["norm_topk_prob"] = router.score != RouterScore::sigmoid || router.norm_topk_prob;
  config["n_group"] = router.n_group;
  config["topk_group"] = router.topk_group;
  config["routed_scaling_factor"] = router.routed_scaling_factor;
  config["moe_layer_freq"] = spec.moe.moe_layer_freq;
  config["first_k_dense_replace"] =
      mixtures ? spec.moe.first_k_dense_replace : spec.num_hidden_layers;
  // rms + e and sqrt(ms + e^2) agree to e / rms, and both are harmless at zero.
  double eps = spec.norm.eps_outside_root ? spec.norm.eps * spec.norm.eps : spec.norm.eps;
  config["rms_norm_eps"] = eps * plan.norm_scale * plan.norm_scale;
  config["rope_theta"] = spec.rope.base;
  if (auto scaling = rope_scaling(spec, plan, positions); !scaling.is_null()) {
    config["rope_scaling"] = std::move(scaling);
  }
  config["attention_bias"] = plan.biases;
  config["tie_word_embeddings"] = false;
  if (plan.v2) to_v2_config(spec, config);
  return config;
}

}  // namespace wb
