// Latent attention of a block; see runner.h. The same two forms as the decoder's: absorbed (a few
// new tokens: queries are brought into the latent space, and one pass over the latents serves a
// group of heads) and expanded (prompts, and models whose keys are remembered whole).
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "engine/runner.h"
#include "ops/matmul.h"
#include "ops/simd.h"

namespace wb::engine {

namespace {

constexpr std::size_t kQueryRows = 64;   // of one task of a prompt
constexpr std::size_t kHeadsAtOnce = 4;  // of one absorbed task: they share the latents' bytes

void scale_by(float* x, std::size_t n, double factor) {
  if (factor == 1.0) return;
  for (std::size_t i = 0; i < n; ++i) x[i] *= static_cast<float>(factor);
}

// Doubles capacity, so that a token rarely allocates and a text of any length is copied twice at
// most.
void append(Floats& to, const float* rows, std::size_t n) {
  if (to.capacity() < to.size() + n) {
    to.reserve(std::max({2 * to.capacity(), to.size() + n, 256 * n}));
  }
  to.insert(to.end(), rows, rows + n);
}

}  // namespace

std::size_t LayerState::room() const {
  if (size == 0) return 0;
  const Floats& any = latent.empty() ? v : latent;
  return any.capacity() / (any.size() / size);
}

void LayerState::truncate(std::size_t to) {
  WB_CHECK(to <= size);
  for (Floats* f : {&latent, &k_rope, &k, &v}) {
    if (size > 0) f->resize(f->size() / size * to);
  }
  size = to;
}

void Runner::norm_heads(const Norm& norm, float* x, std::size_t rows) const {
  if (norm.n == 0) return;
  ops::norm(ops::Kernels::fast, norm.args, x, d_.key(), x, d_.key(), rows, norm.n);
}

// Everything that is a product of the block's input.
void Runner::project(const Layer& l, const float* x, std::size_t n) {
  const bool from_latent = l.q_down.out() > 0;
  if (from_latent) {
    products_.add({.w = &l.q_down, .x = x, .n = n, .y = sized(q_latent_, n * l.q_down.out())});
  }
  auto add_queries = [&](const float* from) {
    if (d_.nope > 0) {
      products_.add({.w = &l.q_nope, .x = from, .n = n, .y = sized(q_nope_, n * l.q_nope.out())});
    }
    if (d_.rope > 0) {
      products_.add({.w = &l.q_rope, .x = from, .n = n, .y = sized(q_rope_, n * l.q_rope.out())});
    }
  };
  if (!from_latent) add_queries(x);
  if (d_.latent > 0) {
    products_.add({.w = &l.kv_down, .x = x, .n = n, .y = sized(raw_, n * d_.latent)});
  }
  const bool rope_from_input =
      d_.latent == 0 || spec_.attention.rope_key_from == RopeKeyFrom::input;
  if (d_.rope > 0 && rope_from_input) {
    products_.add({.w = &l.k_rope, .x = x, .n = n, .y = sized(k_rope_, n * l.k_rope.out())});
  }
  if (from_latent) products_.next({{&l.q_nope}, {&l.q_rope}});
  products_.run();

  if (d_.latent > 0) {
    std::copy_n(raw_.data(), n * d_.latent, sized(latent_, n * d_.latent));
    if (l.kv_norm.n > 0) norm(l.kv_norm, latent_.data(), latent_.data(), n);
    scale_by(latent_.data(), n * d_.latent, spec_.attention.kv_latent_factor);
  }
  if (from_latent) {
    if (l.q_norm.n > 0) norm(l.q_norm, q_latent_.data(), q_latent_.data(), n);
    add_queries(q_latent_.data());
  }
  if (d_.rope > 0 && !rope_from_input) {
    const bool raw = spec_.attention.rope_key_from == RopeKeyFrom::raw_latent;
    products_.add({.w = &l.k_rope,
                   .x = raw ? raw_.data() : latent_.data(),
                   .n = n,
                   .y = sized(k_rope_, n * l.k_rope.out())});
  }
  const bool whole = d_.latent == 0 || l.k_head_norm.n > 0;
  if (whole) {
    const float* from = d_.latent == 0 ? x : latent_.data();
    if (d_.nope > 0) {
      products_.add({.w = &l.k_nope, .x = from, .n = n, .y = sized(k_nope_, n * l.k_nope.out())});
    }
    const Matrix& v = l.values();
    products_.add({.w = &v, .x = from, .n = n, .y = sized(values_, n * v.out())});
  }
  if (!whole) products_.next({{&l.k_nope}, {&l.values()}});
  products_.run();
}

void Runner::rotate_tails(const ops::RopeTable& table, const ops::RopeAngles& angles, float* x,
                          std::size_t rows, std::size_t heads) {
  if (d_.rope == 0) return;
  float* tail = sized(normed_tail_, rows * heads * d_.rope);
  for (std::size_t i = 0; i < rows * heads; ++i) {
    std::copy_n(x + i * d_.key() + d_.nope, d_.rope, tail + i * d_.rope);
  }
  ops::rope_rotate(table, angles, tail, rows, heads * d_.rope, heads);
  for (std::size_t i = 0; i < rows * heads; ++i) {
    std::copy_n(tail + i * d_.rope, d_.rope, x + i * d_.key() + d_.nope);
  }
}

// Queries [n, heads, nope + rope], rotated, each part multiplied by its softmax scale.
void Runner::finish_queries(const Layer& l, std::size_t n) {
  float* q = sized(q_, n * d_.heads * d_.key());
  for (std::size_t i = 0; i < n * d_.heads; ++i) {
    std::copy_n(q_nope_.data() + i * d_.nope, d_.nope, q + i * d_.key());
    std::copy_n(q_rope_.data() + i * d_.rope, d_.rope, q + i * d_.key() + d_.nope);
  }
  norm_heads(l.q_head_norm, q, n * d_.heads);
  rotate_tails(weights_.q_rope, q_angles_, q, n, d_.heads);
  const float content = static_cast<float>(spec_.scale_nope());
  const float position = static_cast<float>(spec_.scale_rope());
  for (std::size_t i = 0; i < n * d_.heads; ++i) {
    float* head = q + i * d_.key();
    for (std::size_t j = 0; j < d_.nope; ++j) head[j] *= content;
    for (std::size_t j = d_.nope; j < d_.key(); ++j) head[j] *= position;
  }
}

// Keys [rows, kv_heads, nope + rope]; rope keys of one head serve all.
void Runner::whole_keys(const float* nope, const float* k_rope, std::size_t rows,
                        float* keys) const {
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t h = 0; h < d_.kv_heads; ++h) {
      float* to = keys + (r * d_.kv_heads + h) * d_.key();
      const std::size_t g = d_.rope_heads == 1 ? 0 : h;
      std::copy_n(nope + (r * d_.kv_heads + h) * d_.nope, d_.nope, to);
      std::copy_n(k_rope + (r * d_.rope_heads + g) * d_.rope, d_.rope, to + d_.nope);
    }
  }
}

