// Every field of ModelSpec, named once. JSON, recipes, comparisons and config.json
// all walk this list, so a field added to spec.h is added here and nowhere else.
// Internal to model/.
#pragma once

#include "model/spec.h"

namespace wb {

template <class V>
void visit_fields(V&& v, NormSpec& s) {
  v("kind", s.kind);
  v("eps", s.eps);
  v("eps_outside_root", s.eps_outside_root);
  v("bias", s.bias);
}
template <class V>
void visit_fields(V&& v, RopeSpec& s) {
  v("layout", s.layout);
  v("base", s.base);
  v("span", s.span);
  v("inv_freq", s.inv_freq);
  v("scaling", s.scaling);
  v("factor", s.factor);
  v("original_max_position_embeddings", s.original_max_position_embeddings);
  v("beta_fast", s.beta_fast);
  v("beta_slow", s.beta_slow);
  v("mscale", s.mscale);
  v("mscale_all_dim", s.mscale_all_dim);
  v("long_factor", s.long_factor);
}
template <class V>
void visit_fields(V&& v, AttentionSpec& s) {
  v("num_attention_heads", s.num_attention_heads);
  v("num_key_value_heads", s.num_key_value_heads);
  v("q_lora_rank", s.q_lora_rank);
  v("kv_lora_rank", s.kv_lora_rank);
  v("qk_nope_head_dim", s.qk_nope_head_dim);
  v("qk_rope_head_dim", s.qk_rope_head_dim);
  v("v_head_dim", s.v_head_dim);
  v("q_norm", s.q_norm);
  v("kv_norm", s.kv_norm);
  v("q_head_norm", s.q_head_norm);
  v("k_head_norm", s.k_head_norm);
  v("head_norm_part", s.head_norm_part);
  v("rope_keys", s.rope_keys);
  v("rope_key_from", s.rope_key_from);
  v("kv_latent_factor", s.kv_latent_factor);
  v("rope_key_factor", s.rope_key_factor);
  v("softmax_scale", s.softmax_scale);
  v("softmax_scale_rope", s.softmax_scale_rope);
  v("value_is_key_content", s.value_is_key_content);
  v("q_down_bias", s.q_down_bias);
  v("q_bias", s.q_bias);
  v("kv_down_bias", s.kv_down_bias);
  v("k_rope_bias", s.k_rope_bias);
  v("kv_up_bias", s.kv_up_bias);
  v("o_bias", s.o_bias);
}
template <class V>
void visit_fields(V&& v, MlpSpec& s) {
  v("activation", s.activation);
  v("gated", s.gated);
  v("intermediate_size", s.intermediate_size);
  v("bias", s.bias);
}
template <class V>
void visit_fields(V&& v, RouterSpec& s) {
  v("score", s.score);
  v("bias", s.bias);
  v("expert_bias", s.expert_bias);
  v("num_experts_per_tok", s.num_experts_per_tok);
  v("logit_clamp", s.logit_clamp);
  v("weight_clamp", s.weight_clamp);
  v("norm_topk_prob", s.norm_topk_prob);
  v("norm_eps", s.norm_eps);
  v("norm_min", s.norm_min);
  v("routed_scaling_factor", s.routed_scaling_factor);
  v("n_group", s.n_group);
  v("topk_group", s.topk_group);
  v("group_score", s.group_score);
  v("group_mask", s.group_mask);
}
template <class V>
void visit_fields(V&& v, MoeSpec& s) {
  v("n_routed_experts", s.n_routed_experts);
  v("routed", s.routed);
  v("shared", s.shared);
  v("shared_scale", s.shared_scale);
  v("first_k_dense_replace", s.first_k_dense_replace);
  v("moe_layer_freq", s.moe_layer_freq);
  v("moe_layer_offset", s.moe_layer_offset);
}
template <class V>
void visit_fields(V&& v, ModelSpec& s) {
  v("vocab_size", s.vocab_size);
  v("hidden_size", s.hidden_size);
  v("num_hidden_layers", s.num_hidden_layers);
  v("max_position_embeddings", s.max_position_embeddings);
  v("positions", s.positions);
  v("tie_word_embeddings", s.tie_word_embeddings);
  v("head_bias", s.head_bias);
  v("norm", s.norm);
  v("own_final_norm", s.own_final_norm);
  v("final_norm", s.final_norm);
  v("rope", s.rope);
  v("attention", s.attention);
  v("dense", s.dense);
  v("moe", s.moe);
  v("router", s.router);
  v("num_nextn_predict_layers", s.num_nextn_predict_layers);
  v("mtp_combine_bias", s.mtp_combine_bias);
  v("mtp_norm", s.mtp_norm);
}

template <class E>
struct EnumNames;  // static constexpr const char* values[]: in the order of the enum
#define WB_ENUM_NAMES(Type, ...)                           \
  template <>                                              \
  struct EnumNames<Type> {                                 \
    static constexpr const char* values[] = {__VA_ARGS__}; \
  };
WB_ENUM_NAMES(Positions, "none", "learned")
WB_ENUM_NAMES(NormKind, "none", "rms", "layer")
WB_ENUM_NAMES(Activation, "silu", "gelu_erf", "gelu_tanh", "relu", "silu_clipped")
WB_ENUM_NAMES(RopeLayout, "half_split", "interleaved")
WB_ENUM_NAMES(RopeScaling, "none", "linear", "yarn", "longrope")
WB_ENUM_NAMES(RopeSpan, "head", "all_heads")
WB_ENUM_NAMES(RopeKeys, "shared", "per_head")
WB_ENUM_NAMES(RopeKeyFrom, "input", "raw_latent", "normed_latent")
WB_ENUM_NAMES(HeadNormPart, "whole", "content")
WB_ENUM_NAMES(RouterScore, "softmax_of_chosen", "softmax", "sigmoid")
WB_ENUM_NAMES(ExpertBias, "none", "logits", "selection", "scores")
WB_ENUM_NAMES(GroupScore, "max", "top2_sum")
WB_ENUM_NAMES(GroupMask, "zero", "negative_infinity")
#undef WB_ENUM_NAMES

}  // namespace wb
