// The fast runner: one token after another straight from mapped, packed weights, and prompts
// in large products. Computes what the decoder (runtime/decoder.h) computes, for every ModelSpec
// and in the same order of steps; the decoder is its oracle. Owns the bound weights, the threads
// and the buffers, so that a token allocates nothing; a Sequence owns what one text remembers.
// Refuses tokens outside the vocabulary and texts longer than learned positions (Code::usage).
//
// One engine works for one caller at a time. Results do not depend on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "model/canonical.h"

namespace wb::engine {

struct EngineOptions {
  unsigned threads = 0;  // 0 = all cores
};

// What one text remembers, for the layers and for each multi-token head.
class Sequence {
 public:
  Sequence();
  ~Sequence();
  Sequence(Sequence&&) noexcept;
  Sequence& operator=(Sequence&&) noexcept;
  std::size_t size() const;  // tokens so far
  // Forgets all but the first `size` tokens.
  void truncate(std::size_t size);
  // The same for multi-token head `m` alone.
  void truncate_next(std::size_t m, std::size_t size);
  struct Impl;

 private:
  friend class Engine;
  std::unique_ptr<Impl> impl_;
};

class Engine {
 public:
  // Binds the weights where they lie: the model's files must stay mapped (the tensors see to it).
  explicit Engine(const CanonicalModel& model, const EngineOptions& options = {});
  ~Engine();
  Engine(Engine&&) noexcept;

  const ModelSpec& spec() const;
  std::uint64_t parameters() const;
  std::uint64_t bytes_per_token() const;  // of weights, as stored (weights.h)
  // Multiplications of all matrices but the output head for one token, and of the head.
  std::uint64_t products_per_token() const;
  std::uint64_t products_of_head() const;
  // Multiplications of attention proper for a prompt of `tokens`: scores and mixing.
  std::uint64_t products_of_attention(std::size_t tokens) const;
  unsigned threads() const;
  // Tokens that a sequence can hold: the table of learned positions; else no bound of ours.
  std::size_t longest() const;

  // Tokens of a prompt that go through the layers together; feed() cuts longer ones.
  static constexpr std::size_t kPromptPiece = 512;
  // Appends `tokens` to the sequence. The logits of the last, or with `all` of each: [vocab_size]
  // or [tokens, vocab_size], the engine's own until the next call. At least one token.
  std::span<const float> feed(Sequence& sequence, std::span<const std::uint32_t> tokens,
                              bool all = false);
  // The normed hidden states of the tokens just fed: [tokens, hidden_size]; with many tokens those
  // of the last piece that prompts are cut into.
  std::span<const float> hidden() const;

  std::size_t next_heads() const;  // multi-token heads
  // What head `m` makes of the next places of `sequence`, which follow each other from 0: row t of
  // `states` [tokens, hidden_size] is the state before it (head 0: hidden()'s row; else what head
  // m - 1 left), tokens[t] the token m + 1 places on. The head's own states are left in `states`.
  // The logits of the token after the last [vocab_size]; with `quiet` nothing, only remembers.
  std::span<const float> feed_next(Sequence& sequence, std::size_t m, std::span<float> states,
                                   std::span<const std::uint32_t> tokens, bool quiet = false);
  std::size_t next_size(const Sequence& sequence, std::size_t m) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace wb::engine
