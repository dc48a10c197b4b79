// Hand-made canonical models for the tests of target/: small ones with random values
// that the test also holds as plain arrays, and big ones whose tensors take no memory.
#pragma once

#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "model/canonical.h"
#include "target/target.h"
#include "tensor/read.h"

namespace wb::test {

// The reference layout's arithmetic (docs/recipes.md) at a size of one's choice.
struct Size {
  std::uint64_t layers = 2, hidden = 12, heads = 3, vocab = 10, block = 7, kv_rank = 5, q_rank = 6,
                rope = 2, experts = 3, top_k = 2, routed = 4, shared = 6, mtp = 1;
  bool bias = true;
};

inline ModelSpec reference_spec(const Size& z) {
  ModelSpec s;
  s.vocab_size = z.vocab;
  s.hidden_size = z.hidden;
  s.num_hidden_layers = z.layers;
  s.max_position_embeddings = z.block;
  s.positions = Positions::learned;
  s.tie_word_embeddings = true;
  s.norm.eps_outside_root = true;
  AttentionSpec& a = s.attention;
  a.num_attention_heads = z.heads;
  a.q_lora_rank = z.q_rank;
  a.kv_lora_rank = z.kv_rank;
  a.qk_nope_head_dim = a.v_head_dim = z.hidden / z.heads;
  a.qk_rope_head_dim = z.rope;
  a.kv_norm.eps_outside_root = true;
  a.rope_keys = RopeKeys::per_head;
  a.o_bias = z.bias;
  s.moe.n_routed_experts = z.experts;
  s.moe.routed.intermediate_size = z.routed;
  s.moe.shared.intermediate_size = z.shared;
  s.moe.routed.bias = z.bias;
  s.moe.shared.bias = z.bias && z.shared > 0;
  s.router.expert_bias = ExpertBias::logits;
  s.router.num_experts_per_tok = z.top_k;
  s.num_nextn_predict_layers = z.mtp;
  s.mtp_combine_bias = z.bias && z.mtp > 0;
  return s;
}

// A published-style spec: shared interleaved rope key, sigmoid router, everything that the
// stock class has.
inline ModelSpec published_spec() {
  ModelSpec s = reference_spec({});
  s.positions = Positions::none;
  s.tie_word_embeddings = false;
  s.norm.eps_outside_root = false;
  s.rope.layout = RopeLayout::interleaved;
  AttentionSpec& a = s.attention;
  a.rope_keys = RopeKeys::shared;
  a.kv_norm.eps_outside_root = false;
  a.q_norm.kind = NormKind::rms;
  a.o_bias = false;
  s.moe.routed.bias = s.moe.shared.bias = false;
  s.moe.first_k_dense_replace = 1;
  s.dense.intermediate_size = 9;
  s.router.score = RouterScore::sigmoid;
  s.router.expert_bias = ExpertBias::selection;
  s.router.norm_topk_prob = true;
  s.router.norm_eps = 1e-20;
  s.router.routed_scaling_factor = 2.5;
  s.mtp_combine_bias = false;
  return s;
}

inline std::string source_name(const std::string& canonical) { return "src/" + canonical; }

// Row-major values with their shape.
struct Array {
  Shape shape;
  std::vector<float> data;
  float at(std::initializer_list<std::uint64_t> index) const {
    std::uint64_t flat = 0, axis = 0;
    for (std::uint64_t i : index) flat = flat * shape.at(axis++) + i;
    return data.at(flat);
  }
};

struct Made {
  CanonicalModel model;
  std::map<std::string, Array> arrays;
  const Array& operator[](const std::string& name) const { return arrays.at(name); }
};

// Every tensor with values of its own, source names "src/<canonical>". With real_values
// false all elements are one stored zero: shapes and sizes without memory.
inline Made make_model(const ModelSpec& spec, bool real_values = true, DType dtype = DType::F32) {
  Made made;
  made.model.spec = spec;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (const CanonicalTensor& t : canonical_tensors(spec)) {
    std::string source = source_name(t.name);
    Tensor tensor;
    if (real_values) {
      Array array{t.shape, std::vector<float>(numel(t.shape))};
      // As layers are initialised: by the root of their inputs; vectors near 1.
      float scale = 1.0f / std::sqrt(static_cast<float>(t.shape.back()));
      for (float& x : array.data) {
        x = t.shape.size() > 1 ? scale * normal(random) : 1.0f + 0.2f * normal(random);
      }
      tensor = Tensor::values(source, array.data, t.shape);
      made.arrays[t.name] = array;
      if (dtype != DType::F32) tensor = tensor.cast(dtype);
    } else {
      auto storage = memory_storage(std::vector<std::byte>(item_size(dtype)));
      tensor = Tensor::stored(source, storage, dtype, t.shape, 0,
                              std::vector<std::uint64_t>(t.shape.size(), 0));
    }
    made.model.account.push_back({source, Fate::used, t.name, tensor.nbytes()});
    made.model.tensors.emplace(t.name, tensor);
  }
  return made;
}

inline const TargetTensor& find(const std::vector<TargetTensor>& tensors, const std::string& name) {
  for (const TargetTensor& t : tensors) {
    if (t.name == name) return t;
  }
  throw std::runtime_error("no tensor " + name);
}
inline Array values_of(const LoweredModel& lowered, const std::string& name) {
  const Tensor& tensor = find(lowered.tensors, name).tensor;
  return {tensor.shape(), read_f32(tensor)};
}
inline bool has(const std::vector<TargetTensor>& tensors, const std::string& name) {
  for (const TargetTensor& t : tensors) {
    if (t.name == name) return true;
  }
  return false;
}
inline std::uint64_t bytes_of(const std::vector<TargetTensor>& tensors) {
  std::uint64_t sum = 0;
  for (const TargetTensor& t : tensors) sum += t.tensor.nbytes();
  return sum;
}
inline std::uint64_t entries_of(const std::vector<TargetTensor>& tensors, bool made_up) {
  std::uint64_t sum = 0;
  for (const TargetTensor& t : tensors) sum += t.made_up == made_up ? t.entries : 0;
  return sum;
}
inline const AccountLine& account_of(const LoweredModel& lowered, const std::string& canonical) {
  for (const AccountLine& line : lowered.account) {
    if (line.source == source_name(canonical)) return line;
  }
  throw std::runtime_error("no account of " + canonical);
}

inline Size reference_size() {
  return {8, 512, 8, 50257, 1024, 128, 192, 32, 8, 2, 512, 768, 1, true};
}

}  // namespace wb::test
