// Latent attention for every ModelSpec; see block.h. Two forms of the same product:
// expanded (keys and values of every head from the latents; whole sequences) and
// absorbed (queries brought into the latent space; a few new tokens on a long cache,
// whose keys are then never expanded).
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/threads.h"
#include "runtime/block.h"

namespace wb {

namespace {

constexpr std::size_t kQueryRows = 64;    // of one task; fixed, so that threads change nothing
constexpr std::size_t kAbsorbedRows = 4;  // new tokens up to which absorbing is cheaper
constexpr std::size_t kThreadWork = std::size_t{1} << 20;

struct Dims {
  std::size_t heads, kv_heads, rope_heads, nope, rope, value, latent;
  std::size_t key() const { return nope + rope; }
  std::size_t kv_of(std::size_t head) const { return head / (heads / kv_heads); }
  std::size_t rope_of(std::size_t kv_head) const { return rope_heads == 1 ? 0 : kv_head; }
};
Dims dims_of(const ModelSpec& spec) {
  const AttentionSpec& a = spec.attention;
  return {a.num_attention_heads, spec.kv_heads(), spec.rope_key_heads(), a.qk_nope_head_dim,
          a.qk_rope_head_dim,    a.v_head_dim,    a.kv_lora_rank};
}

using Floats = std::vector<float>;

Floats run_linear(const BlockContext& c, const ops::Linear& layer, const float* x, std::size_t n) {
  Floats y(n * layer.out);
  ops::linear(c.kernels, x, n, layer, y.data(), c.threads);
  return y;
}

// [rows, heads, nope] and [rows, rope_heads, rope] side by side: [rows, heads, nope + rope].
Floats join(const Dims& d, const Floats& nope, const Floats& rope, std::size_t rows,
            std::size_t heads, std::size_t rope_heads) {
  Floats out(rows * heads * d.key());
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t h = 0; h < heads; ++h) {
      float* to = out.data() + (r * heads + h) * d.key();
      const std::size_t g = rope_heads == 1 ? 0 : h;
      std::copy_n(nope.data() + (r * heads + h) * d.nope, d.nope, to);
      std::copy_n(rope.data() + (r * rope_heads + g) * d.rope, d.rope, to + d.nope);
    }
  }
  return out;
}

void norm_latent(const BlockContext& c, const BoundNorm& norm, Floats& x) {
  if (norm.present) apply_norm(c, norm, x.data(), x.data(), x.size() / norm.n);
}

// Norms each head of x[rows, nope + rope], or its content alone where the norm is so wide.
void norm_heads(const BlockContext& c, const Dims& d, const BoundNorm& norm, Floats& x) {
  if (!norm.present) return;
  WB_CHECK(d.key() > 0);
  ops::norm(c.kernels, norm.args, x.data(), d.key(), x.data(), d.key(), x.size() / d.key(), norm.n);
}

// Rotates the last `rope` dims of each head of x[rows, heads, nope + rope].
void rotate_tails(const ops::RopeTable& table, const Dims& d, const ops::RopeAngles& angles,
                  Floats& x, std::size_t rows, std::size_t heads) {
  if (d.rope == 0) return;
  Floats tail(rows * heads * d.rope);
  for (std::size_t i = 0; i < rows * heads; ++i) {
    std::copy_n(x.data() + i * d.key() + d.nope, d.rope, tail.data() + i * d.rope);
  }
  ops::rope_rotate(table, angles, tail.data(), rows, heads * d.rope, heads);
  for (std::size_t i = 0; i < rows * heads; ++i) {
    std::copy_n(tail.data() + i * d.rope, d.rope, x.data() + i * d.key() + d.nope);
  }
}

// Queries [n, heads, nope + rope], rotated, each part multiplied by its softmax scale.
Floats queries(const BlockContext& c, const BoundBlock& b, const Dims& d, const float* x,
               std::size_t n, const ops::RopeAngles& angles) {
  Floats latent;
  if (b.q_down.out > 0) {
    latent = run_linear(c, b.q_down, x, n);
    norm_latent(c, b.q_norm, latent);
    x = latent.data();
  }
  const Floats nope = d.nope > 0 ? run_linear(c, b.q_nope, x, n) : Floats();
  const Floats rope = d.rope > 0 ? run_linear(c, b.q_rope, x, n) : Floats();
  // d.heads > 1 rope parts here are always one per head.
  Floats q(n * d.heads * d.key());
  for (std::size_t i = 0; i < n * d.heads; ++i) {
    std::copy_n(nope.data() + i * d.nope, d.nope, q.data() + i * d.key());
    std::copy_n(rope.data() + i * d.rope, d.rope, q.data() + i * d.key() + d.nope);
  }
  norm_heads(c, d, b.q_head_norm, q);
  rotate_tails(c.q_rope, d, angles, q, n, d.heads);
  const float content = static_cast<float>(c.spec.scale_nope());
  const float position = static_cast<float>(c.spec.scale_rope());
  WB_CHECK(d.key() > 0);
  for (std::size_t i = 0; i < q.size(); ++i) q[i] *= i % d.key() < d.nope ? content : position;
  return q;
}

