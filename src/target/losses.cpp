// The table of the eleven losses and its evaluation; see losses.h.
#include "target/losses.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace wb {

namespace {

double shape_match_scale(const ModelSpec& spec) {
  return 1.0 / std::sqrt(static_cast<double>(spec.attention.qk_nope_head_dim));
}
bool any_bias(const ModelSpec& spec) {
  return spec.moe.routed.bias || spec.moe.shared.bias || spec.dense.bias || spec.attention.o_bias;
}
bool same(double a, double b) { return std::abs(a - b) <= 1e-12 * std::abs(b); }

}  // namespace

const std::vector<LossRow>& shape_match_losses() {
  static const std::vector<LossRow> rows = {
      {1,
       [](const ModelSpec& s) { return s.positions == Positions::learned; },
       {"positions.weight"},
       "x = token embedding + position embedding",
       "the position embedding is dropped (\"uses RoPE\"), though the source uses both"},
      {2,
       [](const ModelSpec& s) {
         return s.attention.rope_keys == RopeKeys::per_head && s.attention.num_attention_heads > 1;
       },
       {"{block}.attn.k_rope.weight"},
       "rope keys per head, {heads} of them",
       "{other_heads} of {heads} heads' rope keys are dropped; all heads share the first one's"},
      {3,
       [](const ModelSpec& s) { return s.attention.qk_rope_head_dim > 0; },
       {"{block}.attn.q_rope.weight", "{block}.attn.q_nope.weight"},
       "rope queries have a projection of their own",
       "it is dropped; the last {rope} of the {nope} content query dimensions are rotated instead"},
      {4,
       [](const ModelSpec& s) { return s.attention.qk_rope_head_dim > 0; },
       {"{block}.attn.k_nope.weight"},
       "{nope} content dimensions per head",
       "the last {rope} content key dimensions of every head are dropped, {left} are left"},
      {5,
       [](const ModelSpec& s) { return s.rope.layout == RopeLayout::half_split; },
       {"{block}.attn.k_rope.weight"},
       "rope rotates dimensions in the half-split layout",
       "the same rows are rotated as interleaved pairs"},
      {6,
       [](const ModelSpec& s) { return s.attention.q_norm.kind == NormKind::none; },
       {"{block}.attn.q_down.weight"},
       "no norm on the query latent",
       "it is RMS-normalised (a weight of ones is not an identity)"},
      {7,
       [](const ModelSpec& s) {
         return !same(s.scale_nope(), shape_match_scale(s)) ||
                !same(s.scale_rope(), shape_match_scale(s));
       },
       {"{block}.attn.q_nope.weight", "{block}.attn.q_rope.weight", "{block}.attn.k_nope.weight",
        "{block}.attn.k_rope.weight"},
       "attention scores are scaled by {scale:.6g}",
       "they are scaled by {target_scale:.6g}"},
      {8,
       any_bias,
       {"{block}.attn.o.bias", "{block}.mlp.experts.{e}.gate.bias",
        "{block}.mlp.experts.{e}.up.bias", "{block}.mlp.experts.{e}.down.bias",
        "{block}.mlp.shared.gate.bias", "{block}.mlp.shared.up.bias",
        "{block}.mlp.shared.down.bias", "{block}.mlp.dense.gate.bias", "{block}.mlp.dense.up.bias",
        "{block}.mlp.dense.down.bias"},
       "gate, up, down and output projections have biases",
       "the biases are dropped"},
      {9,
       [](const ModelSpec& s) {
         return s.moe.n_routed_experts > 0 && s.router.score != RouterScore::sigmoid;
       },
       {"{block}.mlp.router.weight"},
       "routing weights are a softmax over the {k} chosen logits",
       "routing weights are a sigmoid of each logit, not normalised"},
      {10,
       [](const ModelSpec& s) { return s.router.expert_bias != ExpertBias::none; },
       {"{block}.mlp.router.expert_bias"},
       "the balancing bias of each expert joins the router's logits",
       "it is replaced by zeros"},
      {11,
       [](const ModelSpec& s) {
         return s.norm.eps_outside_root || s.attention.kv_norm.eps_outside_root;
       },
       {"{block}.attn_norm.weight", "{block}.mlp_norm.weight", "{block}.attn.kv_norm.weight",
        "norm.weight"},
       "the norms' epsilon {eps:g} is added outside the root",
       "it is added inside the root"},
  };
  return rows;
}

namespace {

std::string fill_in(std::string_view sentence, const ModelSpec& spec) {
  const AttentionSpec& a = spec.attention;
  std::uint64_t left =
      a.qk_nope_head_dim > a.qk_rope_head_dim ? a.qk_nope_head_dim - a.qk_rope_head_dim : 0;
  return fmt::format(fmt::runtime(sentence), fmt::arg("heads", a.num_attention_heads),
                     fmt::arg("other_heads", a.num_attention_heads - 1),
                     fmt::arg("nope", a.qk_nope_head_dim), fmt::arg("rope", a.qk_rope_head_dim),
                     fmt::arg("left", left), fmt::arg("k", spec.router.num_experts_per_tok),
                     fmt::arg("eps", spec.norm.eps), fmt::arg("scale", spec.scale_nope()),
                     fmt::arg("target_scale", shape_match_scale(spec)));
}

}  // namespace

std::vector<Loss> losses_of(const Lowering& source, const std::vector<LossRow>& table) {
  std::vector<Loss> losses;
  const std::vector<CanonicalTensor> all = canonical_tensors(source.spec());
  for (const LossRow& row : table) {
    if (!row.applies(source.spec())) continue;
    std::set<std::string> names;
    for (const CanonicalTensor& canonical : all) {
      std::string_view pattern = canonical_table()[canonical.row].pattern;
      if (is_mtp(canonical.name) ||
          std::find(row.concerns.begin(), row.concerns.end(), pattern) == row.concerns.end()) {
        continue;
      }
      for (std::string& leaf : source.raw(canonical.name).sources()) names.insert(std::move(leaf));
    }
    losses.push_back({row.number, fill_in(row.source_computes, source.spec()),
                      fill_in(row.target_makes, source.spec()),
                      std::vector<std::string>(names.begin(), names.end())});
  }
  return losses;
}

void mark_lossy(const std::vector<Loss>& losses, std::vector<TargetTensor>& tensors) {
  if (losses.empty()) return;
  std::map<std::string, std::set<int>> touched;
  for (const Loss& loss : losses) {
    for (const std::string& name : loss.tensors) touched[name].insert(loss.number);
  }
  for (TargetTensor& target : tensors) {
    std::set<int> numbers;
    for (const std::string& leaf : target.tensor.sources()) {
      if (auto it = touched.find(leaf); it != touched.end()) {
        numbers.insert(it->second.begin(), it->second.end());
      }
    }
    if (numbers.empty()) continue;
    target.exact = false;
    std::string list;
    for (int number : numbers) list += (list.empty() ? "" : ", ") + std::to_string(number);
    target.note = (numbers.size() == 1 ? "loss " : "losses ") + list;
  }
}

}  // namespace wb
