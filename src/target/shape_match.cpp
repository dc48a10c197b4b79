// The shape-match target: the mapping that docs/mappings.md 1 describes, to the letter,
// with its damage named. Everything is a view; a model is refused when it differs from the
// class in a way that none of the eleven losses covers.
#include <algorithm>

#include "target/capability.h"
#include "target/losses.h"

namespace wb {

const std::vector<Capability>& shape_match_capabilities() {
  static const std::vector<Capability> rows = {
      {"norm.kind", [](const ModelSpec& s) { return s.norm.kind == NormKind::rms; },
       "the class has RMS norms only"},
      {"norm.bias", [](const ModelSpec& s) { return !s.norm.bias; }, "RMS norms have no bias"},
      {"own_final_norm", [](const ModelSpec& s) { return !s.own_final_norm; },
       "the class's final norm is of the blocks' kind"},
      {"head_bias", [](const ModelSpec& s) { return !s.head_bias; }, "lm_head has no bias"},
      {"rope.scaling", [](const ModelSpec& s) { return s.rope.scaling == RopeScaling::none; },
       "the mapping knows plain rope only"},
      {"rope.span", [](const ModelSpec& s) { return s.rope.span == RopeSpan::head; },
       "the class rotates each head by itself"},
      {"rope.inv_freq", [](const ModelSpec& s) { return s.rope.inv_freq.empty(); },
       "the class computes its frequencies from rope_theta"},
      {"attention.num_key_value_heads",
       [](const ModelSpec& s) { return s.kv_heads() == s.attention.num_attention_heads; },
       "kv_b_proj has keys and values for every head"},
      {"attention.q_lora_rank", [](const ModelSpec& s) { return s.attention.q_lora_rank > 0; },
       "the mapping needs a query latent"},
      {"attention.kv_lora_rank", [](const ModelSpec& s) { return s.attention.kv_lora_rank > 0; },
       "the class needs a key-value latent"},
      {"attention.qk_rope_head_dim",
       [](const ModelSpec& s) {
         return s.attention.qk_rope_head_dim > 0 &&
                s.attention.qk_rope_head_dim <= s.attention.qk_nope_head_dim;
       },
       "the mapping takes the rope dimensions from the content dimensions of each head, so "
       "there must be some and no more than qk_nope_head_dim"},
      {"attention.rope_key_from",
       [](const ModelSpec& s) { return s.attention.rope_key_from == RopeKeyFrom::input; },
       "kv_a_proj_with_mqa makes the rope key from the input"},
      {"attention.q_norm.kind",
       [](const ModelSpec& s) { return s.attention.q_norm.kind != NormKind::layer; },
       "the class has RMS norms only"},
      {"attention.kv_norm.kind",
       [](const ModelSpec& s) { return s.attention.kv_norm.kind == NormKind::rms; },
       "the class has an RMS norm on the key-value latent"},
      {"attention.kv_norm.eps", [](const ModelSpec& s) { return s.attention.kv_norm.eps == 1e-6; },
       "the class has 1e-6 there"},
      {"attention.q_norm.eps",
       [](const ModelSpec& s) {
         const NormSpec& norm = s.attention.q_norm;
         return norm.kind == NormKind::none || (norm.eps == 1e-6 && !norm.eps_outside_root);
       },
       "the class has 1e-6 there, inside the root"},
      {"attention.q_head_norm.kind",
       [](const ModelSpec& s) { return s.attention.q_head_norm.kind == NormKind::none; },
       "the class has no norm per head"},
      {"attention.k_head_norm.kind",
       [](const ModelSpec& s) { return s.attention.k_head_norm.kind == NormKind::none; },
       "the class has no norm per head"},
      {"attention.kv_latent_factor",
       [](const ModelSpec& s) { return s.attention.kv_latent_factor == 1.0; },
       "the class has no such factor"},
      {"attention.rope_key_factor",
       [](const ModelSpec& s) { return s.attention.rope_key_factor == 1.0; },
       "the class has no such factor"},
      {"attention.value_is_key_content",
       [](const ModelSpec& s) { return !s.attention.value_is_key_content; },
       "kv_b_proj has values of its own"},
      {"attention.q_down_bias", [](const ModelSpec& s) { return !s.attention.q_down_bias; },
       "the mapping has attention_bias false"},
      {"attention.q_bias", [](const ModelSpec& s) { return !s.attention.q_bias; },
       "q_b_proj has no bias"},
      {"attention.kv_down_bias", [](const ModelSpec& s) { return !s.attention.kv_down_bias; },
       "the mapping has attention_bias false"},
      {"attention.k_rope_bias", [](const ModelSpec& s) { return !s.attention.k_rope_bias; },
       "the mapping has attention_bias false"},
      {"attention.kv_up_bias", [](const ModelSpec& s) { return !s.attention.kv_up_bias; },
       "kv_b_proj has no bias"},
      {"dense.activation",
       [](const ModelSpec& s) {
         return s.dense.intermediate_size == 0 || s.dense.activation == Activation::silu;
       },
       "the class has SiLU only"},
      {"dense.gated",
       [](const ModelSpec& s) { return s.dense.intermediate_size == 0 || s.dense.gated; },
       "the class has gated networks only"},
      {"moe.n_routed_experts", [](const ModelSpec& s) { return s.moe.n_routed_experts > 0; },
       "the mapping is one of mixtures"},
      {"moe.routed.activation",
       [](const ModelSpec& s) { return s.moe.routed.activation == Activation::silu; },
       "the class has SiLU only"},
      {"moe.routed.gated", [](const ModelSpec& s) { return s.moe.routed.gated; },
       "the class has gated networks only"},
      {"moe.shared.activation",
       [](const ModelSpec& s) {
         return s.moe.shared.intermediate_size == 0 || s.moe.shared.activation == Activation::silu;
       },
       "the class has SiLU only"},
      {"moe.shared.gated",
       [](const ModelSpec& s) { return s.moe.shared.intermediate_size == 0 || s.moe.shared.gated; },
       "the class has gated networks only"},
      {"moe.shared_scale",
       [](const ModelSpec& s) {
         return s.moe.shared.intermediate_size == 0 || s.moe.shared_scale == 1.0;
       },
       "the class adds the shared experts as they are"},
      {"router.score",
       [](const ModelSpec& s) { return s.router.score == RouterScore::softmax_of_chosen; },
       "the mapping is one of softmax over the chosen logits"},
      {"router.bias", [](const ModelSpec& s) { return !s.router.bias; },
       "the class's router has no bias"},
      {"router.expert_bias",
       [](const ModelSpec& s) {
         return s.router.expert_bias == ExpertBias::none ||
                s.router.expert_bias == ExpertBias::logits;
       },
       "the mapping knows a balancing bias in the logits only"},
      {"router.routed_scaling_factor",
       [](const ModelSpec& s) { return s.router.routed_scaling_factor == 1.0; },
       "the mapping has 1.0"},
      {"router.logit_clamp", [](const ModelSpec& s) { return s.router.logit_clamp.empty(); },
       "the class takes the router's logits as they are"},
      {"router.weight_clamp", [](const ModelSpec& s) { return s.router.weight_clamp.empty(); },
       "the class takes the chosen weights as they are"},
      {"router.norm_min", [](const ModelSpec& s) { return s.router.norm_min == 0.0; },
       "the class divides by the plain sum"},
      {"moe.moe_layer_offset", [](const ModelSpec& s) { return s.moe.moe_layer_offset == 0; },
       "the class has a mixture where moe_layer_freq divides the layer's number"},
      {"router.n_group", [](const ModelSpec& s) { return s.router.n_group == 1; },
       "the mapping has one group"},
  };
  return rows;
}

namespace {

constexpr std::string_view kMadeUp = "made up: the class cannot load without it";

// One block of the target, from canonical names to target names.
class BlockMapping {
 public:
  BlockMapping(const Lowering& source, std::uint64_t layer, const ExpertWidths& widths,
               std::vector<TargetTensor>& out)
      : source_(source),
        a_(source.spec().attention),
        widths_(widths),
        out_(out),
        from_("layers." + std::to_string(layer) + "."),
        to_("model.layers." + std::to_string(layer) + ".") {}

