// Binding of weights, and the residual frame of a block; see block.h.
#include "runtime/block.h"

#include "base/error.h"
#include "runtime/terms.h"

namespace wb {

namespace {

const float* find(const Weights& weights, const std::string& name) {
  auto it = weights.find(name);
  return it == weights.end() ? nullptr : it->second.data();
}

BoundMlp bind_mlp(const Weights& weights, const ModelSpec& spec, const MlpSpec& mlp,
                  const std::string& name) {
  const std::size_t hidden = spec.hidden_size;
  BoundMlp out;
  out.act = act_of(mlp.activation);
  out.gated = mlp.gated;
  if (mlp.gated) out.gate = bind_linear(weights, name + ".gate", hidden);
  out.up = bind_linear(weights, name + ".up", hidden);
  out.down = bind_linear(weights, name + ".down", mlp.intermediate_size);
  return out;
}

}  // namespace

void rebind_norm(BoundNorm& norm, const NormSpec& spec) {
  norm.args.eps = spec.eps;
  norm.args.eps_outside_root = spec.eps_outside_root;
}

void rebind_block(BoundBlock& b, const ModelSpec& spec) {
  const AttentionSpec& a = spec.attention;
  rebind_norm(b.attn_norm, spec.norm);
  rebind_norm(b.mlp_norm, spec.norm);
  rebind_norm(b.q_norm, a.q_norm);
  rebind_norm(b.kv_norm, a.kv_norm);
  rebind_norm(b.q_head_norm, a.q_head_norm);
  rebind_norm(b.k_head_norm, a.k_head_norm);
  b.dense.act = act_of(spec.dense.activation);
  b.shared.act = act_of(spec.moe.shared.activation);
  for (BoundMlp& expert : b.experts) expert.act = act_of(spec.moe.routed.activation);
}

BoundNorm bind_norm(const Weights& weights, const NormSpec& spec, const std::string& name) {
  BoundNorm out;
  if (spec.kind == NormKind::none) return out;
  out.present = true;
  out.args.layer = spec.kind == NormKind::layer;
  rebind_norm(out, spec);
  out.args.weight = find(weights, name + ".weight");
  WB_CHECK(out.args.weight != nullptr);
  out.args.bias = find(weights, name + ".bias");
  out.n = weights.at(name + ".weight").size();
  return out;
}

ops::Linear bind_linear(const Weights& weights, const std::string& name, std::size_t in) {
  auto it = weights.find(name + ".weight");
  WB_CHECK(it != weights.end() && in > 0 && it->second.size() % in == 0);
  return {it->second.data(), find(weights, name + ".bias"), it->second.size() / in, in};
}

BoundBlock bind_block(const Weights& weights, const ModelSpec& spec, const std::string& block,
                      bool moe) {
  const AttentionSpec& a = spec.attention;
  const std::string attn = block + ".attn", mlp = block + ".mlp";
  const std::size_t hidden = spec.hidden_size;
  const std::size_t q_in = a.q_lora_rank > 0 ? a.q_lora_rank : hidden;
  const std::size_t kv_in = a.kv_lora_rank > 0 ? a.kv_lora_rank : hidden;
  BoundBlock b;
  b.attn_norm = bind_norm(weights, spec.norm, block + ".attn_norm");
  b.mlp_norm = bind_norm(weights, spec.norm, block + ".mlp_norm");
  if (a.q_lora_rank > 0) b.q_down = bind_linear(weights, attn + ".q_down", hidden);
  if (a.qk_nope_head_dim > 0) {
    b.q_nope = bind_linear(weights, attn + ".q_nope", q_in);
    b.k_nope = bind_linear(weights, attn + ".k_nope", kv_in);
  }
  if (a.qk_rope_head_dim > 0) {
    b.q_rope = bind_linear(weights, attn + ".q_rope", q_in);
    b.k_rope = bind_linear(weights, attn + ".k_rope",
                           a.rope_key_from == RopeKeyFrom::input ? hidden : kv_in);
  }
  if (a.kv_lora_rank > 0) b.kv_down = bind_linear(weights, attn + ".kv_down", hidden);
  b.v = a.value_is_key_content ? b.k_nope : bind_linear(weights, attn + ".v", kv_in);
  b.o = bind_linear(weights, attn + ".o", a.num_attention_heads * a.v_head_dim);
  b.q_norm = bind_norm(weights, a.q_norm, attn + ".q_norm");
  b.kv_norm = bind_norm(weights, a.kv_norm, attn + ".kv_norm");
  b.q_head_norm = bind_norm(weights, a.q_head_norm, attn + ".q_head_norm");
  b.k_head_norm = bind_norm(weights, a.k_head_norm, attn + ".k_head_norm");
  b.moe = moe;
  if (!moe) {
    b.dense = bind_mlp(weights, spec, spec.dense, mlp + ".dense");
    return b;
  }
  b.router = bind_linear(weights, mlp + ".router", hidden);
  b.expert_bias = find(weights, mlp + ".router.expert_bias");
  for (std::uint64_t e = 0; e < spec.moe.n_routed_experts; ++e) {
    b.experts.push_back(
        bind_mlp(weights, spec, spec.moe.routed, mlp + ".experts." + std::to_string(e)));
  }
  if (spec.moe.shared.intermediate_size > 0) {
    b.shared = bind_mlp(weights, spec, spec.moe.shared, mlp + ".shared");
  }
  return b;
}

void apply_norm(const BlockContext& context, const BoundNorm& norm, const float* x, float* y,
                std::size_t rows) {
  const std::size_t n = norm.n;
  WB_CHECK(norm.present);
  ops::norm(context.kernels, norm.args, x, n, y, n, rows, n);
}

void run_block(const BlockContext& context, const BoundBlock& block, float* h, std::size_t n,
               LayerCache& cache, RouterTrace* trace, std::vector<float>* middle) {
  const std::size_t size = n * context.spec.hidden_size;
  std::vector<float> normed(size), out(size);
  auto normed_input = [&](const BoundNorm& norm) -> const float* {
    if (!norm.present) return h;
    apply_norm(context, norm, h, normed.data(), n);
    return normed.data();
  };
  attention(context, block, normed_input(block.attn_norm), n, cache, out.data());
  for (std::size_t i = 0; i < size; ++i) h[i] += out[i];
  if (middle != nullptr) middle->assign(h, h + size);
  feed_forward(context, block, normed_input(block.mlp_norm), n, trace, out.data());
  for (std::size_t i = 0; i < size; ++i) h[i] += out[i];
}

}  // namespace wb