void append(Floats& to, const Floats& rows) { to.insert(to.end(), rows.begin(), rows.end()); }

// Keys [size, kv_heads, nope + rope] of latent rows: rope keys are already rotated.
Floats expand_keys(const BlockContext& c, const BoundBlock& b, const Dims& d, const Floats& latent,
                   const Floats& k_rope, std::size_t rows) {
  const Floats nope = d.nope > 0 ? run_linear(c, b.k_nope, latent.data(), rows) : Floats();
  return join(d, nope, k_rope, rows, d.kv_heads, d.rope_heads);
}

// Computes what the new rows add to the cache, in the form that the spec allows.
void extend(const BlockContext& c, const BoundBlock& b, const Dims& d, const float* x,
            std::size_t n, const ops::RopeAngles& angles, LayerCache& cache) {
  const AttentionSpec& a = c.spec.attention;
  Floats raw, latent;
  if (d.latent > 0) {
    raw = run_linear(c, b.kv_down, x, n);
    latent = raw;
    norm_latent(c, b.kv_norm, latent);
    if (a.kv_latent_factor != 1.0) {
      for (float& v : latent) v *= static_cast<float>(a.kv_latent_factor);
    }
  }
  Floats k_rope;
  if (d.rope > 0) {
    const float* from = a.rope_key_from == RopeKeyFrom::input        ? x
                        : a.rope_key_from == RopeKeyFrom::raw_latent ? raw.data()
                                                                     : latent.data();
    k_rope = run_linear(c, b.k_rope, from, n);
    if (a.rope_key_factor != 1.0) {
      for (float& v : k_rope) v *= static_cast<float>(a.rope_key_factor);
    }
  }
  const bool norm_first = b.k_head_norm.present;  // of whole keys, before they are rotated
  if (d.rope > 0 && !norm_first) {
    ops::rope_rotate(c.k_rope, angles, k_rope.data(), n, d.rope_heads * d.rope, d.rope_heads);
  }
  if (d.latent > 0 && !norm_first) {
    append(cache.latent, latent);
    append(cache.k_rope, k_rope);
  } else {
    if (d.latent == 0) latent.assign(x, x + n * c.spec.hidden_size);
    Floats k = expand_keys(c, b, d, latent, k_rope, n);
    append(cache.v, run_linear(c, b.v, latent.data(), n));
    if (norm_first) {
      norm_heads(c, d, b.k_head_norm, k);
      rotate_tails(c.k_rope, d, angles, k, n, d.kv_heads);
    }
    append(cache.k, k);
  }
  cache.size += n;
}

// Softmax of the causal part of each row of scores[rows, size]; the rest becomes 0. Row r sees
// `first_visible` + r columns.
void causal_softmax(const BlockContext& c, float* scores, std::size_t rows, std::size_t size,
                    std::size_t first_visible) {
  for (std::size_t r = 0; r < rows; ++r) {
    const std::size_t visible = first_visible + r;
    ops::softmax(c.kernels, scores + r * size, visible);
    std::fill(scores + r * size + visible, scores + (r + 1) * size, 0.0f);
  }
}

