// What the runtime's tests share: files of fixtures as name -> values, and a canonical
// model of the reference layout put together by hand (docs/source-model.md), so that
// the decoder is tested without the recipe layer.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "model/canonical.h"
#include "runtime/decoder.h"
#include "tensor/read.h"

namespace wb {

inline std::string fixture(const std::string& name) {
  return std::string(WB_SOURCE_DIR) + "/tests/fixtures/" + name;
}
inline std::string sample(const std::string& name) {
  return std::string(WB_SOURCE_DIR) + "/samples/tiny/" + name;
}

inline std::vector<float> values(const Checkpoint& c, const std::string& name) {
  const SourceTensor* t = c.find(name);
  if (t == nullptr) {
    ADD_FAILURE() << c.path << " has no tensor " << name;
    return {};
  }
  return read_f32(t->tensor);
}
inline std::vector<std::uint32_t> tokens_of(const Checkpoint& c, std::size_t row = 0,
                                            std::size_t length = 0) {
  std::vector<std::uint32_t> out;
  for (float v : values(c, "tokens")) out.push_back(static_cast<std::uint32_t>(v));
  if (length == 0) return out;
  return {out.begin() + static_cast<std::ptrdiff_t>(row * length),
          out.begin() + static_cast<std::ptrdiff_t>((row + 1) * length)};
}
// Row `row` of a [rows, ...] tensor.
inline std::vector<float> row_of(const std::vector<float>& all, std::size_t row, std::size_t rows) {
  const std::size_t n = all.size() / rows;
  return {all.begin() + static_cast<std::ptrdiff_t>(row * n),
          all.begin() + static_cast<std::ptrdiff_t>((row + 1) * n)};
}

// The largest |a - b|; infinity when the lengths differ or a value is not a number.
inline double max_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size() || a.empty()) return INFINITY;
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(d <= worst)) worst = std::isnan(d) ? INFINITY : d;
  }
  return worst;
}

// The logits of `tokens` made by the cache: pieces of the given lengths, then one by one.
inline std::vector<float> logits_in_steps(const Decoder& decoder,
                                          const std::vector<std::uint32_t>& tokens,
                                          const std::vector<std::size_t>& pieces) {
  KvCache cache;
  std::vector<float> out;
  std::size_t at = 0, piece = 0;
  while (at < tokens.size()) {
    std::size_t n = piece < pieces.size() ? pieces[piece++] : 1;
    n = std::min(n, tokens.size() - at);
    const ForwardResult r = decoder.step(cache, std::span(tokens).subspan(at, n));
    out.insert(out.end(), r.logits.begin(), r.logits.end());
    at += n;
  }
  EXPECT_EQ(cache.size(), tokens.size());
  return out;
}

// The reference layout as a canonical model.
class ReferenceLayout {
 public:
  ReferenceLayout(const Checkpoint& checkpoint, std::uint64_t experts_per_token)
      : c_(checkpoint), top_k_(experts_per_token) {}

  CanonicalModel build() {
    ModelSpec& s = out_.spec;
    const Shape wte = at("wte.weight").shape();
    const std::uint64_t rope = 2 * at("h.0.attn.rope.inv_freq").shape()[0];
    const std::uint64_t heads = at("h.0.attn.k_rope_proj.weight").shape()[0] / rope;
    s.vocab_size = wte[0];
    s.hidden_size = wte[1];
    s.max_position_embeddings = at("wpe.weight").shape()[0];
    s.num_hidden_layers = count("h.", ".ln_1.weight");
    s.num_nextn_predict_layers = count("mtp_heads.", ".norm1.weight");
    s.positions = Positions::learned;
    s.tie_word_embeddings = true;
    s.norm = {NormKind::rms, 1e-6, true, false};
    AttentionSpec& a = s.attention;
    a.num_attention_heads = heads;
    a.kv_lora_rank = at("h.0.attn.kv_proj.weight").shape()[0];
    a.q_lora_rank = at("h.0.attn.q_proj.weight").shape()[0];
    a.qk_nope_head_dim = a.v_head_dim = s.hidden_size / heads;
    a.qk_rope_head_dim = rope;
    a.kv_norm = s.norm;
    a.rope_keys = RopeKeys::per_head;
    a.o_bias = has("h.0.attn.o_proj.bias");
    s.moe.n_routed_experts = at("h.0.mlp.router.weight").shape()[0];
    s.moe.routed = mlp_spec("h.0.mlp.experts.0");
    if (has("h.0.mlp.shared_expert.up_proj.weight")) {
      s.moe.shared = mlp_spec("h.0.mlp.shared_expert");
    }
    s.router.score = RouterScore::softmax_of_chosen;
    s.router.expert_bias = ExpertBias::logits;
    s.router.num_experts_per_tok = top_k_;
    s.mtp_combine_bias = has("mtp_heads.0.combine_proj.bias");
    tensors();
    check_complete(out_);
    return std::move(out_);
  }

