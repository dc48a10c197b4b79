// Loading, checking and whole-model evaluation; see decoder.h.
#include "runtime/decoder.h"

#include <algorithm>
#include <atomic>

#include "base/error.h"
#include "base/threads.h"
#include "model/spec_values.h"
#include "runtime/block.h"
#include "runtime/terms.h"
#include "tensor/read.h"

namespace wb {

namespace {

Weights read_weights(const CanonicalModel& model, unsigned threads) {
  Weights out;
  std::vector<std::pair<const Tensor*, std::vector<float>*>> jobs;
  for (const auto& [name, tensor] : model.tensors) jobs.emplace_back(&tensor, &out[name]);
  // Largest first, so that no thread is left with the embeddings at the end.
  std::stable_sort(jobs.begin(), jobs.end(), [](const auto& a, const auto& b) {
    return a.first->numel() > b.first->numel();
  });
  parallel_for(jobs.size(), threads,
               [&](std::size_t i, unsigned) { *jobs[i].second = read_f32(*jobs[i].first); });
  return out;
}

}  // namespace

struct KvCache::Impl {
  std::vector<LayerCache> layers;
};
KvCache::KvCache() : impl_(std::make_unique<Impl>()) {}
KvCache::~KvCache() = default;
KvCache::KvCache(KvCache&&) noexcept = default;
KvCache& KvCache::operator=(KvCache&&) noexcept = default;
std::size_t KvCache::size() const { return impl_->layers.empty() ? 0 : impl_->layers[0].size; }
std::size_t KvCache::floats_per_token() const {
  const std::size_t tokens = size();
  if (tokens == 0) return 0;
  std::size_t floats = 0;
  for (const LayerCache& l : impl_->layers) {
    floats += l.latent.size() + l.k_rope.size() + l.k.size() + l.v.size();
  }
  return floats / tokens;
}

struct Decoder::Impl {
  struct MtpHead {
    BoundNorm prev_norm, embed_norm, norm;
    ops::Linear combine;
    BoundBlock block;
  };

  ModelSpec spec;
  ops::Kernels kernels;
  std::shared_ptr<const Weights> held;  // shared by decoders that differ in spec
  const Weights& weights;
  ops::RopeTable q_rope, k_rope;
  std::vector<BoundBlock> blocks;
  BoundNorm norm;
  ops::Linear head;
  std::vector<MtpHead> mtp;

  Impl(const CanonicalModel& model, const DecoderOptions& options)
      : Impl(model.spec, options.kernels, checked_weights(model, options.threads)) {}
  Impl(const ModelSpec& with, ops::Kernels kind, std::shared_ptr<const Weights> read)
      : spec(with), kernels(kind), held(std::move(read)), weights(*held) {
    validate(spec);
    q_rope = rope_table(spec, spec.attention.num_attention_heads);
    k_rope = rope_table(spec, spec.rope_key_heads());
    const std::size_t hidden = spec.hidden_size;
    for (std::uint64_t l = 0; l < spec.num_hidden_layers; ++l) {
      blocks.push_back(bind_block(weights, spec, "layers." + std::to_string(l), spec.is_moe(l)));
    }
    norm = bind_norm(weights, spec.last_norm(), "norm");
    head = bind_linear(weights, spec.tie_word_embeddings ? "embed" : "head", hidden);
    if (spec.head_bias) head.bias = weights.at("head.bias").data();
    for (std::uint64_t m = 0; m < spec.num_nextn_predict_layers; ++m) {
      const std::string name = "mtp." + std::to_string(m);
      mtp.push_back({bind_norm(weights, spec.norm, name + ".prev_norm"),
                     bind_norm(weights, spec.norm, name + ".embed_norm"),
                     spec.mtp_norm ? bind_norm(weights, spec.norm, name + ".norm") : BoundNorm(),
                     bind_linear(weights, name + ".combine", 2 * hidden),
                     bind_block(weights, spec, name + ".block", spec.moe.n_routed_experts > 0)});
    }
  }