void Runner::extend(const Layer& l, LayerState& state, std::size_t n) {
  const std::size_t rope_width = d_.rope_heads * d_.rope;
  const bool norm_first = l.k_head_norm.n > 0;  // of whole keys, before they are rotated
  if (d_.rope > 0) {
    scale_by(k_rope_.data(), n * rope_width, spec_.attention.rope_key_factor);
    if (!norm_first) {
      ops::rope_rotate(weights_.k_rope, k_angles_, k_rope_.data(), n, rope_width, d_.rope_heads);
    }
  }
  if (d_.latent > 0 && !norm_first) {
    append(state.latent, latent_.data(), n * d_.latent);
    append(state.k_rope, k_rope_.data(), n * rope_width);
  } else {
    float* keys = sized(keys_, n * d_.kv_heads * d_.key());
    whole_keys(k_nope_.data(), k_rope_.data(), n, keys);
    if (norm_first) {
      norm_heads(l.k_head_norm, keys, n * d_.kv_heads);
      rotate_tails(weights_.k_rope, k_angles_, keys, n, d_.kv_heads);
    }
    append(state.k, keys, n * d_.kv_heads * d_.key());
    append(state.v, values_.data(), n * d_.kv_heads * d_.value);
  }
  state.size += n;
}

// Heads [h0, h1) of a few rows, from the latents. A bias on the content keys adds one number to
// all scores of a row, which softmax takes off again; one on the values joins after mixing,
// because the weights sum to 1.
void Runner::absorbed_heads(const Layer& l, const LayerState& state, std::size_t n, std::size_t h0,
                            std::size_t h1, HeadBuffers& b) {
  const std::size_t size = state.size, heads = h1 - h0;
  float* scores = sized(b.scores, n * heads * size);
  float* part = sized(b.part, n * heads * size);
  float* in_latent = sized(b.in_latent, n * heads * d_.latent);
  std::fill_n(scores, n * heads * size, 0.0f);
  const Matrix& v = l.values();
  if (d_.nope > 0) {
    for (std::size_t h = h0; h < h1; ++h) {
      const std::size_t first = d_.kv_of(h) * d_.nope;
      for (std::size_t r = 0; r < n; ++r) {
        ops::sum_rows(l.k_nope.packed, q_.data() + (r * d_.heads + h) * d_.key(), first,
                      first + d_.nope, in_latent + (r * heads + h - h0) * d_.latent);
      }
    }
    ops::simd_gemm_nt(n * heads, size, d_.latent, in_latent, d_.latent, state.latent.data(),
                      d_.latent, scores, size);
  }
  if (d_.rope > 0) {
    for (std::size_t r = 0; r < n; ++r) {
      for (std::size_t h = h0; h < h1; ++h) {
        const std::size_t g = d_.rope_heads == 1 ? 0 : d_.kv_of(h);
        ops::simd_gemm_nt(1, size, d_.rope, q_.data() + (r * d_.heads + h) * d_.key() + d_.nope,
                          d_.rope, state.k_rope.data() + g * d_.rope, d_.rope_heads * d_.rope,
                          part + (r * heads + h - h0) * size, size);
      }
    }
    for (std::size_t i = 0; i < n * heads * size; ++i) scores[i] += part[i];
  }
  for (std::size_t r = 0; r < n; ++r) {
    const std::size_t visible = size - n + r + 1;
    for (std::size_t h = 0; h < heads; ++h) {
      float* row = scores + (r * heads + h) * size;
      ops::softmax(ops::Kernels::fast, row, visible);
      std::fill(row + visible, row + size, 0.0f);
    }
  }
  ops::simd_mix(n * heads, d_.latent, size, scores, size, state.latent.data(), d_.latent, in_latent,
                d_.latent);
  for (std::size_t r = 0; r < n; ++r) {
    for (std::size_t h = h0; h < h1; ++h) {
      const std::size_t first = d_.kv_of(h) * d_.value;
      ops::prepare(v.packed, in_latent + (r * heads + h - h0) * d_.latent, b.input);
      // Rows [first, first + value) of the product, the bias with them, to this head's place.
      float* out = mixed_.data() + (r * d_.heads + h) * d_.value;
      float* all = sized(b.part, v.out());
      ops::multiply(v.packed, b.input, first, first + d_.value, all);
      std::copy_n(all + first, d_.value, out);
    }
  }
}

