// Embedding, the frame of a block, and the output head; see engine.h and runner.h.
#include "engine/engine.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/read_guard.h"
#include "engine/runner.h"
#include "ops/simd.h"

namespace wb::engine {

// --- runner: what is not attention or experts ---

Runner::Runner(const Weights& weights, unsigned threads)
    : weights_(weights), spec_(weights.spec), pool_(threads), products_(pool_) {
  const AttentionSpec& a = spec_.attention;
  d_ = {spec_.hidden_size,  a.num_attention_heads, spec_.kv_heads(), spec_.rope_key_heads(),
        a.qk_nope_head_dim, a.qk_rope_head_dim,    a.v_head_dim,     a.kv_lora_rank};
  heads_.resize(pool_.size());
  if (d_.latent == 0) return;
  // Grows the threads' inputs to what any layer needs.
  const Floats zeros(d_.latent);
  const auto grow = [&](const Layer& l) {
    for (HeadBuffers& b : heads_) ops::prepare(l.values().packed, zeros.data(), b.input);
  };
  for (const Layer& l : weights.layers) grow(l);
  for (const NextHead& m : weights.next) grow(m.block);
}

void Runner::norm(const Norm& norm, const float* x, float* y, std::size_t rows) const {
  ops::norm(ops::Kernels::fast, norm.args, x, norm.n, y, norm.n, rows, norm.n);
}

void Runner::set_angles(std::size_t first, std::size_t n) {
  if (d_.rope == 0) return;
  ops::rope_angles_into(weights_.q_rope, first, n, q_angles_);
  ops::rope_angles_into(weights_.k_rope, first, n, k_angles_);
}

void Runner::run_block(const Layer& layer, LayerState& state, float* h, std::size_t n,
                       const Layer* then) {
  const std::size_t size = n * d_.hidden;
  auto normed = [&](const Norm& with) -> const float* {
    if (with.n == 0) return h;
    norm(with, h, sized(normed_, size), n);
    return normed_.data();
  };
  attention(layer, state, normed(layer.attn_norm), n);
  ops::simd_add_to(h, out_.data(), size);
  feed_forward(layer, normed(layer.mlp_norm), n, then);
  ops::simd_add_to(h, out_.data(), size);
}

// --- sequences ---

struct Sequence::Impl {
  std::vector<LayerState> layers, next;
};
Sequence::Sequence() : impl_(std::make_unique<Impl>()) {}
Sequence::~Sequence() = default;
Sequence::Sequence(Sequence&&) noexcept = default;
Sequence& Sequence::operator=(Sequence&&) noexcept = default;
std::size_t Sequence::size() const { return impl_->layers.empty() ? 0 : impl_->layers[0].size; }
void Sequence::truncate(std::size_t size) {
  for (LayerState& l : impl_->layers) l.truncate(size);
  for (LayerState& l : impl_->next) {
    if (l.size > size) l.truncate(size);
  }
}

void Sequence::truncate_next(std::size_t m, std::size_t size) { impl_->next.at(m).truncate(size); }

// --- the engine ---

struct Engine::Impl {
  Weights weights;
  Runner runner;
  Floats h, logits, pair, token;
  std::size_t fed = 0;

  Impl(const CanonicalModel& model, const EngineOptions& options)
      : weights(bind(model)), runner(weights, options.threads) {}

  const ModelSpec& spec() const { return weights.spec; }
  std::size_t longest() const {
    return spec().positions == Positions::learned ? spec().max_position_embeddings
                                                  : std::numeric_limits<std::size_t>::max();
  }

  void check(std::span<const std::uint32_t> tokens, std::size_t first) const {
    if (first + tokens.size() > longest()) {
      throw Error(Code::usage, "the sequence is longer than the model's learned positions")
          .expected("at most " + std::to_string(longest()) + " tokens")
          .actual(std::to_string(first + tokens.size()))
          .advice("Cut the text into windows.");
    }
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      if (tokens[t] < spec().vocab_size) continue;
      throw Error(Code::usage, "a token is not in the vocabulary")
          .expected("ids below " + std::to_string(spec().vocab_size))
          .actual(std::to_string(tokens[t]) + " at place " + std::to_string(t))
          .advice("Use the tokenizer that the model was trained with.");
    }
  }

