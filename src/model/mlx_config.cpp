// deepseek_v3 and deepseek_v2 as the stock classes read them; see mlx_config.h.
#include "model/mlx_config.h"

#include <cmath>
#include <string>

#include "base/error.h"

namespace wb {

namespace {

using nlohmann::json;

[[noreturn]] void refuse(const std::string& key, const std::string& why, const std::string& wanted,
                         const json& got, const std::string& advice) {
  throw Error(Code::config_invalid, "the key \"" + key + "\" " + why)
      .expected(wanted)
      .actual(got.dump())
      .advice(advice);
}

// One JSON object of keys, read with the class's defaults. Null counts as absent only where the
// class says so.
class Keys {
 public:
  Keys(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  bool has(const char* key) const { return object_.contains(key) && !object_[key].is_null(); }
  std::uint64_t integer(const char* key, std::uint64_t fallback) const {
    if (!object_.contains(key)) return fallback;
    const json& v = object_[key];
    const bool whole = v.is_number_integer() && v >= 0 && v < kLargestDimension;
    if (!whole) wrong(key, "a whole number from 0 to 2^31 - 1");
    return v.get<std::uint64_t>();
  }
  double real(const char* key, double fallback) const {
    if (!object_.contains(key)) return fallback;
    if (!object_[key].is_number()) wrong(key, "a number");
    return object_[key].get<double>();
  }
  double real(const char* key) const {
    if (!has(key)) missing(key);
    return real(key, 0.0);
  }
  bool boolean(const char* key, bool fallback) const {
    if (!object_.contains(key)) return fallback;
    if (!object_[key].is_boolean()) wrong(key, "true or false");
    return object_[key].get<bool>();
  }
  std::string text(const char* key, const std::string& fallback) const {
    if (!has(key)) return fallback;
    if (!object_[key].is_string()) wrong(key, "a string");
    return object_[key].get<std::string>();
  }
  std::vector<double> reals(const char* key) const {
    if (!has(key)) missing(key);
    std::vector<double> out;
    if (!object_[key].is_array()) wrong(key, "a list of numbers");
    for (const json& v : object_[key]) {
      if (!v.is_number()) wrong(key, "a list of numbers");
      out.push_back(v.get<double>());
    }
    return out;
  }
  [[noreturn]] void wrong(const char* key, const std::string& wanted) const {
    refuse(where_ + key, "has a value of the wrong kind", wanted, object_[key],
           "Correct config.json.");
  }
  [[noreturn]] void missing(const char* key) const {
    throw Error(Code::config_invalid, "the key \"" + where_ + key + "\" is missing or null")
        .advice("The class that loads this folder cannot do without it; write it out.");
  }
  const json& object() const { return object_; }

 private:
  const json& object_;
  std::string where_;
};

// Swift decodes these without a default.
constexpr const char* kSwiftRequires[] = {"vocab_size",
                                          "hidden_size",
                                          "intermediate_size",
                                          "moe_intermediate_size",
                                          "num_hidden_layers",
                                          "num_attention_heads",
                                          "num_key_value_heads",
                                          "routed_scaling_factor",
                                          "kv_lora_rank",
                                          "q_lora_rank",
                                          "qk_rope_head_dim",
                                          "v_head_dim",
                                          "qk_nope_head_dim",
                                          "norm_topk_prob",
                                          "moe_layer_freq",
                                          "first_k_dense_replace",
                                          "max_position_embeddings",
                                          "rms_norm_eps",
                                          "rope_theta",
                                          "attention_bias"};

void check_swift(const Keys& keys) {
  for (const char* key : kSwiftRequires) {
    if (!keys.has(key)) keys.missing(key);
  }
  if (!keys.has("rope_scaling")) return;
  for (const auto& [key, value] : keys.object()["rope_scaling"].items()) {
    if (value.is_null()) {
      refuse("rope_scaling." + key, "is null, which Swift refuses", "a value", value,
             "Leave the key out.");
    }
  }
}

// What mscale_all_dim does to the softmax scale: (0.1 mscale_all_dim ln factor + 1)^2.
double scale_factor(double factor, double mscale_all_dim) {
  if (mscale_all_dim == 0.0 || factor <= 1.0) return 1.0;
  const double s = 0.1 * mscale_all_dim * std::log(factor) + 1.0;
  return s * s;
}

void read_yarn(const Keys& scaling, RopeSpec& rope) {
  rope.scaling = RopeScaling::yarn;
  rope.factor = scaling.real("factor");
  rope.original_max_position_embeddings = scaling.integer("original_max_position_embeddings", 4096);
  rope.beta_fast = scaling.real("beta_fast", 32.0);
  rope.beta_slow = scaling.real("beta_slow", 1.0);
  rope.mscale = scaling.real("mscale", 1.0);
  rope.mscale_all_dim = scaling.real("mscale_all_dim", 0.0);
}

// deepseek_v3: rope_scaling selects the class by its type.
void read_rope_v3(const Keys& keys, ModelSpec& spec) {
  RopeSpec& rope = spec.rope;
  if (!keys.has("rope_scaling")) return;
  if (!keys.object()["rope_scaling"].is_object()) keys.wrong("rope_scaling", "an object or null");
  const Keys scaling(keys.object()["rope_scaling"], "rope_scaling.");
  const std::string type = scaling.text("type", scaling.text("rope_type", "default"));
  if (type == "linear") {
    rope.scaling = RopeScaling::linear;
    rope.factor = scaling.real("factor");
  } else if (type == "yarn" || type == "deepseek_yarn") {
    if (scaling.has("attention_factor")) {
      refuse("rope_scaling.attention_factor", "is not covered", "mscale and mscale_all_dim",
             scaling.object()["attention_factor"], "Give the magnitude by mscale.");
    }
    read_yarn(scaling, rope);
  } else if (type == "longrope") {
    rope.scaling = RopeScaling::longrope;
    rope.layout = RopeLayout::half_split;  // the one class that rotates halves
    if (!scaling.has("original_max_position_embeddings")) {
      scaling.missing("original_max_position_embeddings");
    }
    rope.original_max_position_embeddings = scaling.integer("original_max_position_embeddings", 0);
    if (!scaling.has("short_factor")) scaling.missing("short_factor");  // read, never used
    rope.long_factor = scaling.reals("long_factor");
  } else if (type != "default") {
    refuse("rope_scaling.type", "names a kind that is not covered",
           "default, linear, yarn or longrope", scaling.object().value("type", json(type)),
           "Choose one of these, or the exact target.");
  }
  const double all_dim = scaling.real("mscale_all_dim", 0.0);
  const double factor = all_dim != 0.0 ? scale_factor(scaling.real("factor"), all_dim) : 1.0;
  if (factor != 1.0) spec.attention.softmax_scale = spec.scale_nope() * factor;
}

// deepseek_v2: always YaRN, and rope_scaling is not optional.
void read_rope_v2(const Keys& keys, ModelSpec& spec) {
  if (!keys.has("rope_scaling")) keys.missing("rope_scaling");
  if (!keys.object()["rope_scaling"].is_object()) keys.wrong("rope_scaling", "an object");
  const Keys scaling(keys.object()["rope_scaling"], "rope_scaling.");
  read_yarn(scaling, spec.rope);
  const double factor = scale_factor(spec.rope.factor, spec.rope.mscale_all_dim);
  if (factor != 1.0) spec.attention.softmax_scale = spec.scale_nope() * factor;
}

void read_attention(const Keys& keys, bool swift, ModelSpec& spec) {
  AttentionSpec& a = spec.attention;
  const bool low_rank = !keys.object().contains("q_lora_rank") || keys.has("q_lora_rank");
  a.num_attention_heads = keys.integer("num_attention_heads", 32);
  a.q_lora_rank = low_rank ? keys.integer("q_lora_rank", 1536) : 0;
  a.kv_lora_rank = keys.integer("kv_lora_rank", 512);
  a.qk_nope_head_dim = keys.integer("qk_nope_head_dim", 128);
  a.qk_rope_head_dim = keys.integer("qk_rope_head_dim", 64);
  a.v_head_dim = keys.integer("v_head_dim", 128);
  // Not rms_norm_eps: the latent norms take their class's default.
  const NormSpec latent{NormKind::rms, swift ? 1e-5 : 1e-6, false, false};
  if (low_rank) a.q_norm = latent;
  a.kv_norm = latent;
  const bool bias = keys.boolean("attention_bias", false);
  a.q_down_bias = bias && low_rank;
  a.kv_down_bias = a.o_bias = bias;
  a.k_rope_bias = bias && a.qk_rope_head_dim > 0;
  if (low_rank && a.q_lora_rank == 0) keys.wrong("q_lora_rank", "a positive number or null");
}

void read_experts(const Keys& keys, ModelSpec& spec) {
  MoeSpec& moe = spec.moe;
  if (!keys.has("n_routed_experts")) return;
  moe.n_routed_experts = keys.integer("n_routed_experts", 0);
  const std::uint64_t width = keys.integer("moe_intermediate_size", 1407);
  moe.routed.intermediate_size = width;
  if (keys.has("n_shared_experts")) {
    const std::uint64_t shared = keys.integer("n_shared_experts", 0);
    if (shared == 0) {
      refuse("n_shared_experts", "is 0, for which the class wants tensors without elements",
             "a positive number or null", keys.object()["n_shared_experts"], "Write null.");
    }
    moe.shared.intermediate_size = width * shared;
  }
  moe.first_k_dense_replace = keys.integer("first_k_dense_replace", 0);
  moe.moe_layer_freq = keys.integer("moe_layer_freq", 1);
  if (moe.moe_layer_freq == 0) keys.wrong("moe_layer_freq", "a positive number");
}

void read_router_v3(const Keys& keys, bool swift, RouterSpec& router) {
  const std::string method = keys.text("topk_method", "noaux_tc");
  if (!swift && method != "noaux_tc") {
    refuse("topk_method", "names a method that the class refuses", "\"noaux_tc\"", json(method),
           "Use noaux_tc, or model_type deepseek_v2.");
  }
  router.score = RouterScore::sigmoid;
  router.expert_bias = ExpertBias::selection;
  router.num_experts_per_tok =
      keys.has("num_experts_per_tok") ? keys.integer("num_experts_per_tok", 1) : 1;
  router.norm_topk_prob = router.num_experts_per_tok > 1 && keys.boolean("norm_topk_prob", true);
  router.routed_scaling_factor = keys.real("routed_scaling_factor", 1.0);
  router.n_group = keys.has("n_group") ? keys.integer("n_group", 1) : 1;
  router.topk_group = keys.has("topk_group") ? keys.integer("topk_group", 1) : 1;
  router.group_score = GroupScore::top2_sum;
  router.group_mask = GroupMask::zero;
  if (!swift) return;
  router.expert_bias = ExpertBias::scores;  // the chosen weights are the biased scores
  if (router.norm_topk_prob) {
    router.norm_eps = 1e-20;
  } else {
    router.routed_scaling_factor = 1.0;  // applied inside the normalising branch only
  }
}

void read_router_v2(const Keys& keys, RouterSpec& router) {
  const std::string method = keys.text("topk_method", "greedy");
  router.score = RouterScore::softmax;
  if (!keys.has("num_experts_per_tok")) keys.missing("num_experts_per_tok");
  router.num_experts_per_tok = keys.integer("num_experts_per_tok", 1);
  router.routed_scaling_factor = keys.real("routed_scaling_factor", 1.0);
  router.group_score = GroupScore::max;
  router.group_mask = GroupMask::zero;
  if (method == "group_limited_greedy") {
    if (!keys.has("n_group")) keys.missing("n_group");
    if (!keys.has("topk_group")) keys.missing("topk_group");
    router.n_group = keys.integer("n_group", 1);
    router.topk_group = keys.integer("topk_group", 1);
  } else if (method != "greedy" && method != "gready") {  // the class's own default is so spelt
    refuse("topk_method", "names a method that is not covered",
           "\"greedy\" or \"group_limited_greedy\"", json(method), "Use one of these.");
  }
}

}  // namespace

bool is_stock_model_type(std::string_view model_type) {
  return model_type == "deepseek_v3" || model_type == "deepseek_v2";
}

ModelSpec spec_from_stock_config(const json& config, MlxReader reader) {
  if (!config.is_object()) {
    throw Error(Code::config_invalid, "config.json is not an object").advice("Restore the file.");
  }
  const Keys keys(config, "");
  const std::string type = keys.text("model_type", "");
  const bool v2 = type == "deepseek_v2", swift = reader == MlxReader::swift;
  if (!is_stock_model_type(type) || (swift && v2)) {
    refuse("model_type", "names a class that is not covered",
           swift ? "deepseek_v3" : "deepseek_v3 or deepseek_v2", config.value("model_type", json()),
           "Give a folder of one of these classes.");
  }
  if (swift) check_swift(keys);
  ModelSpec spec;
  spec.vocab_size = keys.integer("vocab_size", 102400);
  spec.hidden_size = keys.integer("hidden_size", 4096);
  spec.num_hidden_layers = keys.integer("num_hidden_layers", 30);
  if (spec.num_hidden_layers > kMostLayers) {
    refuse("num_hidden_layers", "is out of all proportion",
           "at most " + std::to_string(kMostLayers), config["num_hidden_layers"],
           "Correct config.json.");
  }
  spec.max_position_embeddings = keys.integer("max_position_embeddings", 2048);
  spec.norm = {NormKind::rms, keys.real("rms_norm_eps", 1e-6), false, false};
  spec.rope.layout = RopeLayout::interleaved;
  spec.rope.base = keys.real("rope_theta", 10000.0);
  read_attention(keys, swift, spec);
  if (v2) {
    read_rope_v2(keys, spec);
  } else {
    read_rope_v3(keys, spec);
  }
  read_experts(keys, spec);
  if (spec.moe.n_routed_experts > 0) {
    if (v2) {
      read_router_v2(keys, spec.router);
    } else {
      read_router_v3(keys, swift, spec.router);
    }
    if (swift) spec.moe.routed.activation = Activation::silu_clipped;
  }
  for (std::uint64_t l = 0; l < spec.num_hidden_layers; ++l) {
    if (!spec.is_moe(l)) spec.dense.intermediate_size = keys.integer("intermediate_size", 11008);
  }
  validate(spec);
  return spec;
}

}  // namespace wb