// For every thread, because any may run any task; so that a token allocates only when its sequence
// does.
void Runner::reserve_heads(std::size_t scores, std::size_t part, std::size_t in_latent) {
  for (HeadBuffers& b : heads_) {
    sized(b.scores, scores);
    sized(b.part, part);
    sized(b.in_latent, in_latent);
  }
}

void Runner::absorbed(const Layer& l, const LayerState& state, std::size_t n) {
  const std::size_t tasks = (d_.heads + kHeadsAtOnce - 1) / kHeadsAtOnce;
  const std::size_t scores = n * kHeadsAtOnce * state.room();
  reserve_heads(scores, std::max(scores, l.values().out()), n * kHeadsAtOnce * d_.latent);
  products_.next({{&l.o}});
  pool_.run(tasks, [&](std::size_t t, unsigned worker) {
    const std::size_t h0 = t * kHeadsAtOnce, h1 = std::min(h0 + kHeadsAtOnce, d_.heads);
    absorbed_heads(l, state, n, h0, h1, heads_[worker]);
  });
}

void Runner::expanded(const float* k, const float* v, std::size_t size, std::size_t room,
                      std::size_t n) {
  const std::size_t blocks = (n + kQueryRows - 1) / kQueryRows;
  reserve_heads(std::min(kQueryRows, n) * room, 0, 0);
  pool_.run(blocks * d_.heads, [&](std::size_t task, unsigned worker) {
    const std::size_t h = task % d_.heads, kv = d_.kv_of(h);
    const std::size_t r0 = task / d_.heads * kQueryRows, rows = std::min(kQueryRows, n - r0);
    const std::size_t seen = size - n + r0 + rows;  // no row of the task sees more
    float* scores = sized(heads_[worker].scores, rows * seen);
    ops::gemm_nt(ops::Kernels::fast, rows, seen, d_.key(),
                 q_.data() + (r0 * d_.heads + h) * d_.key(), d_.heads * d_.key(), k + kv * d_.key(),
                 d_.kv_heads * d_.key(), scores, seen);
    for (std::size_t r = 0; r < rows; ++r) {
      const std::size_t visible = size - n + r0 + r + 1;
      ops::softmax(ops::Kernels::fast, scores + r * seen, visible);
      std::fill(scores + r * seen + visible, scores + (r + 1) * seen, 0.0f);
    }
    ops::gemm_nn(ops::Kernels::fast, rows, d_.value, seen, scores, seen, v + kv * d_.value,
                 d_.kv_heads * d_.value, mixed_.data() + (r0 * d_.heads + h) * d_.value,
                 d_.heads * d_.value);
  });
}

