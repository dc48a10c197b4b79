// The normalizer of tokenizer.json: what is done to the text before anything else. Knows
// Sequence, Replace, Prepend and Strip. Unicode normal forms (NFC, NFKC, ...), Lowercase and
// the rest are refused by name: doing them nearly right would give wrong ids silently.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tokenizer/json_node.h"

namespace wb {

class NormalizerStep {
 public:
  virtual ~NormalizerStep() = default;
  // Throws Code::limit_exceeded before the text has more than `most` bytes.
  virtual void apply(std::string& text, std::size_t most) const = 0;
};

class Normalizer {
 public:
  // Nothing, or null in the file: the text stays as it is.
  static Normalizer parse(const std::optional<JsonNode>& node);

  // What a text of so many bytes may become: steps that make much of little, one behind the other,
  // would make more than any memory holds.
  static constexpr std::size_t most_bytes(std::size_t text) {
    constexpr std::size_t kFloor = std::size_t{1} << 20, kFactor = 64;
    return kFloor + kFactor * text;
  }

  bool trivial() const { return steps_.empty(); }
  // `text` is well-formed UTF-8 and stays so.
  std::string apply(std::string text) const {
    const std::size_t most = most_bytes(text.size());
    for (const auto& step : steps_) step->apply(text, most);
    return text;
  }

 private:
  void add(const JsonNode& node);
  std::vector<std::shared_ptr<const NormalizerStep>> steps_;
};

}  // namespace wb
