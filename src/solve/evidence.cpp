// See evidence.h.
#include "solve/evidence.h"

#include <algorithm>

#include "base/error.h"
#include "tensor/read.h"

namespace wb {

namespace {

const Tensor& need(const Checkpoint& file, const std::string& name) {
  if (const SourceTensor* found = file.find(name)) return found->tensor;
  throw Error(Code::tensor_missing, "the reference holds no tensor of this name")
      .file(file.path)
      .tensor(name)
      .advice("Export it with tools/export_reference.py: it writes tokens and logits.");
}

[[noreturn]] void wrong(const Checkpoint& file, const std::string& name, const std::string& wanted,
                        const Shape& found) {
  throw Error(Code::shape_mismatch, "the reference contradicts itself")
      .file(file.path)
      .tensor(name)
      .expected(wanted)
      .actual(to_string(found))
      .advice("Export it again with tools/export_reference.py.");
}

class Reader {
 public:
  Reader(const Checkpoint& file, Evidence& out) : file_(file), out_(out) {}

  void tokens(std::size_t most_sequences, std::size_t most_tokens) {
    const Tensor& t = need(file_, "tokens");
    const Shape& shape = t.shape();
    if ((shape.size() != 1 && shape.size() != 2) || t.numel() == 0) {
      wrong(file_, "tokens", "[sequences, tokens] or [tokens]", shape);
    }
    out_.all_sequences = shape.size() == 2 ? shape[0] : 1;
    out_.all_tokens = shape.back();
    out_.sequences = std::min(out_.all_sequences, most_sequences);
    out_.tokens = std::min(out_.all_tokens, most_tokens);
    const Tensor rows = t.reshape({out_.all_sequences, out_.all_tokens});
    for (std::size_t s = 0; s < out_.sequences; ++s) {
      std::vector<std::uint32_t> ids;
      for (float id : read_f32(rows.slice(0, s, s + 1).slice(1, 0, out_.tokens))) {
        if (!(id >= 0) || id >= 0x1p24f) {
          throw Error(Code::usage, "a token of the reference is negative or too large")
              .file(file_.path)
              .tensor("tokens")
              .advice("Export it from the model whose checkpoint is solved.");
        }
        ids.push_back(static_cast<std::uint32_t>(id));
      }
      out_.ids.push_back(std::move(ids));
    }
  }

  // Per sequence [tokens, width]; `width` is set, or held, to the last axis. Empty when the file
  // does not have it.
  std::vector<std::vector<float>> rows(const std::string& name, std::size_t& width) const {
    const SourceTensor* found = file_.find(name);
    if (found == nullptr) return {};
    Tensor t = found->tensor;
    if (t.shape().size() == 2 && out_.all_sequences == 1) {
      t = t.reshape({1, t.shape()[0], t.shape()[1]});
    }
    const Shape wanted{out_.all_sequences, out_.all_tokens,
                       width > 0 || t.shape().empty() ? width : t.shape().back()};
    if (t.shape() != wanted || wanted[2] == 0) wrong(file_, name, to_string(wanted), t.shape());
    width = wanted[2];
    std::vector<std::vector<float>> out;
    for (std::size_t s = 0; s < out_.sequences; ++s) {
      out.push_back(read_f32(t.slice(0, s, s + 1).slice(1, 0, out_.tokens)));
    }
    return out;
  }

 private:
  const Checkpoint& file_;
  Evidence& out_;
};

}  // namespace

Evidence read_evidence(const Checkpoint& file, std::size_t most_sequences,
                       std::size_t most_tokens) {
  Evidence out;
  Reader reader(file, out);
  reader.tokens(most_sequences, most_tokens);
  need(file, "logits");
  out.logits = reader.rows("logits", out.vocab);
  for (const auto& [name, into] : {std::pair("hidden.", &out.hidden), {"middle.", &out.middle}}) {
    while (true) {
      auto layer = reader.rows(name + std::to_string(into->size()), out.hidden_size);
      if (layer.empty()) break;
      into->push_back(std::move(layer));
    }
  }
  return out;
}

}  // namespace wb