// Keys and values of all remembered latents, into keys_ and values_.
void Runner::expand(const Layer& l, const LayerState& state) {
  const Matrix& v = l.values();
  const std::size_t size = state.size;
  if (d_.nope > 0) {
    products_.add({.w = &l.k_nope,
                   .x = state.latent.data(),
                   .n = size,
                   .y = sized(k_nope_, size * l.k_nope.out())});
  }
  products_.add(
      {.w = &v, .x = state.latent.data(), .n = size, .y = sized(values_, size * v.out())});
  products_.run();
  whole_keys(k_nope_.data(), state.k_rope.data(), size,
             sized(keys_, size * d_.kv_heads * d_.key()));
}

void Runner::attention(const Layer& l, LayerState& state, const float* x, std::size_t n) {
  project(l, x, n);
  finish_queries(l, n);
  extend(l, state, n);
  sized(mixed_, n * d_.heads * d_.value);
  if (state.latent.empty()) {
    expanded(state.k.data(), state.v.data(), state.size, state.room(), n);
  } else if (n <= kFewVectors) {
    absorbed(l, state, n);
  } else {
    expand(l, state);
    expanded(keys_.data(), values_.data(), state.size, state.size, n);
  }
  products_.add({.w = &l.o, .x = mixed_.data(), .n = n, .y = sized(out_, n * d_.hidden)});
  const Mlp& known = l.moe ? l.shared : l.dense;
  products_.next({{&known.up, known.gated ? &known.gate : nullptr}});
  products_.run();
}

}  // namespace wb::engine
