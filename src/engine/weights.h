// A canonical model bound for the engine: every matrix where it lies, every small vector read.
// Owns them; layers are the decoder's (runtime/block.h), field by field. Refuses what
// check_complete() and validate() refuse.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/matrix.h"
#include "model/canonical.h"
#include "ops/elementwise.h"
#include "ops/rope.h"
#include "ops/route.h"

namespace wb::engine {

struct Norm {
  std::size_t n = 0;  // 0: there is none
  ops::NormArgs args;
  std::vector<float> weight, bias;
};
struct Mlp {
  ops::Act act = ops::Act::silu;
  bool gated = true;
  Matrix gate, up, down;  // up.out() 0: no such network
};
struct Layer {
  Norm attn_norm, mlp_norm, q_norm, kv_norm, q_head_norm, k_head_norm;
  Matrix q_down, q_nope, q_rope, kv_down, k_nope, k_rope, v, o;
  bool value_is_key = false;  // v is k_nope
  bool moe = false;
  std::vector<float> router, router_bias, expert_bias;  // [experts, hidden], [experts], [experts]
  ops::RouteArgs route;
  std::vector<Mlp> experts;
  Mlp shared, dense;

  const Matrix& values() const { return value_is_key ? k_nope : v; }
};
// A multi-token head.
struct NextHead {
  Norm prev_norm, embed_norm, norm;
  Matrix combine;
  Layer block;
};
struct Weights {
  ModelSpec spec;
  Matrix embed, positions, head;
  Norm norm;
  std::vector<Layer> layers;
  std::vector<NextHead> next;
  ops::RopeTable q_rope, k_rope;
  std::uint64_t parameters = 0;

  // Bytes of weights that decoding one token touches, as stored: every matrix that it multiplies
  // with, of a mixture the experts that one token chooses.
  std::uint64_t bytes_per_token() const;
  // Multiplications of the layers' matrices for one token; the output head's are apart.
  std::uint64_t products_per_token() const;
};

Weights bind(const CanonicalModel& model);

}  // namespace wb::engine
