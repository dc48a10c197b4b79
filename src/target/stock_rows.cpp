// What the stock class computes, field by field, and what is done about the rest. Facts of
// the class are those of docs/mappings.md; nothing here knows a model by name.
#include "target/stock.h"

namespace wb {

namespace {

bool always(const ModelSpec&) { return true; }
bool plain_network(const MlpSpec& mlp) {
  return mlp.intermediate_size == 0 || (mlp.activation == Activation::silu && mlp.gated);
}
bool biased(const MlpSpec& mlp) { return mlp.intermediate_size > 0 && mlp.bias; }
bool class_latent_eps(const NormSpec& norm) {
  return norm.kind == NormKind::none || norm.eps_outside_root || norm.eps == 1e-6;
}
bool eps_inside(const NormSpec& norm) {
  return norm.kind == NormKind::none || !norm.eps_outside_root;
}
bool has_router(const ModelSpec& s) { return s.moe.n_routed_experts > 0; }
// Whether the least divisor of the routing weights is never met: the class has none. Of a
// softmax, the k best of E weigh at least k / E together, where no bias chooses others.
bool free_of_norm_min(const ModelSpec& s) {
  const RouterSpec& r = s.router;
  const bool best = r.score == RouterScore::softmax && r.n_group <= 1 && r.weight_clamp.empty() &&
                    (r.expert_bias == ExpertBias::none || r.expert_bias == ExpertBias::logits);
  const double least = best ? static_cast<double>(r.num_experts_per_tok) /
                                  static_cast<double>(s.moe.n_routed_experts)
                            : 1e-12;
  return r.norm_min <= least;
}
bool same_norm(const NormSpec& a, const NormSpec& b) {
  return a.kind == b.kind && a.eps == b.eps && a.eps_outside_root == b.eps_outside_root &&
         a.bias == b.bias;
}
bool softmax_over_chosen(const ModelSpec& s) {
  return s.router.score == RouterScore::softmax_of_chosen ||
         (s.router.score == RouterScore::softmax && s.router.norm_topk_prob &&
          s.router.norm_eps <= 1e-12);
}
bool folds(const ModelSpec& s) {
  return s.attention.q_lora_rank > 0 && s.attention.q_norm.kind == NormKind::none;
}
// The class's scale: (nope + R)^-0.5, and YaRN's factor squared.
bool default_scale(const ModelSpec& s) {
  return stock_config_scale_matches(s, s.attention.qk_rope_head_dim);
}

std::vector<StockRow> network_rows() {
  return {
      {{"dense.activation", [](const ModelSpec& s) { return plain_network(s.dense); },
        "the class has gated SiLU networks only"},
       nullptr,
       false,
       ""},
      {{"moe.routed.activation",
        [](const ModelSpec& s) { return !has_router(s) || plain_network(s.moe.routed); },
        "the class has gated SiLU networks only"},
       nullptr,
       false,
       ""},
      {{"moe.shared.activation",
        [](const ModelSpec& s) { return !has_router(s) || plain_network(s.moe.shared); },
        "the class has gated SiLU networks only"},
       nullptr,
       false,
       ""},
      {{"dense.bias", [](const ModelSpec& s) { return !biased(s.dense); },
        "the class's networks have no biases"},
       always,
       false,
       "the biases are dropped"},
      {{"moe.routed.bias",
        [](const ModelSpec& s) { return !has_router(s) || !biased(s.moe.routed); },
        "the class's networks have no biases"},
       always,
       false,
       "the biases are dropped"},
      {{"moe.shared.bias",
        [](const ModelSpec& s) { return !has_router(s) || !biased(s.moe.shared); },
        "the class's networks have no biases"},
       always,
       false,
       "the biases are dropped"},
      {{"moe.shared_scale",
        [](const ModelSpec& s) {
          return s.moe.shared.intermediate_size == 0 || s.moe.shared_scale == 1.0;
        },
        "the class adds the shared experts as they are"},
       always,
       true,
       "the factor is multiplied into their down projection"},
      {{"router.score",
        [](const ModelSpec& s) { return !has_router(s) || s.router.score == RouterScore::sigmoid; },
        "the class's routing weights are a sigmoid of each logit"},
       [](const ModelSpec& s) { return softmax_over_chosen(s) && s.router.n_group == 1; },
       false,
       "the sigmoids of the chosen logits are divided by their sum (norm_topk_prob)"},
      {{"router.bias", [](const ModelSpec& s) { return !has_router(s) || !s.router.bias; },
        "the class's router has no bias"},
       always,
       false,
       "the bias is dropped"},
      {{"router.expert_bias",
        [](const ModelSpec& s) {
          return !has_router(s) || s.router.expert_bias == ExpertBias::none ||
                 s.router.expert_bias == ExpertBias::selection;
        },
        "the class's balancing bias enters the selection only"},
       [](const ModelSpec& s) { return s.router.expert_bias == ExpertBias::logits; },
       false,
       "the bias is dropped"},
      {{"router.norm_topk_prob",
        [](const ModelSpec& s) {
          return !has_router(s) || s.router.score != RouterScore::sigmoid ||
                 !s.router.norm_topk_prob ||
                 (s.router.num_experts_per_tok > 1 && s.router.norm_eps <= 1e-12);
        },
        "the class divides by the plain sum, and for a single expert not at all"},
       nullptr,
       false,
       ""},
      {{"router.logit_clamp",
        [](const ModelSpec& s) { return !has_router(s) || s.router.logit_clamp.empty(); },
        "the class takes the router's logits as they are"},
       nullptr,
       false,
       ""},
      {{"router.weight_clamp",
        [](const ModelSpec& s) { return !has_router(s) || s.router.weight_clamp.empty(); },
        "the class takes the chosen weights as they are"},
       nullptr,
       false,
       ""},
      {{"router.norm_min", [](const ModelSpec& s) { return !has_router(s) || free_of_norm_min(s); },
        "the class divides by the plain sum"},
       nullptr,
       false,
       ""},
      {{"moe.moe_layer_offset",
        [](const ModelSpec& s) { return !has_router(s) || s.moe.moe_layer_offset == 0; },
        "the class has a mixture where moe_layer_freq divides the layer's number"},
       nullptr,
       false,
       ""},
      {{"router.n_group",
        [](const ModelSpec& s) {
          return !has_router(s) || s.router.n_group <= 1 ||
                 (s.router.group_score == GroupScore::top2_sum &&
                  s.router.group_mask == GroupMask::zero);
        },
        "the class scores a group by its two best experts and masks with zero"},
       nullptr,
       false,
       ""},
  };
}

std::vector<StockRow> attention_rows() {
  return {
      {{"attention.num_key_value_heads",
        [](const ModelSpec& s) { return s.kv_heads() == s.attention.num_attention_heads; },
        "kv_b_proj has keys and values for every head"},
       always,
       true,
       "each key-value head is repeated"},
      {{"attention.kv_lora_rank", [](const ModelSpec& s) { return s.attention.kv_lora_rank > 0; },
        "the class needs a key-value latent"},
       nullptr,
       false,
       ""},
      {{"attention.kv_norm.kind",
        [](const ModelSpec& s) {
          return s.attention.kv_norm.kind == NormKind::rms && !s.attention.kv_norm.bias;
        },
        "the class has an RMS norm on the key-value latent"},
       nullptr,
       false,
       ""},
      {{"attention.kv_norm.eps",
        [](const ModelSpec& s) { return class_latent_eps(s.attention.kv_norm); },
        "the class has 1e-6"},
       always,
       true,
       "the latent is scaled, by a factor that the norm removes, so that 1e-6 stands for it"},
      {{"attention.kv_norm.eps_outside_root",
        [](const ModelSpec& s) { return eps_inside(s.attention.kv_norm); },
        "the class adds epsilon inside the root"},
       always,
       true,
       "the latent is made so large, by a factor that the norm removes, that epsilon vanishes"},
      {{"attention.kv_latent_factor",
        [](const ModelSpec& s) { return s.attention.kv_latent_factor == 1.0; },
        "the class has no such factor"},
       always,
       true,
       "multiplied into kv_a_layernorm"},
      {{"attention.q_norm.kind",
        [](const ModelSpec& s) {
          const AttentionSpec& a = s.attention;
          return a.q_lora_rank == 0 || (a.q_norm.kind == NormKind::rms && !a.q_norm.bias);
        },
        "the class has an RMS norm on the query latent"},
       [](const ModelSpec& s) { return folds(s) && !s.attention.q_down_bias; },
       true,
       "both query projections are folded into one"},
      {{"attention.q_norm.eps",
        [](const ModelSpec& s) { return class_latent_eps(s.attention.q_norm); },
        "the class has 1e-6"},
       always,
       true,
       "the latent is scaled, by a factor that the norm removes, so that 1e-6 stands for it"},
      {{"attention.q_norm.eps_outside_root",
        [](const ModelSpec& s) { return eps_inside(s.attention.q_norm); },
        "the class adds epsilon inside the root"},
       always,
       true,
       "the latent is made so large, by a factor that the norm removes, that epsilon vanishes"},
      {{"attention.q_bias", [](const ModelSpec& s) { return !s.attention.q_bias; },
        "queries have no bias behind the latent"},
       nullptr,
       false,
       ""},
      {{"attention.kv_up_bias", [](const ModelSpec& s) { return !s.attention.kv_up_bias; },
        "kv_b_proj has no bias"},
       always,
       true,
       "values' biases are folded into o_proj.bias; keys' add the same to every "
       "score, which the softmax removes"},
      {{"attention.q_head_norm.kind",
        [](const ModelSpec& s) { return s.attention.q_head_norm.kind == NormKind::none; },
        "the class has no norm per head"},
       nullptr,
       false,
       ""},
      {{"attention.k_head_norm.kind",
        [](const ModelSpec& s) { return s.attention.k_head_norm.kind == NormKind::none; },
        "the class has no norm per head"},
       nullptr,
       false,
       ""},
      {{"attention.qk_rope_head_dim",
        [](const ModelSpec& s) { return s.attention.qk_rope_head_dim > 0; },
        "the class needs a rope key"},
       nullptr,
       false,
       ""},
      {{"rope.span",
        [](const ModelSpec& s) {
          return s.rope.span == RopeSpan::head || s.attention.num_attention_heads == 1;
        },
        "the class rotates each head by itself"},
       nullptr,
       false,
       ""},
      {{"rope.inv_freq", [](const ModelSpec& s) { return s.rope.inv_freq.empty(); },
        "the class computes its frequencies from rope_theta"},
       nullptr,
       false,
       ""},
      {{"attention.rope_keys", [](const ModelSpec& s) { return s.rope_key_heads() == 1; },
        "the class has one rope key for all heads"},
       [](const ModelSpec& s) {
         return s.rope.scaling == RopeScaling::none || s.rope.scaling == RopeScaling::linear ||
                (s.rope.scaling == RopeScaling::longrope &&
                 s.rope.original_max_position_embeddings == s.max_position_embeddings);
       },
       true,
       "all heads' keys stand side by side in it, and each query is zero outside its own"},
      {{"attention.rope_key_from",
        [](const ModelSpec& s) { return s.attention.rope_key_from == RopeKeyFrom::input; },
        "the class makes the rope key from the input"},
       [](const ModelSpec& s) {
         return s.attention.rope_key_from == RopeKeyFrom::raw_latent && !s.attention.kv_down_bias;
       },
       true,
       "its projection is folded with the latent's"},
      {{"attention.rope_key_factor",
        [](const ModelSpec& s) { return s.attention.rope_key_factor == 1.0; },
        "the class has no such factor"},
       always,
       true,
       "multiplied into the rope key's rows"},
      {{"attention.softmax_scale", default_scale,
        "the class has (qk_nope_head_dim + qk_rope_head_dim)^-0.5 and YaRN's factor"},
       always,
       true,
       "the ratio is multiplied into the query rows"},
      {{"attention.value_is_key_content",
        [](const ModelSpec& s) { return !s.attention.value_is_key_content; },
        "kv_b_proj has values of its own"},
       always,
       true,
       "the key rows are written twice"},
  };
}

}  // namespace

const std::vector<StockRow>& stock_rows() {
  static const std::vector<StockRow> rows = [] {
    std::vector<StockRow> all = {
        {{"positions", [](const ModelSpec& s) { return s.positions == Positions::none; },
          "the class has no position embedding"},
         always,
         false,
         "the position embedding is dropped"},
        {{"head_bias", [](const ModelSpec& s) { return !s.head_bias; }, "lm_head has no bias"},
         nullptr,
         false,
         ""},
        {{"norm.kind",
          [](const ModelSpec& s) { return s.norm.kind == NormKind::rms && !s.norm.bias; },
          "the class has RMS norms only"},
         nullptr,
         false,
         ""},
        {{"own_final_norm", [](const ModelSpec& s) { return same_norm(s.last_norm(), s.norm); },
          "the class's final norm is of the blocks' kind"},
         nullptr,
         false,
         ""},
        {{"norm.eps_outside_root", [](const ModelSpec& s) { return !s.norm.eps_outside_root; },
          "the class adds epsilon inside the root"},
         always,
         false,
         "its square goes inside the root"},
    };
    for (auto* part : {&attention_rows, &network_rows}) {
      std::vector<StockRow> more = part();
      all.insert(all.end(), more.begin(), more.end());
    }
    return all;
  }();
  return rows;
}

std::vector<Capability> stock_natives() {
  std::vector<Capability> rows;
  for (const StockRow& row : stock_rows()) rows.push_back(row.native);
  return rows;
}

const std::vector<LossRow>& stock_losses() {
  static const std::vector<LossRow> rows = {
      {1,
       [](const ModelSpec& s) { return s.positions == Positions::learned; },
       {"positions.weight"},
       "x = token embedding + position embedding",
       "the position embedding is dropped"},
      {8,
       [](const ModelSpec& s) {
         return biased(s.dense) ||
                (has_router(s) && (biased(s.moe.routed) || biased(s.moe.shared)));
       },
       {"{block}.mlp.experts.{e}.gate.bias", "{block}.mlp.experts.{e}.up.bias",
        "{block}.mlp.experts.{e}.down.bias", "{block}.mlp.shared.gate.bias",
        "{block}.mlp.shared.up.bias", "{block}.mlp.shared.down.bias", "{block}.mlp.dense.gate.bias",
        "{block}.mlp.dense.up.bias", "{block}.mlp.dense.down.bias"},
       "gate, up and down projections have biases",
       "the biases are dropped"},
      {9,
       [](const ModelSpec& s) { return has_router(s) && s.router.score != RouterScore::sigmoid; },
       {"{block}.mlp.router.weight"},
       "routing weights are a softmax over the {k} chosen logits",
       "routing weights are the sigmoids of the chosen logits divided by their sum"},
      {10,
       [](const ModelSpec& s) {
         return has_router(s) && (s.router.bias || s.router.expert_bias == ExpertBias::logits);
       },
       {"{block}.mlp.router.expert_bias", "{block}.mlp.router.bias"},
       "a bias of each expert joins the router's logits",
       "it is dropped"},
      {11,
       [](const ModelSpec& s) { return s.norm.eps_outside_root; },
       {"{block}.attn_norm.weight", "{block}.mlp_norm.weight", "norm.weight"},
       "the block norms' epsilon {eps:g} is added outside the root",
       "its square is added inside the root"},
  };
  return rows;
}

}  // namespace wb