  // Another description of the same tensors: constants alone are set again.
  Impl(const Impl& of, const ModelSpec& with)
      : spec(with),
        kernels(of.kernels),
        held(of.held),
        weights(*held),
        blocks(of.blocks),
        norm(of.norm),
        head(of.head),
        mtp(of.mtp) {
    q_rope = rope_table(spec, spec.attention.num_attention_heads);
    k_rope = rope_table(spec, spec.rope_key_heads());
    for (BoundBlock& block : blocks) rebind_block(block, spec);
    rebind_norm(norm, spec.last_norm());
    for (MtpHead& m : mtp) {
      for (BoundNorm* one : {&m.prev_norm, &m.embed_norm, &m.norm}) rebind_norm(*one, spec.norm);
      rebind_block(m.block, spec);
    }
  }

  static std::shared_ptr<const Weights> checked_weights(const CanonicalModel& model,
                                                        unsigned threads) {
    validate(model.spec);
    check_complete(model);
    return std::make_shared<const Weights>(read_weights(model, threads));
  }

  BlockContext context(unsigned threads) const { return {spec, q_rope, k_rope, kernels, threads}; }

  std::vector<float> embed(std::span<const std::uint32_t> tokens, std::size_t first) const {
    const std::size_t hidden = spec.hidden_size;
    const bool learned = spec.positions == Positions::learned;
    if (learned && first + tokens.size() > spec.max_position_embeddings) {
      throw Error(Code::usage, "the sequence is longer than the model's learned positions")
          .expected("at most " + std::to_string(spec.max_position_embeddings) + " tokens")
          .actual(std::to_string(first + tokens.size()))
          .advice("Cut the text into windows.");
    }
    const float* table = weights.at("embed.weight").data();
    const float* positions = learned ? weights.at("positions.weight").data() : nullptr;
    std::vector<float> h(tokens.size() * hidden);
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      if (tokens[t] >= spec.vocab_size) {
        throw Error(Code::usage, "a token is not in the vocabulary")
            .expected("ids below " + std::to_string(spec.vocab_size))
            .actual(std::to_string(tokens[t]) + " at place " + std::to_string(t))
            .advice("Use the tokenizer that the model was trained with.");
      }
      std::copy_n(table + tokens[t] * hidden, hidden, h.data() + t * hidden);
      if (!learned) continue;
      for (std::size_t i = 0; i < hidden; ++i) {
        h[t * hidden + i] += positions[(first + t) * hidden + i];
      }
    }
    return h;
  }

  std::vector<float> logits(const float* h, std::size_t rows, unsigned threads) const {
    std::vector<float> out(rows * spec.vocab_size);
    ops::linear(kernels, h, rows, head, out.data(), threads);
    return out;
  }

  ForwardResult run(std::vector<LayerCache>& caches, std::span<const std::uint32_t> tokens,
                    const ForwardOptions& options) const {
    const std::size_t n = tokens.size(), hidden = spec.hidden_size;
    caches.resize(blocks.size());
    ForwardResult result;
    result.tokens = n;
    std::vector<float> h = embed(tokens, caches[0].size);
    if (n == 0) return result;
    const BlockContext c = context(options.threads);
    for (std::size_t l = 0; l < blocks.size(); ++l) {
      RouterTrace trace;
      std::vector<float> middle;
      run_block(c, blocks[l], h.data(), n, caches[l], options.router ? &trace : nullptr,
                options.middle ? &middle : nullptr);
      if (options.middle) result.middle.push_back(std::move(middle));
      if (options.router) result.router.push_back(std::move(trace));
      if (options.hidden) result.hidden.push_back(h);
    }
    if (norm.present) apply_norm(c, norm, h.data(), h.data(), n);
    if (options.logits) {
      const std::size_t rows = options.last_logits_only ? 1 : n;
      result.logits = logits(h.data() + (n - rows) * hidden, rows, options.threads);
    }
    if (options.mtp) result.mtp = run_mtp(c, tokens, h);
    if (options.hidden) result.final_hidden = std::move(h);
    return result;
  }