  void map(bool is_moe) {
    copy("attn_norm.weight", "input_layernorm.weight");
    copy("mlp_norm.weight", "post_attention_layernorm.weight");
    attention();
    if (is_moe) {
      mixture();
    } else {
      for (std::string part : {"gate", "up", "down"}) {
        copy("mlp.dense." + part + ".weight", "mlp." + part + "_proj.weight");
      }
    }
  }

 private:
  Tensor get(const std::string& name) const { return source_.get(from_ + name); }
  void put(const std::string& name, Tensor tensor, std::uint64_t entries = 1) {
    out_.push_back({to_ + name, std::move(tensor), false, true, entries, ""});
  }
  void make_up(const std::string& name, Tensor tensor) {
    out_.push_back({to_ + name, std::move(tensor), true, false, 1, std::string(kMadeUp)});
  }
  void copy(const std::string& from, const std::string& to) { put(to, get(from)); }

  void attention() {
    const std::string attn = "self_attn.";
    copy("attn.q_down.weight", attn + "q_a_proj.weight");
    if (source_.has(from_ + "attn.q_norm.weight")) {
      copy("attn.q_norm.weight", attn + "q_a_layernorm.weight");
    } else {
      DType dtype = source_.dtype_of(from_ + "attn.q_down.weight");
      make_up(attn + "q_a_layernorm.weight", Tensor::fill(dtype, {a_.q_lora_rank}, 1.0));
    }
    put(attn + "q_b_proj.weight", flatten_heads(get("attn.q_nope.weight")));
    copy("attn.kv_norm.weight", attn + "kv_a_layernorm.weight");
    // Rope keys [heads or 1, R, hidden]: the first R rows are the first head's.
    Tensor rope_keys = flatten_heads(get("attn.k_rope.weight"));
    put(attn + "kv_a_proj_with_mqa.weight",
        concat_any(0, {get("attn.kv_down.weight"), rope_keys.slice(0, 0, a_.qk_rope_head_dim)}));
    Tensor keys = get("attn.k_nope.weight").slice(1, 0, a_.qk_nope_head_dim - a_.qk_rope_head_dim);
    put(attn + "kv_b_proj.weight", flatten_heads(concat_any(1, {keys, get("attn.v.weight")})));
    copy("attn.o.weight", attn + "o_proj.weight");
  }

