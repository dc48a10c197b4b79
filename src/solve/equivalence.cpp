// See equivalence.h. Each rule holds for the arithmetic of spec.h over the reals; what
// rounding makes of the two forms differs by rounding.
#include "solve/equivalence.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/terms.h"
#include "solve/router_bound.h"
#include "tensor/read.h"

namespace wb {

namespace {

bool any_layer(const ModelSpec& s, bool moe) {
  for (std::uint64_t l = 0; l < s.num_hidden_layers; ++l) {
    if (s.is_moe(l) == moe) return true;
  }
  return false;
}
bool same_layers(const ModelSpec& a, const ModelSpec& b) {
  for (std::uint64_t l = 0; l < a.num_hidden_layers; ++l) {
    if (a.is_moe(l) != b.is_moe(l)) return false;
  }
  return a.num_hidden_layers == b.num_hidden_layers;
}

std::string about_norm(const std::string& path, const NormSpec& norm) {
  if (norm.kind == NormKind::none) return "this norm is not there";
  if (path.ends_with("eps_outside_root") && norm.eps == 0) return "the epsilon is 0";
  return "";
}

bool same_angles(const ModelSpec& a, const ModelSpec& b) {
  auto equal = [&](std::size_t heads_a, std::size_t heads_b) {
    const ops::RopeTable x = rope_table(a, heads_a), y = rope_table(b, heads_b);
    return x.inv_freq == y.inv_freq && x.heads == y.heads && x.magnitude == y.magnitude;
  };
  return a.rope.layout == b.rope.layout &&
         equal(a.attention.num_attention_heads, b.attention.num_attention_heads) &&
         equal(a.rope_key_heads(), b.rope_key_heads());
}

std::string about_rope(const std::string& path, const ModelSpec& s) {
  const bool scaled = s.rope.scaling != RopeScaling::none;
  if (s.attention.qk_rope_head_dim == 0) return "nothing is rotated: qk_rope_head_dim is 0";
  if (path == "rope.layout" && s.attention.qk_rope_head_dim == 2) {
    return "a rotated part of width 2 is one pair in either order";
  }
  if (path == "rope.base" && s.attention.qk_rope_head_dim == 2 && !scaled) {
    return "a rotated part of width 2 has one frequency, base^0";
  }
  if (path == "rope.layout" || path == "rope.base" || path == "rope.scaling") return "";
  if (!scaled) return "rope.scaling is none";
  if (s.rope.scaling == RopeScaling::linear && path != "rope.factor") {
    return "linear scaling has a factor alone";
  }
  return "";
}

bool no_bias_in_choice(const ModelSpec& s) {
  return s.router.expert_bias == ExpertBias::none || s.router.expert_bias == ExpertBias::logits;
}
bool no_groups(const ModelSpec& s) { return s.router.topk_group == s.router.n_group; }

std::string about_scores(const ModelSpec& a, const ModelSpec& b) {
  auto soft = [](const ModelSpec& s) { return s.router.score != RouterScore::sigmoid; };
  if (!soft(a) || !soft(b) || !no_bias_in_choice(a) || !no_groups(a)) return "";
  if (a.router.num_experts_per_tok == a.moe.n_routed_experts) {
    return "every expert is chosen, so the softmax of the chosen is the softmax of all";
  }
  if (a.router.norm_topk_prob && a.router.norm_eps == 0) {
    return "a softmax of all that is divided by the chosen ones' sum is the softmax of the chosen";
  }
  return "";
}

std::string about_bias(const CanonicalModel& model) {
  bool seen = false;
  for (const auto& [name, tensor] : model.tensors) {
    if (!name.ends_with(".mlp.router.expert_bias")) continue;
    seen = true;
    const std::vector<float> values = read_f32(tensor);
    if (std::any_of(values.begin(), values.end(), [](float v) { return v != 0; })) return "";
  }
  return seen ? "every expert_bias in the checkpoint is zero" : "";
}

// A number is lost in f32 when it is at most half a unit in the last place of what it is added to.
std::string about_divisor(const ModelSpec& a, const ModelSpec& b, const CanonicalModel& model) {
  const double least = least_divisor(model);
  if (std::max(a.router.norm_eps, b.router.norm_eps) > 0x1p-25 * least) return "";
  return fmt::format("the chosen scores sum to {:.2g} at least, beside which either is lost in f32",
                     least);
}

std::string about_router(const std::string& path, const ModelSpec& a, const ModelSpec& b,
                         const CanonicalModel& model) {
  if (!any_layer(a, true)) return "no layer is a mixture of experts";
  const RouterSpec& r = a.router;
  if (path == "router.score") return about_scores(a, b);
  if (path == "router.expert_bias") {
    auto joins = [](const ModelSpec& s) {
      return s.router.expert_bias == ExpertBias::logits ||
             s.router.expert_bias == ExpertBias::scores;
    };
    if (r.score == RouterScore::softmax_of_chosen && joins(a) && joins(b) && no_groups(a)) {
      return "the scores are the logits themselves until the experts are chosen";
    }
    return about_bias(model);
  }
  if (path == "router.norm_topk_prob" && r.score == RouterScore::softmax_of_chosen &&
      r.norm_eps == 0 && r.expert_bias != ExpertBias::scores) {
    return "the softmax of the chosen logits sums to 1 already";
  }
  if (path == "router.norm_eps" && !r.norm_topk_prob) return "the weights are not divided";
  if (path == "router.norm_eps") return about_divisor(a, b, model);
  const bool group = path == "router.n_group" || path == "router.topk_group" ||
                     path == "router.group_score" || path == "router.group_mask";
  if (group && no_groups(a) && no_groups(b)) return "no group is masked";
  if (group && r.num_experts_per_tok == a.moe.n_routed_experts) return "every expert is chosen";
  if (path == "router.group_score" && r.n_group == a.moe.n_routed_experts) {
    return "a group of one expert has one score";
  }
  if (path == "router.group_mask" && r.score != RouterScore::softmax_of_chosen &&
      no_bias_in_choice(a)) {
    return "scores are positive, so a masked 0 is never chosen before one that is kept";
  }
  return "";
}

std::string about_tying(const CanonicalModel& a, const CanonicalModel& b) {
  const CanonicalModel& untied = a.spec.tie_word_embeddings ? b : a;
  return read_all(untied.at("head.weight")) == read_all(untied.at("embed.weight"))
             ? "the output head is the embedding, byte for byte"
             : "";
}

std::string about_attention(const std::string& path, const ModelSpec& a, const ModelSpec& b) {
  if (path == "attention.softmax_scale" || path == "attention.softmax_scale_rope") {
    const bool content = a.attention.qk_nope_head_dim == 0 || a.scale_nope() == b.scale_nope();
    const bool position = a.attention.qk_rope_head_dim == 0 || a.scale_rope() == b.scale_rope();
    if (content && position) return "both name one scale";
  }
  if (path == "attention.rope_keys" && a.kv_heads() == 1) return "there is one key head";
  if (path == "attention.rope_key_factor" && a.attention.qk_rope_head_dim == 0) {
    return "nothing is rotated: qk_rope_head_dim is 0";
  }
  if (path == "attention.num_key_value_heads" && a.kv_heads() == b.kv_heads()) {
    return "both name one number of heads";
  }
  return "";
}

}  // namespace

std::string why_same(const std::string& path, const CanonicalModel& chosen,
                     const CanonicalModel& other) {
  const ModelSpec &a = chosen.spec, &b = other.spec;
  struct Norm {
    const char* prefix;
    const NormSpec& norm;
  };
  const AttentionSpec& attention = a.attention;
  for (const Norm& n : {Norm{"attention.q_norm.", attention.q_norm},
                        {"attention.kv_norm.", attention.kv_norm},
                        {"attention.q_head_norm.", attention.q_head_norm},
                        {"attention.k_head_norm.", attention.k_head_norm},
                        {"norm.", a.norm}}) {
    if (path.starts_with(n.prefix) && !path.ends_with(".kind")) return about_norm(path, n.norm);
  }
  if (path == "max_position_embeddings" && a.positions == Positions::none &&
      a.rope.scaling != RopeScaling::longrope) {
    return "it says how long sequences may be, and enters no arithmetic";
  }
  if (path.starts_with("rope.")) {
    const std::string why = about_rope(path, a);
    return why.empty() && same_angles(a, b) ? "every angle of the rotation is the same" : why;
  }
  if (path.starts_with("router.")) return about_router(path, a, b, chosen);
  if (path == "tie_word_embeddings") return about_tying(chosen, other);
  if (path.starts_with("attention.")) return about_attention(path, a, b);
  if (path.starts_with("dense.") && !any_layer(a, false)) return "no layer is dense";
  if (path.starts_with("moe.") && !any_layer(a, true)) return "no layer is a mixture of experts";
  if (path.starts_with("moe.shared") && a.moe.shared.intermediate_size == 0) {
    return "there are no shared experts";
  }
  if ((path == "moe.first_k_dense_replace" || path.starts_with("moe.moe_layer")) &&
      same_layers(a, b)) {
    return "the same layers are mixtures";
  }
  return "";
}

std::vector<JointlySame> jointly_same(const std::string& path, const ModelSpec& s) {
  if (path != "router.score" || s.router.score != RouterScore::softmax_of_chosen ||
      !no_bias_in_choice(s) || !no_groups(s)) {
    return {};
  }
  return {{"softmax",
           "with router.norm_topk_prob = true, since a softmax of all that is divided by the "
           "chosen ones' sum is the softmax of the chosen"}};
}

std::string what_would_tell(const std::string& path) {
  if (path.ends_with("eps") || path.ends_with("eps_outside_root")) {
    return "hidden states, or inputs whose hidden states are small beside the others";
  }
  if (path.starts_with("rope.")) return "longer sequences";
  if (path.starts_with("router.")) return "more tokens, so that more choices of experts are seen";
  return "more or longer sequences, with hidden states";
}

}  // namespace wb
