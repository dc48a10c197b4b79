// Checkpoints in the layout of the reference implementation, made in memory at any
// size. The values of a tensor follow from its name alone, so that a test can say
// what any element should be without asking the code under test.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace wb::test {

struct ReferenceSizes {
  std::uint64_t vocab = 11, block = 6, layers = 2, hidden = 8, heads = 2, kv_rank = 3, q_rank = 5,
                rope = 4, experts = 3, routed = 7, shared = 9, mtp = 1, head_dim = 4;
  bool bias = true, use_shared = true, untied_head = false, head = true;
};

// Element i of the tensor `name`: distinct, small and exact in f32.
inline float element(const std::string& name, std::uint64_t i) {
  std::uint32_t h = 2166136261u;
  for (char c : name) h = (h ^ static_cast<unsigned char>(c)) * 16777619u;
  h ^= static_cast<std::uint32_t>(i) * 2654435761u;
  h = (h ^ (h >> 15)) * 2246822519u;
  return static_cast<float>(static_cast<std::int32_t>((h >> 12) & 0xfffffu) - 0x80000) / 65536.0f;
}

class CheckpointMaker {
 public:
  CheckpointMaker() {
    checkpoint_.path = kFile;
    checkpoint_.container = Container::torch_zip;
  }
  // f32 with the given values; `file_name` is the name in the file.
  CheckpointMaker& add(const std::string& file_name, Shape shape,
                       const std::function<float(std::uint64_t)>& value) {
    std::uint64_t n = numel(shape);
    std::vector<std::byte> bytes(n * 4);
    for (std::uint64_t i = 0; i < n; ++i) {
      float v = value(i);
      std::memcpy(bytes.data() + 4 * i, &v, 4);
    }
    return raw(file_name, DType::F32, std::move(shape), std::move(bytes));
  }
  CheckpointMaker& raw(const std::string& file_name, DType dtype, Shape shape,
                       std::vector<std::byte> bytes) {
    Tensor tensor =
        Tensor::stored(file_name, memory_storage(std::move(bytes)), dtype, std::move(shape));
    checkpoint_.tensors.push_back({file_name, tensor, kFile, next_storage_++});
    return *this;
  }
  // Another name for the same storage.
  CheckpointMaker& view(const std::string& file_name, const std::string& of) {
    SourceTensor copy = *find(of);
    copy.name = file_name;
    checkpoint_.tensors.push_back(std::move(copy));
    return *this;
  }
  CheckpointMaker& remove(const std::string& name) {
    std::erase_if(checkpoint_.tensors, [&](const SourceTensor& t) { return t.name == name; });
    return *this;
  }
  CheckpointMaker& rename(const std::function<std::string(const std::string&)>& to) {
    for (SourceTensor& t : checkpoint_.tensors) t.name = to(t.name);
    return *this;
  }
  CheckpointMaker& fact(const std::string& path, nlohmann::json value) {
    checkpoint_.facts[path] = std::move(value);
    return *this;
  }
  CheckpointMaker& config(nlohmann::json value) {
    checkpoint_.config = std::move(value);
    return *this;
  }
  SourceTensor* find(const std::string& name) {
    for (SourceTensor& t : checkpoint_.tensors) {
      if (t.name == name) return &t;
    }
    return nullptr;
  }
  Checkpoint make() {
    std::sort(checkpoint_.tensors.begin(), checkpoint_.tensors.end(),
              [](const SourceTensor& a, const SourceTensor& b) { return a.name < b.name; });
    return checkpoint_;
  }

 private:
  // Tensors name their file by a view: it must outlive the maker.
  static constexpr std::string_view kFile = "model.pt";
  Checkpoint checkpoint_;
  std::uint64_t next_storage_ = 0;
};

// By the table of the source layout (docs/recipes.md).
inline CheckpointMaker reference_layout(const ReferenceSizes& s = {}) {
  CheckpointMaker out;
  auto plain = [&](const std::string& name, Shape shape) {
    out.add(name, std::move(shape), [name](std::uint64_t i) { return element(name, i); });
  };
  auto linear = [&](const std::string& name, std::uint64_t rows, std::uint64_t columns, bool bias) {
    plain(name + ".weight", {rows, columns});
    if (bias) plain(name + ".bias", {rows});
  };
  auto network = [&](const std::string& name, std::uint64_t width) {
    linear(name + ".gate_proj", width, s.hidden, s.bias);
    linear(name + ".up_proj", width, s.hidden, s.bias);
    linear(name + ".down_proj", s.hidden, width, s.bias);
  };
  auto block = [&](const std::string& b) {
    out.add(b + ".attn.causal_mask", {1, 1, s.block, s.block},
            [&](std::uint64_t i) { return i % s.block <= i / s.block ? 1.0f : 0.0f; });
    linear(b + ".attn.kv_proj", s.kv_rank, s.hidden, false);
    plain(b + ".attn.kv_norm.weight", {s.kv_rank});
    linear(b + ".attn.k_decompress", s.heads * s.head_dim, s.kv_rank, false);
    linear(b + ".attn.v_decompress", s.heads * s.head_dim, s.kv_rank, false);
    linear(b + ".attn.q_proj", s.q_rank, s.hidden, false);
    linear(b + ".attn.q_decompress", s.heads * s.head_dim, s.q_rank, false);
    linear(b + ".attn.k_rope_proj", s.heads * s.rope, s.hidden, false);
    linear(b + ".attn.q_rope_proj", s.heads * s.rope, s.q_rank, false);
    linear(b + ".attn.o_proj", s.hidden, s.heads * s.head_dim, s.bias);
    out.add(b + ".attn.rope.inv_freq", {s.rope / 2}, [&](std::uint64_t j) {
      // As the implementation computes it, in f32.
      float exponent = static_cast<float>(2 * j) / static_cast<float>(s.rope);
      return 1.0f / std::pow(10000.0f, exponent);
    });
    linear(b + ".mlp.router", s.experts, s.hidden, false);
    plain(b + ".mlp.expert_bias", {s.experts});
    for (std::uint64_t e = 0; e < s.experts; ++e) {
      network(b + ".mlp.experts." + std::to_string(e), s.routed);
    }
    if (s.use_shared) network(b + ".mlp.shared_expert", s.shared);
  };
  plain("wte.weight", {s.vocab, s.hidden});
  plain("wpe.weight", {s.block, s.hidden});
  for (std::uint64_t l = 0; l < s.layers; ++l) {
    std::string b = "h." + std::to_string(l);
    plain(b + ".ln_1.weight", {s.hidden});
    plain(b + ".ln_2.weight", {s.hidden});
    block(b);
  }
  plain("ln_f.weight", {s.hidden});
  if (s.head && s.untied_head) plain("lm_head.weight", {s.vocab, s.hidden});
  if (s.head && !s.untied_head) out.view("lm_head.weight", "wte.weight");
  for (std::uint64_t m = 0; m < s.mtp; ++m) {
    std::string b = "mtp_heads." + std::to_string(m);
    for (const char* norm : {"norm1", "norm2", "attn_norm", "mlp_norm"}) {
      plain(b + "." + norm + ".weight", {s.hidden});
    }
    linear(b + ".combine_proj", s.hidden, 2 * s.hidden, s.bias);
    block(b);
  }
  return out;
}

}  // namespace wb::test