  void mixture() {
    const MoeSpec& moe = source_.spec().moe;
    copy("mlp.router.weight", "mlp.gate.weight");
    make_up("mlp.gate.e_score_correction_bias",
            Tensor::fill(DType::F32, {moe.n_routed_experts}, 0.0));
    for (std::string part : {"gate", "up", "down"}) {
      int units = part == "down" ? 1 : 0;  // the axis of hidden units
      std::vector<Tensor> experts;
      for (std::uint64_t e = 0; e < moe.n_routed_experts; ++e) {
        experts.push_back(pad_to(get("mlp.experts." + std::to_string(e) + "." + part + ".weight"),
                                 units, widths_.moe_intermediate_size));
      }
      put("mlp.switch_mlp." + part + "_proj.weight", stack_any(0, std::move(experts)),
          moe.n_routed_experts);
      if (moe.shared.intermediate_size == 0) continue;
      std::uint64_t width = checked_mul(widths_.moe_intermediate_size, widths_.n_shared_experts,
                                        "the shared experts' width");
      put("mlp.shared_experts." + part + "_proj.weight",
          pad_to(get("mlp.shared." + part + ".weight"), units, width));
    }
  }

  const Lowering& source_;
  const AttentionSpec& a_;
  const ExpertWidths& widths_;
  std::vector<TargetTensor>& out_;
  std::string from_, to_;
};

ExpertWidths widths_of(const Lowering& source) {
  const MoeSpec& moe = source.spec().moe;
  std::uint64_t routed = moe.routed.intermediate_size, shared = moe.shared.intermediate_size;
  if (source.options().smart_expert_widths) {
    return smart_expert_widths(routed, shared, moe.n_routed_experts);
  }
  return {std::max(routed, shared), shared == 0 ? 0u : 1u};
}

// The document's keys in its order, then those that it leaves to defaults.
nlohmann::ordered_json config_of(const ModelSpec& spec, const ExpertWidths& widths) {
  const AttentionSpec& a = spec.attention;
  nlohmann::ordered_json config;
  config["model_type"] = "deepseek_v3";
  config["vocab_size"] = spec.vocab_size;
  config["hidden_size"] = spec.hidden_size;
  // Without dense layers nothing reads it, but Swift requires it: the document's 4 * hidden.
  config["intermediate_size"] = spec.dense.intermediate_size > 0
                                    ? spec.dense.intermediate_size
                                    : checked_mul(4, spec.hidden_size, "intermediate_size");
  config["moe_intermediate_size"] = widths.moe_intermediate_size;
  config["num_hidden_layers"] = spec.num_hidden_layers;
  config["num_attention_heads"] = a.num_attention_heads;
  config["num_key_value_heads"] = spec.kv_heads();
  config["n_shared_experts"] = nullptr;
  if (widths.n_shared_experts > 0) config["n_shared_experts"] = widths.n_shared_experts;
  config["n_routed_experts"] = spec.moe.n_routed_experts;
  config["num_experts_per_tok"] = spec.router.num_experts_per_tok;
  config["kv_lora_rank"] = a.kv_lora_rank;
  config["q_lora_rank"] = a.q_lora_rank;
  config["qk_rope_head_dim"] = a.qk_rope_head_dim;
  config["v_head_dim"] = a.v_head_dim;
  config["qk_nope_head_dim"] = a.qk_nope_head_dim - a.qk_rope_head_dim;
  config["max_position_embeddings"] = spec.max_position_embeddings;
  config["norm_topk_prob"] = false;
  config["n_group"] = 1;
  config["topk_group"] = 1;
  config["routed_scaling_factor"] = 1.0;
  config["moe_layer_freq"] = spec.moe.moe_layer_freq;
  config["first_k_dense_replace"] = spec.moe.first_k_dense_replace;
  config["rms_norm_eps"] = spec.norm.eps;
  config["rope_theta"] = spec.rope.base;
  config["attention_bias"] = false;
  return config;
}

}  // namespace

LoweredModel lower_shape_match(const Lowering& source) {
  const ModelSpec& spec = source.spec();
  require(spec, shape_match_capabilities(), "shape-match");
  LoweredModel lowered;
  lowered.target = "shape-match";
  ExpertWidths widths = widths_of(source);
  lowered.config = config_of(spec, widths);

  auto put = [&](const char* name, const std::string& from) {
    lowered.tensors.push_back({name, source.get(from), false, true, 1, ""});
  };
  put("model.embed_tokens.weight", "embed.weight");
  for (std::uint64_t l = 0; l < spec.num_hidden_layers; ++l) {
    BlockMapping(source, l, widths, lowered.tensors).map(spec.is_moe(l));
  }
  put("model.norm.weight", "norm.weight");
  put("lm_head.weight", spec.tie_word_embeddings ? "embed.weight" : "head.weight");

  lowered.extra = mtp_tensors(source);
  lowered.losses = losses_of(source, shape_match_losses());
  mark_lossy(lowered.losses, lowered.tensors);
  fill_account(source, lowered);
  return lowered;
}

}  // namespace wb
