// What a ModelSpec must have and what contradicts itself, refused when the spec is built:
// see spec.h. A clash names both fields with their values. A field that another one leaves
// without effect is no clash when it is harmless to ignore (an epsilon of a norm that is
// not there, a width of layers that do not occur); one that says what the model would then
// not compute (a bias without its projection, a factor without its rope) is.
#include <fmt/format.h>
#include <cmath>

#include "base/checked.h"
#include "base/error.h"
#include "model/spec.h"
#include "model/spec_fields.h"

namespace wb {

namespace {

[[noreturn]] void clash(const std::string& a, const std::string& b, const std::string& why) {
  throw Error(Code::spec_invalid,
              "the model description contradicts itself: " + a + " and " + b + " clash, " + why)
      .advice("Correct the recipe's [model] section or the --set values.");
}
std::string field(const char* name, std::uint64_t value) {
  return fmt::format("{} = {}", name, value);
}
std::string field(const char* name, double value) { return fmt::format("{} = {:g}", name, value); }
template <class E>
requires std::is_enum_v<E> std::string field(const char* name, E value) {
  return fmt::format("{} = {}", name, EnumNames<E>::values[static_cast<std::size_t>(value)]);
}
std::string length(const std::string& name, const std::vector<double>& list) {
  return fmt::format("{} of length = {}", name, list.size());
}

void need(std::uint64_t value, const char* name) {
  if (value > 0) return;
  throw Error(Code::spec_invalid, "the model description needs " + std::string(name))
      .expected("a positive number")
      .actual("0")
      .advice("Set it in the recipe's [model] section.");
}
// A number outside of what its field can be, whatever the others say.
void in_range(bool holds, const std::string& name, double value, const char* wanted) {
  if (holds) return;
  throw Error(Code::spec_invalid, "the field " + name + " of the model cannot take this value")
      .expected(wanted)
      .actual(fmt::format("{:g}", value))
      .advice("Correct the recipe's [model] section or the --set values.");
}

void limited(std::uint64_t layers, const char* name) {
  if (layers <= kMostLayers) return;
  throw Error(Code::limit_exceeded, std::string("the field ") + name + " of the model is too large")
      .expected("at most " + std::to_string(kMostLayers))
      .actual(std::to_string(layers))
      .advice("The file is damaged or hostile, or the recipe counts the wrong thing.");
}

void validate_norm(const NormSpec& norm, const std::string& name) {
  if (norm.kind == NormKind::none && norm.bias) {
    clash(name + ".kind = none", name + ".bias = true", "a norm that is not there has no bias");
  }
  in_range(norm.eps >= 0.0, name + ".eps", norm.eps, "a number that is not negative");
}

void validate_norms(const ModelSpec& spec) {
  const AttentionSpec& a = spec.attention;
  validate_norm(spec.norm, "norm");
  validate_norm(a.q_norm, "attention.q_norm");
  validate_norm(a.kv_norm, "attention.kv_norm");
  validate_norm(a.q_head_norm, "attention.q_head_norm");
  validate_norm(a.k_head_norm, "attention.k_head_norm");
  if (spec.own_final_norm) validate_norm(spec.final_norm, "final_norm");
  const bool head_norms =
      a.q_head_norm.kind != NormKind::none || a.k_head_norm.kind != NormKind::none;
  if (a.head_norm_part == HeadNormPart::content && !head_norms) {
    clash("attention.head_norm_part = content", "attention.q_head_norm.kind = none",
          "and attention.k_head_norm.kind is none too: there is no norm per head");
  }
  if (a.head_norm_part == HeadNormPart::content && a.qk_nope_head_dim == 0) {
    clash("attention.head_norm_part = content", "attention.qk_nope_head_dim = 0",
          "there is no content to norm");
  }
  if (spec.mtp_norm && spec.norm.kind == NormKind::none) {
    clash("mtp_norm = true", "norm.kind = none", "the heads' norm is of the blocks' kind");
  }
}

// Fields that speak of a latent, where there is none.
void validate_latents(const AttentionSpec& a) {
  const std::string no_q = "attention.q_lora_rank = 0", no_kv = "attention.kv_lora_rank = 0";
  if (a.q_lora_rank == 0 && a.q_norm.kind != NormKind::none) {
    clash(no_q, "attention.q_norm", "which norms the query latent");
  }
  if (a.q_lora_rank == 0 && a.q_down_bias) {
    clash(no_q, "attention.q_down_bias = true", "which is the bias of the query latent");
  }
  if (a.kv_lora_rank > 0) return;
  if (a.kv_norm.kind != NormKind::none) {
    clash(no_kv, "attention.kv_norm", "which norms the key-value latent");
  }
  if (a.rope_key_from != RopeKeyFrom::input) {
    clash(no_kv, "attention.rope_key_from", "which reads the latent");
  }
  if (a.kv_down_bias) {
    clash(no_kv, "attention.kv_down_bias = true", "which is the bias of the key-value latent");
  }
  if (a.kv_latent_factor != 1.0) {
    clash(no_kv, field("attention.kv_latent_factor", a.kv_latent_factor),
          "which multiplies the key-value latent");
  }
}

// Fields that speak of rotated dims, where there are none.
void validate_without_rope(const ModelSpec& spec) {
  const AttentionSpec& a = spec.attention;
  const RopeSpec& r = spec.rope;
  const std::string none = "attention.qk_rope_head_dim = 0";
  if (r.scaling != RopeScaling::none) {
    clash(none, field("rope.scaling", r.scaling), "nothing is rotated");
  }
  if (r.span != RopeSpan::head) clash(none, field("rope.span", r.span), "nothing is rotated");
  if (!r.inv_freq.empty()) clash(none, length("rope.inv_freq", r.inv_freq), "nothing is rotated");
  if (a.rope_keys != RopeKeys::shared) {
    clash(none, field("attention.rope_keys", a.rope_keys), "there are no rope keys");
  }
  if (a.rope_key_from != RopeKeyFrom::input) {
    clash(none, field("attention.rope_key_from", a.rope_key_from), "there are no rope keys");
  }
  if (a.rope_key_factor != 1.0) {
    clash(none, field("attention.rope_key_factor", a.rope_key_factor), "there are no rope keys");
  }
  if (a.k_rope_bias) clash(none, "attention.k_rope_bias = true", "there are no rope keys");
  if (a.softmax_scale_rope != 0.0) {
    clash(none, field("attention.softmax_scale_rope", a.softmax_scale_rope),
          "it multiplies the rotated part of the scores");
  }
}

// base, scaling and what belongs to each kind of it.
void validate_scaling(const ModelSpec& spec) {
  const RopeSpec& r = spec.rope;
  const std::string scaling = field("rope.scaling", r.scaling);
  const bool linear = r.scaling == RopeScaling::linear, yarn = r.scaling == RopeScaling::yarn;
  const bool longrope = r.scaling == RopeScaling::longrope;
  in_range(r.base > 1.0, "rope.base", r.base, "a number above 1");
  in_range(r.factor > 0.0, "rope.factor", r.factor, "a positive number");
  if (r.factor != 1.0 && !linear && !yarn) {
    clash(scaling, field("rope.factor", r.factor), "only linear and yarn have a factor");
  }
  if (!yarn && (r.mscale != 1.0 || r.mscale_all_dim != 0.0)) {
    const bool first = r.mscale != 1.0;
    clash(scaling,
          first ? field("rope.mscale", r.mscale) : field("rope.mscale_all_dim", r.mscale_all_dim),
          "only yarn has a magnitude");
  }
  if (!longrope && !r.long_factor.empty()) {
    clash(scaling, length("rope.long_factor", r.long_factor), "only longrope reads it");
  }
  if ((yarn || longrope) && r.original_max_position_embeddings < 2) {
    clash(scaling,
          field("rope.original_max_position_embeddings", r.original_max_position_embeddings),
          "it needs the length that the model was first trained for");
  }
  if (yarn) {
    in_range(r.beta_fast > 0.0, "rope.beta_fast", r.beta_fast, "a positive number");
    in_range(r.beta_slow > 0.0, "rope.beta_slow", r.beta_slow, "a positive number");
    if (r.beta_fast < r.beta_slow) {
      clash(field("rope.beta_fast", r.beta_fast), field("rope.beta_slow", r.beta_slow),
            "the fast pairs turn more often than the slow ones");
    }
  }
  if (longrope && r.span == RopeSpan::all_heads) {
    clash(scaling, "rope.span = all_heads", "its factors are for the pairs of one head");
  }
  if (longrope && r.long_factor.size() != spec.attention.qk_rope_head_dim / 2) {
    clash(length("rope.long_factor", r.long_factor),
          field("attention.qk_rope_head_dim", spec.attention.qk_rope_head_dim),
          "it needs one factor for each pair");
  }
  if (longrope && spec.max_position_embeddings == 0) {
    clash(scaling, "max_position_embeddings = 0", "its magnitude follows from that number");
  }
}

// A table of frequencies: one row for all heads, or one for each.
void validate_table(const ModelSpec& spec) {
  const RopeSpec& r = spec.rope;
  if (r.inv_freq.empty()) return;
  const AttentionSpec& a = spec.attention;
  const std::string table = length("rope.inv_freq", r.inv_freq);
  if (r.scaling != RopeScaling::none) {
    clash(table, field("rope.scaling", r.scaling), "the table holds the frequencies as they are");
  }
  const std::uint64_t pairs = a.qk_rope_head_dim / 2;
  const std::uint64_t all = checked_mul(pairs, a.num_attention_heads, "the frequencies");
  if (r.inv_freq.size() == pairs && (r.span == RopeSpan::head || all == pairs)) return;
  if (r.inv_freq.size() != all) {
    clash(table, field("attention.qk_rope_head_dim", a.qk_rope_head_dim),
          r.span == RopeSpan::all_heads
              ? "it needs one frequency for each pair of all heads"
              : "it needs one frequency for each pair, or for each pair of each head");
  }
  if (spec.rope_key_heads() != a.num_attention_heads) {
    clash(table, field("attention.rope_keys", a.rope_keys),
          "frequencies of each head's own need a rope key for each head");
  }
}

void validate_attention(const ModelSpec& spec) {
  const AttentionSpec& a = spec.attention;
  need(a.num_attention_heads, "attention.num_attention_heads");
  need(a.qk_nope_head_dim + a.qk_rope_head_dim, "attention.qk_nope_head_dim or qk_rope_head_dim");
  need(a.v_head_dim, "attention.v_head_dim");
  if (a.num_attention_heads % spec.kv_heads() != 0) {
    clash(field("attention.num_attention_heads", a.num_attention_heads),
          field("attention.num_key_value_heads", a.num_key_value_heads),
          "the first is not a multiple of the second");
  }
  if (a.qk_rope_head_dim % 2 != 0) {
    clash(field("attention.qk_rope_head_dim", a.qk_rope_head_dim), "rope", "which rotates pairs");
  }
  if (a.value_is_key_content && a.v_head_dim != a.qk_nope_head_dim) {
    clash(field("attention.v_head_dim", a.v_head_dim),
          field("attention.qk_nope_head_dim", a.qk_nope_head_dim),
          "values that are the key content have its width");
  }
  in_range(a.softmax_scale >= 0.0, "attention.softmax_scale", a.softmax_scale,
           "a number that is not negative");
  in_range(a.softmax_scale_rope >= 0.0, "attention.softmax_scale_rope", a.softmax_scale_rope,
           "a number that is not negative");
  validate_latents(a);
  if (a.qk_rope_head_dim == 0) return validate_without_rope(spec);
  validate_scaling(spec);
  validate_table(spec);
}

void validate_clamp(const std::vector<double>& clamp, const char* name) {
  if (clamp.empty()) return;
  if (clamp.size() == 2 && clamp[0] < clamp[1]) return;
  throw Error(Code::spec_invalid,
              "the field " + std::string(name) + " of the model cannot take this value")
      .expected("[least, largest], or nothing")
      .actual(nlohmann::json(clamp).dump())
      .advice("Correct the recipe's [model] section or the --set values.");
}

void validate_weights(const RouterSpec& r) {
  validate_clamp(r.logit_clamp, "router.logit_clamp");
  validate_clamp(r.weight_clamp, "router.weight_clamp");
  in_range(r.norm_eps >= 0.0, "router.norm_eps", r.norm_eps, "a number that is not negative");
  in_range(r.norm_min >= 0.0, "router.norm_min", r.norm_min, "a number that is not negative");
  if (!r.norm_topk_prob && r.norm_min != 0.0) {
    clash("router.norm_topk_prob = false", field("router.norm_min", r.norm_min),
          "it bounds the sum by which weights are normalised");
  }
}

void validate_router(const ModelSpec& spec) {
  const RouterSpec& r = spec.router;
  std::uint64_t experts = spec.moe.n_routed_experts;
  need(spec.moe.routed.intermediate_size, "moe.routed.intermediate_size");
  need(r.num_experts_per_tok, "router.num_experts_per_tok");
  need(r.n_group, "router.n_group");
  need(r.topk_group, "router.topk_group");
  if (r.num_experts_per_tok > experts) {
    clash(field("router.num_experts_per_tok", r.num_experts_per_tok),
          field("moe.n_routed_experts", experts),
          "a token cannot go to more experts than there are");
  }
  if (experts % r.n_group != 0) {
    clash(field("router.n_group", r.n_group), field("moe.n_routed_experts", experts),
          "groups are of equal size");
  }
  if (r.topk_group > r.n_group) {
    clash(field("router.topk_group", r.topk_group), field("router.n_group", r.n_group),
          "more groups are kept than there are");
  }
  if (r.num_experts_per_tok > experts / r.n_group * r.topk_group) {
    clash(field("router.num_experts_per_tok", r.num_experts_per_tok),
          field("router.topk_group", r.topk_group),
          "the groups that are kept hold too few experts");
  }
  validate_weights(r);
}

void validate_layers(const ModelSpec& spec) {
  const MoeSpec& m = spec.moe;
  need(m.moe_layer_freq, "moe.moe_layer_freq");
  if (m.moe_layer_offset >= m.moe_layer_freq) {
    clash(field("moe.moe_layer_offset", m.moe_layer_offset),
          field("moe.moe_layer_freq", m.moe_layer_freq),
          "no number leaves such a remainder when it is divided by the second");
  }
  if (m.n_routed_experts == 0 && m.shared.intermediate_size > 0) {
    clash("moe.n_routed_experts = 0",
          field("moe.shared.intermediate_size", m.shared.intermediate_size),
          "shared experts stand beside routed ones; a network for all layers is dense");
  }
  if (m.n_routed_experts == 0 && spec.router.num_experts_per_tok > 0) {
    clash("moe.n_routed_experts = 0",
          field("router.num_experts_per_tok", spec.router.num_experts_per_tok),
          "there are no experts to be chosen");
  }
  // Of a model that has dense layers, the first or the second is one: not all are looked at, since
  // a file may claim any number of them.
  const bool any_dense = !spec.is_moe(0) || (spec.num_hidden_layers > 1 && !spec.is_moe(1));
  if (any_dense)
    need(spec.dense.intermediate_size, "dense.intermediate_size (some layers are dense)");
}

}  // namespace

void validate(const ModelSpec& spec) {
  need(spec.vocab_size, "vocab_size");
  need(spec.hidden_size, "hidden_size");
  need(spec.num_hidden_layers, "num_hidden_layers");
  limited(spec.num_hidden_layers, "num_hidden_layers");
  limited(spec.num_nextn_predict_layers, "num_nextn_predict_layers");
  if (spec.positions == Positions::learned) {
    need(spec.max_position_embeddings, "max_position_embeddings (positions are learned)");
  }
  validate_attention(spec);
  validate_norms(spec);
  validate_layers(spec);
  if (spec.moe.n_routed_experts > 0) validate_router(spec);
}

}  // namespace wb
