// The questions of field_help.h.
#include "model/field_help.h"

#include <utility>

namespace wb {

namespace {

using Row = std::pair<std::string_view, std::string_view>;

constexpr Row kByPath[] = {
    {"vocab_size", "how many tokens the embedding has"},
    {"hidden_size", "width of the residual stream"},
    {"num_hidden_layers", "number of blocks"},
    {"max_position_embeddings", "longest sequence that the model is made for"},
    {"positions", "are learned positions added to the token embeddings"},
    {"tie_word_embeddings", "does the output head use the embedding matrix"},
    {"head_bias", "does the output head add a bias"},
    {"rope.layout", "does rope rotate pairs (j, j + R/2), \"rotate half\", or (2j, 2j + 1)"},
    {"rope.base", "base of the rope frequencies (theta)"},
    {"rope.scaling", "how rope frequencies are stretched for long contexts"},
    {"rope.factor", "factor of the rope scaling"},
    {"rope.original_max_position_embeddings", "context before the rope scaling"},
    {"attention.num_attention_heads", "number of query heads"},
    {"attention.num_key_value_heads", "number of key and value heads"},
    {"attention.rope_keys", "is the rotated key shared by all heads, or one per head"},
    {"attention.rope_key_from", "what the rotated key is projected from"},
    {"attention.kv_latent_factor", "constant on the normed key-value latent"},
    {"attention.rope_key_factor", "constant on the rotated key"},
    {"attention.softmax_scale",
     "what attention scores are multiplied by (0 = (nope + rope width)^-0.5)"},
    {"attention.softmax_scale_rope",
     "the same for the rotated part, where it differs (0 = as the other)"},
    {"attention.value_is_key_content", "are the values the content keys themselves"},
    {"moe.shared_scale", "what the shared experts' sum is multiplied by (1 = summed, 1/n = mean)"},
    {"moe.first_k_dense_replace", "how many layers at the start are dense"},
    {"moe.moe_layer_freq", "which of the other layers are mixtures: every n-th"},
    {"router.score",
     "are routing weights a softmax of the chosen logits, of all of them, or sigmoids"},
    {"router.expert_bias",
     "does the balancing bias join the logits, the choice only, or choice and weights"},
    {"router.num_experts_per_tok", "experts that each token is sent to (top-k)"},
    {"router.norm_topk_prob", "are the chosen weights divided by their sum"},
    {"router.norm_eps", "what is added to the sum that they are divided by"},
    {"router.routed_scaling_factor", "factor on the routed experts' sum"},
    {"router.n_group", "number of expert groups (1 = none)"},
    {"router.topk_group", "groups that a token may choose from"},
    {"router.group_score", "is a group scored by its best expert or by its two best"},
    {"router.group_mask", "do scores of other groups become 0 or -infinity"},
};
constexpr Row kByLastPart[] = {
    {"kind", "which norm this is: none, RMS or LayerNorm"},
    {"eps", "epsilon of this norm"},
    {"eps_outside_root", "is epsilon added to the root instead of under it"},
    {"bias", "does it add a bias"},
    {"activation", "activation of this network"},
    {"gated", "is the network gated: down(act(gate x) * up x)"},
    {"intermediate_size", "width of this network"},
};

}  // namespace

std::string_view field_help(std::string_view path) {
  for (const auto& [key, help] : kByPath) {
    if (key == path) return help;
  }
  const std::string_view last = path.substr(path.rfind('.') + 1);
  for (const auto& [key, help] : kByLastPart) {
    if (key == last) return help;
  }
  return "its values are listed in docs/recipes.md";
}

}  // namespace wb
