// ModelSpec: what a model computes, and nothing else. Everything that the
// arithmetic depends on is a field here; how a checkpoint spells it is a recipe's
// affair and how a class loads it is a target's. Fields are composable switches in
// the field's own terms (config.json of Hugging Face and mlx-lm), not named model
// kinds. The axes are those of docs/variety.md. A spec that contradicts itself is
// refused by validate(), naming the two fields that clash.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace wb {

// Dimensions are int32 in MLX.
inline constexpr std::uint64_t kLargestDimension = std::uint64_t{1} << 31;
// Blocks and multi-token heads, each; a hostile count would otherwise be looped over.
inline constexpr std::uint64_t kMostLayers = 1u << 14;

enum class Positions { none, learned };
enum class NormKind { none, rms, layer };
// silu_clipped: silu, its result clipped to [-100, 100] (mlx-swift-lm's routed experts).
enum class Activation { silu, gelu_erf, gelu_tanh, relu, silu_clipped };
// half_split: pairs (j, j + R/2), "rotate half"; interleaved: pairs (2j, 2j + 1).
enum class RopeLayout { half_split, interleaved };
enum class RopeScaling { none, linear, yarn, longrope };
// What one rotation runs over: each head's own dims (DeepSeek), or all heads' dims side by
// side as one vector [heads * qk_rope_head_dim], so that each head has frequencies of its own
// (and, half-split, pairs join two heads). Queries and keys each over their own heads.
enum class RopeSpan { head, all_heads };
// Rope keys: one for all heads (DeepSeek), or one per head.
enum class RopeKeys { shared, per_head };
enum class RopeKeyFrom { input, raw_latent, normed_latent };
// What a norm per head covers: content and position together, or the content alone.
enum class HeadNormPart { whole, content };
// Routing weights: softmax over the chosen logits; softmax over all, then the chosen; sigmoid each.
enum class RouterScore { softmax_of_chosen, softmax, sigmoid };
// Where the per-expert balancing bias enters: added to the logits, to the scores for
// selection only, or to the scores for selection and weights alike.
enum class ExpertBias { none, logits, selection, scores };
// How a group of experts is scored for group-limited routing.
enum class GroupScore { max, top2_sum };
// What the scores of masked groups become before the top-k.
enum class GroupMask { zero, negative_infinity };

struct NormSpec {
  NormKind kind = NormKind::rms;
  double eps = 1e-6;
  bool eps_outside_root = false;  // x / (sqrt(mean x^2) + eps) instead of x / sqrt(mean x^2 + eps)
  bool bias = false;              // LayerNorm's shift
};

struct RopeSpec {
  RopeLayout layout = RopeLayout::half_split;
  double base = 10000.0;
  RopeSpan span = RopeSpan::head;
  // Radians per position, one for each pair, instead of base and scaling; empty = by those.
  // [qk_rope_head_dim / 2]: the same for every head; [heads * qk_rope_head_dim / 2]: one row for
  // each head (or, with span all_heads, for each pair of the whole).
  std::vector<double> inv_freq;
  RopeScaling scaling = RopeScaling::none;
  double factor = 1.0;                                 // linear, yarn
  std::uint64_t original_max_position_embeddings = 0;  // yarn, longrope
  double beta_fast = 32.0, beta_slow = 1.0;            // yarn
  double mscale = 1.0, mscale_all_dim = 0.0;           // yarn
  std::vector<double> long_factor;                     // longrope: [qk_rope_head_dim / 2]
};

struct AttentionSpec {
  std::uint64_t num_attention_heads = 0;
  std::uint64_t num_key_value_heads = 0;  // 0 = num_attention_heads
  std::uint64_t q_lora_rank = 0;          // 0 = queries straight from the input
  std::uint64_t kv_lora_rank = 0;         // 0 = keys and values straight from the input
  std::uint64_t qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0;
  NormSpec q_norm{NormKind::none};  // on the query latent
  NormSpec kv_norm{NormKind::rms};  // on the key-value latent
  NormSpec q_head_norm{NormKind::none},
      k_head_norm{NormKind::none};  // per head, after the up-projection, before the rotation
  HeadNormPart head_norm_part = HeadNormPart::whole;
  RopeKeys rope_keys = RopeKeys::shared;
  RopeKeyFrom rope_key_from = RopeKeyFrom::input;
  double kv_latent_factor = 1.0;  // constant on the normed key-value latent
  double rope_key_factor = 1.0;   // constant on the rope key
  // scores = softmax_scale * (q_nope.k_nope) + softmax_scale_rope * (q_rope.k_rope).
  // 0 = (qk_nope_head_dim + qk_rope_head_dim)^-0.5; softmax_scale_rope 0 = softmax_scale.
  double softmax_scale = 0.0, softmax_scale_rope = 0.0;
  bool value_is_key_content = false;         // v = k_nope, no v tensor
  bool q_down_bias = false, q_bias = false;  // q_lora down; nope and rope queries
  bool kv_down_bias = false, k_rope_bias = false, kv_up_bias = false, o_bias = false;
};