  // [tokens, hidden] into h.
  void embed(std::span<const std::uint32_t> tokens, std::size_t first) {
    const std::size_t hidden = spec().hidden_size;
    const bool learned = spec().positions == Positions::learned;
    sized(h, tokens.size() * hidden);
    sized(token, hidden);
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      float* row = h.data() + t * hidden;
      ops::unpack(weights.embed.packed, tokens[t], tokens[t] + 1, row);
      if (!learned) continue;
      ops::unpack(weights.positions.packed, first + t, first + t + 1, token.data());
      for (std::size_t i = 0; i < hidden; ++i) row[i] += token[i];
    }
  }

  std::span<const float> head(const float* states, std::size_t rows) {
    float* out = sized(logits, rows * spec().vocab_size);
    runner.products().add({.w = &weights.head, .x = states, .n = rows, .y = out});
    runner.products().run();
    return {out, rows * spec().vocab_size};
  }

  void feed_piece(Sequence::Impl& sequence, std::span<const std::uint32_t> tokens) {
    const std::size_t n = tokens.size(), first = sequence.layers[0].size;
    embed(tokens, first);
    runner.set_angles(first, n);
    for (std::size_t l = 0; l < weights.layers.size(); ++l) {
      const Layer* then = l + 1 < weights.layers.size() ? &weights.layers[l + 1] : nullptr;
      runner.run_block(weights.layers[l], sequence.layers[l], h.data(), n, then);
    }
    if (weights.norm.n > 0) runner.norm(weights.norm, h.data(), h.data(), n);
    fed = n;
  }

  std::span<const float> feed(Sequence::Impl& sequence, std::span<const std::uint32_t> tokens,
                              bool all) {
    WB_CHECK(!tokens.empty());
    sequence.layers.resize(weights.layers.size());
    check(tokens, sequence.layers[0].size);
    const std::size_t hidden = spec().hidden_size, vocab = spec().vocab_size;
    Floats collected;
    for (std::size_t at = 0; at < tokens.size(); at += kPromptPiece) {
      const auto piece = tokens.subspan(at, std::min(kPromptPiece, tokens.size() - at));
      feed_piece(sequence, piece);
      if (!all || tokens.size() <= kPromptPiece) continue;
      const std::span<const float> some = head(h.data(), piece.size());
      collected.insert(collected.end(), some.begin(), some.end());
    }
    if (!all) return head(h.data() + (fed - 1) * hidden, 1);
    if (tokens.size() <= kPromptPiece) return head(h.data(), fed);
    logits = std::move(collected);
    return {logits.data(), tokens.size() * vocab};
  }

  std::span<const float> feed_next(Sequence::Impl& sequence, std::size_t m, std::span<float> states,
                                   std::span<const std::uint32_t> tokens, bool quiet) {
    const std::size_t hidden = spec().hidden_size, n = tokens.size();
    WB_CHECK(m < weights.next.size() && n > 0 && states.size() == n * hidden);
    const NextHead& own = weights.next[m];
    sequence.next.resize(weights.next.size());
    check(tokens, 0);
    float* pairs = sized(pair, n * 2 * hidden);
    sized(token, hidden);
    auto normed = [&](const Norm& norm, const float* from, float* to) {
      if (norm.n > 0) return runner.norm(norm, from, to, 1);
      std::copy_n(from, hidden, to);
    };
    for (std::size_t t = 0; t < n; ++t) {
      ops::unpack(weights.embed.packed, tokens[t], tokens[t] + 1, token.data());
      normed(own.prev_norm, states.data() + t * hidden, pairs + t * 2 * hidden);
      normed(own.embed_norm, token.data(), pairs + t * 2 * hidden + hidden);
    }
    runner.products().add({.w = &own.combine, .x = pairs, .n = n, .y = states.data()});
    runner.products().run();
    runner.set_angles(sequence.next[m].size, n);
    runner.run_block(own.block, sequence.next[m], states.data(), n);
    if (quiet) return {};
    normed(own.norm, states.data() + (n - 1) * hidden, token.data());
    return head(token.data(), 1);
  }
};

Engine::Engine(const CanonicalModel& model, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(model, options)) {}
Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;

const ModelSpec& Engine::spec() const { return impl_->spec(); }
std::uint64_t Engine::parameters() const { return impl_->weights.parameters; }
std::uint64_t Engine::bytes_per_token() const { return impl_->weights.bytes_per_token(); }
std::uint64_t Engine::products_per_token() const { return impl_->weights.products_per_token(); }
std::uint64_t Engine::products_of_head() const {
  return impl_->weights.head.out() * impl_->weights.head.in();
}
std::uint64_t Engine::products_of_attention(std::size_t tokens) const {
  const AttentionSpec& a = spec().attention;
  const std::uint64_t per_pair = a.qk_nope_head_dim + a.qk_rope_head_dim + a.v_head_dim;
  return spec().num_hidden_layers * a.num_attention_heads * per_pair * tokens * (tokens + 1) / 2;
}
unsigned Engine::threads() const { return impl_->runner.threads(); }
std::size_t Engine::longest() const { return impl_->longest(); }
std::size_t Engine::next_heads() const { return impl_->weights.next.size(); }

std::span<const float> Engine::feed(Sequence& sequence, std::span<const std::uint32_t> tokens,
                                    bool all) {
  const std::span<const float> logits = impl_->feed(*sequence.impl_, tokens, all);
  require_readable();
  return logits;
}
std::span<const float> Engine::hidden() const {
  return {impl_->h.data(), impl_->fed * impl_->spec().hidden_size};
}
std::span<const float> Engine::feed_next(Sequence& sequence, std::size_t m, std::span<float> states,
                                         std::span<const std::uint32_t> tokens, bool quiet) {
  const auto logits = impl_->feed_next(*sequence.impl_, m, states, tokens, quiet);
  require_readable();
  return logits;
}
std::size_t Engine::next_size(const Sequence& sequence, std::size_t m) const {
  return m < sequence.impl_->next.size() ? sequence.impl_->next[m].size : 0;
}

}  // namespace wb::engine