 private:
  const Tensor& at(const std::string& name) const {
    const SourceTensor* t = c_.find(name);
    if (t == nullptr) throw Error(Code::tensor_missing, "fixture").file(c_.path).tensor(name);
    return t->tensor;
  }
  bool has(const std::string& name) const { return c_.find(name) != nullptr; }
  std::uint64_t count(const std::string& before, const std::string& after) const {
    std::uint64_t n = 0;
    while (has(before + std::to_string(n) + after)) ++n;
    return n;
  }
  MlpSpec mlp_spec(const std::string& name) const {
    return {Activation::silu, true, at(name + ".up_proj.weight").shape()[0],
            has(name + ".up_proj.bias")};
  }
  // Weight and, where there is one, bias.
  void put(const std::string& to, const std::string& from) {
    for (const char* part : {".weight", ".bias"}) {
      if (has(from + part)) out_.tensors.emplace(to + part, at(from + part));
    }
  }
  void put_heads(const std::string& to, const std::string& from, std::uint64_t width) {
    const Tensor& t = at(from + ".weight");
    out_.tensors.emplace(to + ".weight", t.reshape({t.shape()[0] / width, width, t.shape()[1]}));
  }
  void put_mlp(const std::string& to, const std::string& from) {
    for (const char* part : {"gate", "up", "down"}) {
      put(to + "." + part, from + "." + part + "_proj");
    }
  }
  void block(const std::string& to, const std::string& from) {
    const AttentionSpec& a = out_.spec.attention;
    const std::string t = to + ".attn.", f = from + ".attn.";
    put(t + "q_down", f + "q_proj");
    put_heads(t + "q_nope", f + "q_decompress", a.qk_nope_head_dim);
    put_heads(t + "q_rope", f + "q_rope_proj", a.qk_rope_head_dim);
    put(t + "kv_down", f + "kv_proj");
    put(t + "kv_norm", f + "kv_norm");
    put_heads(t + "k_nope", f + "k_decompress", a.qk_nope_head_dim);
    put_heads(t + "v", f + "v_decompress", a.v_head_dim);
    put_heads(t + "k_rope", f + "k_rope_proj", a.qk_rope_head_dim);
    put(t + "o", f + "o_proj");
    put(to + ".mlp.router", from + ".mlp.router");
    out_.tensors.emplace(to + ".mlp.router.expert_bias", at(from + ".mlp.expert_bias"));
    for (std::uint64_t e = 0; e < out_.spec.moe.n_routed_experts; ++e) {
      const std::string expert = ".mlp.experts." + std::to_string(e);
      put_mlp(to + expert, from + expert);
    }
    if (out_.spec.moe.shared.intermediate_size > 0) {
      put_mlp(to + ".mlp.shared", from + ".mlp.shared_expert");
    }
  }
  void tensors() {
    put("embed", "wte");
    put("positions", "wpe");
    put("norm", "ln_f");
    for (std::uint64_t l = 0; l < out_.spec.num_hidden_layers; ++l) {
      const std::string to = "layers." + std::to_string(l), from = "h." + std::to_string(l);
      put(to + ".attn_norm", from + ".ln_1");
      put(to + ".mlp_norm", from + ".ln_2");
      block(to, from);
    }
    for (std::uint64_t m = 0; m < out_.spec.num_nextn_predict_layers; ++m) {
      const std::string to = "mtp." + std::to_string(m), from = "mtp_heads." + std::to_string(m);
      put(to + ".prev_norm", from + ".norm1");
      put(to + ".embed_norm", from + ".norm2");
      put(to + ".combine", from + ".combine_proj");
      put(to + ".block.attn_norm", from + ".attn_norm");
      put(to + ".block.mlp_norm", from + ".mlp_norm");
      block(to + ".block", from);
    }
  }

  const Checkpoint& c_;
  std::uint64_t top_k_;
  CanonicalModel out_;
};

}  // namespace wb