// mixed[n, heads, value] from queries and all keys and values.
void expanded(const BlockContext& c, const Dims& d, const Floats& q, std::size_t n, const Floats& k,
              const Floats& v, std::size_t size, Floats& mixed) {
  const std::size_t blocks = (n + kQueryRows - 1) / kQueryRows;
  const std::size_t work = n * size * d.heads * (d.key() + d.value);
  auto body = [&](std::size_t task, unsigned) {
    const std::size_t h = task % d.heads, kv = d.kv_of(h);
    const std::size_t r0 = task / d.heads * kQueryRows, rows = std::min(kQueryRows, n - r0);
    const std::size_t seen = size - n + r0 + rows;  // no row of the task sees more
    Floats scores(rows * seen);
    ops::gemm_nt(c.kernels, rows, seen, d.key(), q.data() + (r0 * d.heads + h) * d.key(),
                 d.heads * d.key(), k.data() + kv * d.key(), d.kv_heads * d.key(), scores.data(),
                 seen);
    causal_softmax(c, scores.data(), rows, seen, size - n + r0 + 1);
    ops::gemm_nn(c.kernels, rows, d.value, seen, scores.data(), seen, v.data() + kv * d.value,
                 d.kv_heads * d.value, mixed.data() + (r0 * d.heads + h) * d.value,
                 d.heads * d.value);
  };
  parallel_for(blocks * d.heads, work < kThreadWork ? 1 : c.threads, body);
}

// The same from the latents themselves. A bias on the content keys adds the same number to all
// scores of a row, which softmax takes off again; one on the values joins after mixing, because
// the weights sum to 1.
void absorbed(const BlockContext& c, const BoundBlock& b, const Dims& d, const Floats& q,
              std::size_t n, const LayerCache& cache, Floats& mixed) {
  const std::size_t size = cache.size;
  auto body = [&](std::size_t h, unsigned) {
    const std::size_t kv = d.kv_of(h);
    const float* qh = q.data() + h * d.key();
    Floats scores(n * size, 0.0f), part(n * size), in_latent(n * d.latent);
    if (d.nope > 0) {
      ops::gemm_nn(c.kernels, n, d.latent, d.nope, qh, d.heads * d.key(),
                   b.k_nope.w + kv * d.nope * d.latent, d.latent, in_latent.data(), d.latent);
      ops::gemm_nt(c.kernels, n, size, d.latent, in_latent.data(), d.latent, cache.latent.data(),
                   d.latent, scores.data(), size);
    }
    if (d.rope > 0) {
      ops::gemm_nt(c.kernels, n, size, d.rope, qh + d.nope, d.heads * d.key(),
                   cache.k_rope.data() + d.rope_of(kv) * d.rope, d.rope_heads * d.rope, part.data(),
                   size);
      for (std::size_t i = 0; i < part.size(); ++i) scores[i] += part[i];
    }
    causal_softmax(c, scores.data(), n, size, size - n + 1);
    ops::gemm_nn(c.kernels, n, d.latent, size, scores.data(), size, cache.latent.data(), d.latent,
                 in_latent.data(), d.latent);
    float* out = mixed.data() + h * d.value;
    ops::gemm_nt(c.kernels, n, d.value, d.latent, in_latent.data(), d.latent,
                 b.v.w + kv * d.value * d.latent, d.latent, out, d.heads * d.value);
    if (b.v.bias == nullptr) return;
    for (std::size_t r = 0; r < n; ++r) {
      for (std::size_t j = 0; j < d.value; ++j) {
        out[r * d.heads * d.value + j] += b.v.bias[kv * d.value + j];
      }
    }
  };
  const std::size_t work = n * d.heads * d.latent * (2 * size + d.nope + d.value);
  parallel_for(d.heads, work < kThreadWork ? 1 : c.threads, body);
}

}  // namespace

void attention(const BlockContext& c, const BoundBlock& b, const float* x, std::size_t n,
               LayerCache& cache, float* out) {
  const Dims d = dims_of(c.spec);
  const std::size_t rotated = d.rope > 0 ? n : 0;
  const Floats q = queries(c, b, d, x, n, ops::rope_angles(c.q_rope, cache.size, rotated));
  extend(c, b, d, x, n, ops::rope_angles(c.k_rope, cache.size, rotated), cache);
  Floats mixed(n * d.heads * d.value);
  const bool latents = !cache.latent.empty();
  if (!latents) {
    expanded(c, d, q, n, cache.k, cache.v, cache.size, mixed);
  } else if (n <= kAbsorbedRows && cache.size > n) {
    absorbed(c, b, d, q, n, cache, mixed);
  } else {
    const Floats k = expand_keys(c, b, d, cache.latent, cache.k_rope, cache.size);
    const Floats v = run_linear(c, b.v, cache.latent.data(), cache.size);
    expanded(c, d, q, n, k, v, cache.size, mixed);
  }
  ops::linear(c.kernels, mixed.data(), n, b.o, out, c.threads);
}

}  // namespace wb