  // Head m predicts token t + m + 2 from the state before it and the embedding of token
  // t + m + 1, zero past the end of the sequence.
  std::vector<MtpOutput> run_mtp(const BlockContext& c, std::span<const std::uint32_t> tokens,
                                 const std::vector<float>& final_hidden) const {
    const std::size_t n = tokens.size(), hidden = spec.hidden_size;
    const float* table = weights.at("embed.weight").data();
    std::vector<MtpOutput> out;
    std::vector<float> prev = final_hidden;
    auto normed = [&](const BoundNorm& one, const float* from, float* to) {
      if (one.present) return apply_norm(c, one, from, to, 1);
      std::copy_n(from, hidden, to);
    };
    for (std::size_t m = 0; m < mtp.size(); ++m) {
      std::vector<float> pairs(n * 2 * hidden), future(hidden);
      for (std::size_t t = 0; t < n; ++t) {
        std::fill(future.begin(), future.end(), 0.0f);
        if (t + m + 1 < n) std::copy_n(table + tokens[t + m + 1] * hidden, hidden, future.data());
        float* pair = pairs.data() + t * 2 * hidden;
        normed(mtp[m].prev_norm, prev.data() + t * hidden, pair);
        normed(mtp[m].embed_norm, future.data(), pair + hidden);
      }
      ops::linear(kernels, pairs.data(), n, mtp[m].combine, prev.data(), c.threads);
      LayerCache cache;
      run_block(c, mtp[m].block, prev.data(), n, cache, nullptr);
      std::vector<float> last = prev;
      if (mtp[m].norm.present) apply_norm(c, mtp[m].norm, last.data(), last.data(), n);
      out.push_back({prev, logits(last.data(), n, c.threads)});
    }
    return out;
  }
};

Decoder::Decoder(const CanonicalModel& model, const DecoderOptions& options)
    : impl_(std::make_unique<const Impl>(model, options)) {}
Decoder::Decoder(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;

const ModelSpec& Decoder::spec() const { return impl_->spec; }
std::uint64_t Decoder::parameters() const {
  std::uint64_t total = 0;
  for (const auto& [name, values] : impl_->weights) total += values.size();
  return total;
}

ForwardResult Decoder::forward(std::span<const std::uint32_t> tokens,
                               const ForwardOptions& options) const {
  std::vector<LayerCache> caches;
  return impl_->run(caches, tokens, options);
}

ForwardResult Decoder::step(KvCache& cache, std::span<const std::uint32_t> tokens,
                            const ForwardOptions& options) const {
  if (options.mtp) {
    throw Error(Code::usage, "multi-token heads need the whole sequence, not one step of it")
        .advice("Evaluate the whole sequence, or leave the heads out.");
  }
  return impl_->run(cache.impl_->layers, tokens, options);
}

std::vector<ForwardResult> Decoder::forward_batch(
    std::span<const std::vector<std::uint32_t>> sequences, const ForwardOptions& options) const {
  std::vector<ForwardResult> out(sequences.size());
  ForwardOptions one = options;
  one.threads = 1;
  parallel_for(sequences.size(), options.threads,
               [&](std::size_t i, unsigned) { out[i] = forward(sequences[i], one); });
  return out;
}

Decoder Decoder::with_spec(const ModelSpec& spec) const {
  validate(spec);  // before its layers are counted
  if (same_tensors(spec, impl_->spec)) {
    return Decoder(std::make_unique<const Impl>(*impl_, spec));
  }
  const std::vector<CanonicalTensor> wanted = canonical_tensors(spec);
  const bool same = wanted.size() == impl_->weights.size() &&
                    std::all_of(wanted.begin(), wanted.end(), [&](const CanonicalTensor& t) {
                      auto it = impl_->weights.find(t.name);
                      return it != impl_->weights.end() && it->second.size() == numel(t.shape);
                    });
  if (!same) {
    throw Error(Code::spec_invalid, "this description calls for other tensors than those at hand")
        .advice("Apply the recipe again with these settings.");
  }
  return Decoder(std::make_unique<const Impl>(spec, impl_->kernels, impl_->held));
}

std::vector<float> Decoder::embed(std::span<const std::uint32_t> tokens) const {
  return impl_->embed(tokens, 0);
}

void Decoder::run_layer(std::size_t l, std::vector<float>& h, unsigned threads,
                        std::vector<float>* middle) const {
  WB_CHECK(l < impl_->blocks.size() && h.size() % impl_->spec.hidden_size == 0);
  LayerCache cache;
  run_block(impl_->context(threads), impl_->blocks[l], h.data(), h.size() / impl_->spec.hidden_size,
            cache, nullptr, middle);
}

std::vector<float> Decoder::run_head(std::vector<float> h, unsigned threads) const {
  const std::size_t n = h.size() / impl_->spec.hidden_size;
  WB_CHECK(h.size() == n * impl_->spec.hidden_size);
  if (impl_->norm.present) {
    apply_norm(impl_->context(threads), impl_->norm, h.data(), h.data(), n);
  }
  return impl_->logits(h.data(), n, threads);
}

}  // namespace wb