// A feed-forward network: down(act(gate x) * up x), or down(act(up x)) when not gated.
struct MlpSpec {
  Activation activation = Activation::silu;
  bool gated = true;
  std::uint64_t intermediate_size = 0;
  bool bias = false;
};

struct RouterSpec {
  RouterScore score = RouterScore::softmax_of_chosen;
  bool bias = false;  // the router's linear layer has one
  ExpertBias expert_bias = ExpertBias::none;
  std::uint64_t num_experts_per_tok = 0;
  // [least, largest]; empty = unbounded. Of the linear layer's results, before expert_bias and
  // score; of the chosen weights, before they are normalised.
  std::vector<double> logit_clamp, weight_clamp;
  bool norm_topk_prob = false;  // chosen weights divided by their sum
  double norm_eps = 0.0;        // added to that sum
  double norm_min = 0.0;        // the divisor (sum + norm_eps) is at least this; 0 = no bound
  double routed_scaling_factor = 1.0;
  std::uint64_t n_group = 1, topk_group = 1;
  GroupScore group_score = GroupScore::top2_sum;
  GroupMask group_mask = GroupMask::zero;
};

struct MoeSpec {
  std::uint64_t n_routed_experts = 0;       // 0 = every layer is dense
  MlpSpec routed;                           // each expert
  MlpSpec shared;                           // all shared experts as one network; width 0 = none
  double shared_scale = 1.0;                // y = routed + shared_scale * shared
  std::uint64_t first_k_dense_replace = 0;  // layers before it are dense
  // Of the rest, layer l is a mixture when l % moe_layer_freq == moe_layer_offset.
  std::uint64_t moe_layer_freq = 1, moe_layer_offset = 0;
};

struct ModelSpec {
  std::uint64_t vocab_size = 0, hidden_size = 0, num_hidden_layers = 0;
  std::uint64_t max_position_embeddings = 0;
  Positions positions = Positions::none;
  bool tie_word_embeddings = false;
  bool head_bias = false;
  NormSpec norm;                // the two block norms, and the final norm unless it has its own
  bool own_final_norm = false;  // the final norm is final_norm, of another kind than the blocks'
  NormSpec final_norm;
  RopeSpec rope;
  AttentionSpec attention;
  MlpSpec dense;  // the dense layers' network; intermediate_size 0 when there is none
  MoeSpec moe;
  RouterSpec router;
  std::uint64_t num_nextn_predict_layers = 0;  // multi-token heads, as DeepSeek's config calls them
  bool mtp_combine_bias = false;
  bool mtp_norm = false;  // each head has a norm of its own before the output head

  // Whether layer `l` is a mixture of experts.
  bool is_moe(std::uint64_t l) const;
  std::uint64_t kv_heads() const;        // num_key_value_heads, or num_attention_heads when 0
  std::uint64_t rope_key_heads() const;  // 1, or kv_heads()
  const NormSpec& last_norm() const;     // final_norm, or norm
  double scale_nope() const;             // softmax scale with the default filled in
  double scale_rope() const;
};

// Throws Code::spec_invalid naming the fields that clash.
void validate(const ModelSpec& spec);

// JSON form: nested objects with the field names above; enums by their name.
// to_json writes every field; from_json starts from the defaults and refuses unknown
// keys and wrong types with Code::spec_invalid.
nlohmann::json to_json(const ModelSpec& spec);
ModelSpec spec_from_json(const nlohmann::json& json);

// One field of the tree, for recipes and comparisons, e.g. {"router.score", enum_, {...}}.
enum class FieldKind { integer, real, boolean, enumeration, reals };
struct FieldInfo {
  std::string path;  // "attention.q_norm.kind"
  FieldKind kind;
  std::vector<std::string> enum_values;  // for enumeration
};
const std::vector<FieldInfo>& spec_fields();
// Sets one field from JSON (integer, real, boolean, or enum name). Throws Code::spec_invalid.
void set_field(ModelSpec& spec, const std::string& path, const nlohmann::json& value);

// Where two specs differ: (path, value in a, value in b), in field order.
struct FieldDifference {
  std::string path;
  nlohmann::json a, b;
};
std::vector<FieldDifference> compare(const ModelSpec& a, const ModelSpec& b);

}  // namespace wb
