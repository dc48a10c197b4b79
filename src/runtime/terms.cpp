// See terms.h.
#include "runtime/terms.h"

#include "base/error.h"

namespace wb {

ops::Act act_of(Activation a) {
  switch (a) {
    case Activation::silu:
      return ops::Act::silu;
    case Activation::silu_clipped:
      return ops::Act::silu_clipped;
    case Activation::gelu_erf:
      return ops::Act::gelu_erf;
    case Activation::gelu_tanh:
      return ops::Act::gelu_tanh;
    case Activation::relu:
      return ops::Act::relu;
  }
  WB_BUG("an activation without a kernel");
}

ops::RopeTable rope_table(const ModelSpec& spec, std::size_t heads) {
  const RopeSpec& r = spec.rope;
  const double original = static_cast<double>(r.original_max_position_embeddings);
  const bool joined = r.span == RopeSpan::all_heads && heads > 1;
  const std::size_t dims = spec.attention.qk_rope_head_dim * (joined ? heads : 1);
  ops::RopeTable t;
  t.interleaved = r.layout == RopeLayout::interleaved;
  if (dims == 0) return t;
  if (joined) t.heads = ops::RopeTable::Heads::joined;
  if (!r.inv_freq.empty()) {
    t.inv_freq.assign(r.inv_freq.begin(), r.inv_freq.end());
    if (!joined && t.inv_freq.size() != dims / 2) t.heads = ops::RopeTable::Heads::own;
    return t;
  }
  switch (r.scaling) {
    case RopeScaling::none:
      t.inv_freq = ops::rope_frequencies(dims, r.base, 1.0);
      break;
    case RopeScaling::linear:
      t.inv_freq = ops::rope_frequencies(dims, r.base, r.factor);
      break;
    case RopeScaling::yarn:
      t.inv_freq = ops::rope_frequencies_yarn(
          dims, r.base, {r.factor, original, r.beta_fast, r.beta_slow, r.mscale, r.mscale_all_dim});
      t.magnitude = static_cast<float>(ops::yarn_mscale(r.factor, r.mscale) /
                                       ops::yarn_mscale(r.factor, r.mscale_all_dim));
      break;
    case RopeScaling::longrope:
      t.inv_freq = ops::rope_frequencies_longrope(dims, r.base, r.long_factor);
      t.magnitude = static_cast<float>(
          ops::longrope_magnitude(static_cast<double>(spec.max_position_embeddings), original));
      break;
  }
  return t;
}

ops::RouteArgs route_args(const RouterSpec& r, const float* expert_bias) {
  using Args = ops::RouteArgs;
  Args a;
  a.score = r.score == RouterScore::softmax_of_chosen ? Args::Score::softmax_of_chosen
            : r.score == RouterScore::softmax         ? Args::Score::softmax
                                                      : Args::Score::sigmoid;
  a.bias = r.expert_bias == ExpertBias::none        ? Args::Bias::none
           : r.expert_bias == ExpertBias::logits    ? Args::Bias::logits
           : r.expert_bias == ExpertBias::selection ? Args::Bias::selection
                                                    : Args::Bias::scores;
  a.expert_bias = expert_bias;
  if (!r.logit_clamp.empty()) {
    a.logit_min = r.logit_clamp[0];
    a.logit_max = r.logit_clamp[1];
  }
  if (!r.weight_clamp.empty()) {
    a.weight_min = r.weight_clamp[0];
    a.weight_max = r.weight_clamp[1];
  }
  a.k = r.num_experts_per_tok;
  a.norm = r.norm_topk_prob;
  a.norm_eps = r.norm_eps;
  a.norm_min = r.norm_min;
  a.factor = r.routed_scaling_factor;
  a.groups = r.n_group;
  a.groups_kept = r.topk_group;
  a.group_by_max = r.group_score == GroupScore::max;
  a.mask_with_infinity = r.group_mask == GroupMask::negative_infinity;
  return a;
}

}  // namespace wb
