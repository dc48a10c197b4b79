// One decoder block: attention and feed-forward network, with their weights bound by
// canonical name. Internal to runtime/; refuses nothing (decoder.cpp has checked the
// spec, canonical.h that the tensors are there).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/spec.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "ops/rope.h"
#include "ops/route.h"
#include "runtime/decoder.h"

namespace wb {

// The f32 values of every canonical tensor.
using Weights = std::map<std::string, std::vector<float>>;

struct BoundNorm {
  bool present = false;
  std::size_t n = 0;
  ops::NormArgs args;
};
struct BoundMlp {
  ops::Act act = ops::Act::silu;
  bool gated = true;
  ops::Linear gate, up, down;  // up.out = 0: no such network
};
struct BoundBlock {
  BoundNorm attn_norm, mlp_norm;
  ops::Linear q_down, q_nope, q_rope, kv_down, k_nope, v, k_rope, o;
  BoundNorm q_norm, kv_norm, q_head_norm, k_head_norm;
  bool moe = false;
  ops::Linear router;
  const float* expert_bias = nullptr;
  std::vector<BoundMlp> experts;
  BoundMlp shared, dense;
};
// `name` is "norm" or "layers.3.attn.q_norm", without ".weight".
BoundNorm bind_norm(const Weights& weights, const NormSpec& spec, const std::string& name);
ops::Linear bind_linear(const Weights& weights, const std::string& name, std::size_t in);
BoundBlock bind_block(const Weights& weights, const ModelSpec& spec, const std::string& block,
                      bool moe);
// The block bound again for a description that differs in constants (same_tensors()).
void rebind_norm(BoundNorm& norm, const NormSpec& spec);
void rebind_block(BoundBlock& block, const ModelSpec& spec);

// What one layer remembers (see KvCache).
struct LayerCache {
  std::size_t size = 0;
  std::vector<float> latent;  // [size, kv_lora_rank]
  std::vector<float> k_rope;  // [size, rope_key_heads * R], rotated
  std::vector<float> k, v;    // [size, kv_heads * (nope + R)], [size, kv_heads * v_head_dim]
};

// What all blocks share during one evaluation.
struct BlockContext {
  const ModelSpec& spec;
  const ops::RopeTable &q_rope, &k_rope;  // the queries' and the keys'
  ops::Kernels kernels;
  unsigned threads;
};

void apply_norm(const BlockContext& context, const BoundNorm& norm, const float* x, float* y,
                std::size_t rows);
// out[n, hidden] = attention of the normed input x[n, hidden], whose first row stands at
// position cache.size; appends the rows to `cache`.
void attention(const BlockContext& context, const BoundBlock& block, const float* x, std::size_t n,
               LayerCache& cache, float* out);
// out[n, hidden] = the feed-forward network of the normed input. `trace` may be null.
void feed_forward(const BlockContext& context, const BoundBlock& block, const float* x,
                  std::size_t n, RouterTrace* trace, float* out);
// h[n, hidden] += attention, then += feed-forward network. `middle`, when not null, is set to h
// between the two.
void run_block(const BlockContext& context, const BoundBlock& block, float* h, std::size_t n,
               LayerCache& cache, RouterTrace* trace, std::vector<float>* middle = nullptr);

}  // namespace wb
