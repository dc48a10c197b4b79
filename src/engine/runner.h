// The evaluation of one block, with the buffers that all blocks share. Internal to engine/;
// refuses nothing.
#pragma once

#include <vector>

#include "engine/pool.h"
#include "engine/products.h"
#include "engine/weights.h"

namespace wb::engine {

using Floats = std::vector<float>;

// What one layer remembers of a text: latents and rotated rope keys, or, where keys are normed
// per head after the up-projection or there is no latent, whole keys and values.
struct LayerState {
  std::size_t size = 0;
  Floats latent;  // [size, kv_lora_rank]
  Floats k_rope;  // [size, rope_key_heads * R]
  Floats k, v;    // [size, kv_heads * (nope + R)], [size, kv_heads * v_head_dim]

  // Places that there is memory for without another allocation; it doubles when they are full.
  std::size_t room() const;
  void truncate(std::size_t to);
};

class Runner {
 public:
  Runner(const Weights& weights, unsigned threads);

  // h[n, hidden] becomes what the layer makes of it; appends n places to `state`. `then` is the
  // block that will be run after this one, if it is known.
  void run_block(const Layer& layer, LayerState& state, float* h, std::size_t n,
                 const Layer* then = nullptr);
  // The rotations of positions [first, first + n), for the blocks that run next.
  void set_angles(std::size_t first, std::size_t n);
  void norm(const Norm& norm, const float* x, float* y, std::size_t rows) const;
  Products& products() { return products_; }
  unsigned threads() const { return pool_.size(); }

 private:
  struct Dims {
    std::size_t hidden, heads, kv_heads, rope_heads, nope, rope, value, latent;
    std::size_t key() const { return nope + rope; }
    std::size_t kv_of(std::size_t head) const { return head / (heads / kv_heads); }
  };
  // The attention of x[n, hidden] into out_.
  void attention(const Layer& layer, LayerState& state, const float* x, std::size_t n);
  void project(const Layer& layer, const float* x, std::size_t n);
  void finish_queries(const Layer& layer, std::size_t n);
  void extend(const Layer& layer, LayerState& state, std::size_t n);
  void whole_keys(const float* nope, const float* k_rope, std::size_t rows, float* keys) const;
  void rotate_tails(const ops::RopeTable& table, const ops::RopeAngles& angles, float* x,
                    std::size_t rows, std::size_t heads);
  void norm_heads(const Norm& norm, float* x, std::size_t rows) const;
  void absorbed(const Layer& layer, const LayerState& state, std::size_t n);
  struct HeadBuffers {
    Floats scores, part, in_latent;
    ops::PackedInput input;
  };
  void reserve_heads(std::size_t scores, std::size_t part, std::size_t in_latent);
  void absorbed_heads(const Layer& layer, const LayerState& state, std::size_t n, std::size_t h0,
                      std::size_t h1, HeadBuffers& buffers);
  // `room` is as LayerState says it, at least `size`.
  void expanded(const float* k, const float* v, std::size_t size, std::size_t room, std::size_t n);
  void expand(const Layer& layer, const LayerState& state);
  // The feed-forward network of x[n, hidden] into out_.
  void feed_forward(const Layer& layer, const float* x, std::size_t n, const Layer* then);
  void choose(const Layer& layer, const float* x, std::size_t n);
  void gather(const Layer& layer, const float* x, std::size_t n);
  void mlps(const Layer& layer, const float* x, std::size_t n, const Layer* then);
  void after_block(const Layer* then);
  void sum_experts(const Layer& layer, std::size_t n);

  const Weights& weights_;
  const ModelSpec& spec_;
  Dims d_;
  Pool pool_;
  Products products_;
  // Grown to the largest use and kept.
  Floats normed_, out_;
  Floats q_latent_, q_nope_, q_rope_, q_, raw_, latent_, k_nope_, k_rope_, keys_, values_, mixed_,
      normed_tail_;
  ops::RopeAngles q_angles_, k_angles_;
  std::vector<HeadBuffers> heads_;     // [threads]
  std::vector<std::uint32_t> chosen_;  // [n, k]
  Floats chosen_weights_;              // [n, k]
  Floats gathered_, inner_, slots_, shared_inner_, shared_;
  std::vector<double> logits_, factors_;  // [n, experts], [k + 1]
  std::vector<const float*> answers_;     // [k + 1]
  ops::RouteWork route_work_;
  std::vector<std::size_t> place_;  // [n, k]: the row of gathered_ that a choice became
  std::vector<std::size_t> first_;  // [experts + 1]: rows of gathered_ by expert
};

inline float* sized(Floats& buffer, std::size_t n) {
  if (buffer.size() < n) buffer.resize(n);
  return buffer.data();
}

}  // namespace wb::engine
