// The decoder: runs any ModelSpec in f32 on the CPU. Owns the weights (converted to
// f32 when it is made) and the arithmetic; knows no recipe and no file. Every field of
// ModelSpec has an effect here; a combination that is not covered is refused by name
// when the decoder is made (Code::spec_invalid). Results do not depend on the number
// of threads. One decoder may be used from many threads at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/canonical.h"
#include "ops/matmul.h"

namespace wb {

struct DecoderOptions {
  // plain: every sum in f64 and the standard library's exp; slow, the yardstick.
  ops::Kernels kernels = ops::Kernels::fast;
  unsigned threads = 0;  // for loading; 0 = all cores
};

struct ForwardOptions {
  bool logits = true;
  bool last_logits_only = false;  // of the last token; for generation
  bool hidden = false;  // the residual stream after each layer, and the final normed state
  bool middle = false;  // the residual stream between attention and feed-forward network
  bool router = false;  // what each layer's router chose
  bool mtp = false;     // multi-token heads (whole sequences only)
  unsigned threads = 0;
};

// One layer's routing: for each token k experts, best first, and their weights.
struct RouterTrace {
  std::size_t k = 0;                   // 0 for a dense layer
  std::vector<std::uint32_t> experts;  // [tokens, k]
  std::vector<float> weights;          // [tokens, k]
};
struct MtpOutput {
  std::vector<float> hidden;  // [tokens, hidden_size]: the head's own state, not normed
  std::vector<float> logits;  // [tokens, vocab_size]
};
struct ForwardResult {
  std::size_t tokens = 0;
  std::vector<float> logits;               // [tokens, vocab_size], or [1, vocab_size]
  std::vector<std::vector<float>> hidden;  // per layer [tokens, hidden_size]
  std::vector<std::vector<float>> middle;  // per layer [tokens, hidden_size]
  std::vector<float> final_hidden;         // [tokens, hidden_size]
  std::vector<RouterTrace> router;         // per layer
  std::vector<MtpOutput> mtp;              // per head
};

// What step-by-step evaluation remembers: per layer and token the key-value latent (as the
// up-projections read it) and the rotated rope keys; where keys are normed per head after the
// up-projection, or there is no latent, keys and values themselves.
class KvCache {
 public:
  KvCache();
  ~KvCache();
  KvCache(KvCache&&) noexcept;
  KvCache& operator=(KvCache&&) noexcept;
  std::size_t size() const;              // tokens so far
  std::size_t floats_per_token() const;  // over all layers; 0 before the first token
  struct Impl;

 private:
  friend class Decoder;
  std::unique_ptr<Impl> impl_;
};

class Decoder {
 public:
  // Reads every tensor of `model` and keeps it as f32; `model` is not needed afterwards.
  explicit Decoder(const CanonicalModel& model, const DecoderOptions& options = {});
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;

  // The same weights, shared and not copied, under another description that calls for the same
  // tensors: for trying settings. Throws Code::spec_invalid where it calls for others.
  Decoder with_spec(const ModelSpec& spec) const;

  const ModelSpec& spec() const;
  std::uint64_t parameters() const;

  // A whole sequence from position 0. Throws Code::usage for a token outside the vocabulary,
  // and where positions are learned for a sequence longer than their table.
  ForwardResult forward(std::span<const std::uint32_t> tokens,
                        const ForwardOptions& options = {}) const;
  // The next tokens of a sequence whose beginning is in `cache`; appends them to it. The same
  // numbers as forward() over all of it, to rounding. options.mtp is refused (Code::usage).
  ForwardResult step(KvCache& cache, std::span<const std::uint32_t> tokens,
                     const ForwardOptions& options = {}) const;
  // Many sequences, side by side on the threads; the same numbers as forward() on each.
  std::vector<ForwardResult> forward_batch(std::span<const std::vector<std::uint32_t>> sequences,
                                           const ForwardOptions& options = {}) const;

  // The steps of forward(), so that each can be run alone from another program's state.
  // The residual stream [tokens, hidden_size] before the first layer.
  std::vector<float> embed(std::span<const std::uint32_t> tokens) const;
  // h [tokens, hidden_size], a whole sequence from position 0, becomes what layer `l` makes of
  // it; `middle`, when not null, what it is between attention and feed-forward network.
  void run_layer(std::size_t l, std::vector<float>& h, unsigned threads,
                 std::vector<float>* middle = nullptr) const;
  // Logits [tokens, vocab_size] of the residual stream h [tokens, hidden_size] after all layers.
  std::vector<float> run_head(std::vector<float> h, unsigned threads) const;

 private:
  struct Impl;
  explicit Decoder(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace wb
