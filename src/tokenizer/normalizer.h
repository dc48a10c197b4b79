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
  virtual void apply(std::string& text) const = 0;
};

class Normalizer {
 public:
  // Nothing, or null in the file: the text stays as it is.
  static Normalizer parse(const std::optional<JsonNode>& node);

  bool trivial() const { return steps_.empty(); }
  // `text` is well-formed UTF-8 and stays so.
  std::string apply(std::string text) const {
    for (const auto& step : steps_) step->apply(text);
    return text;
  }

 private:
  void add(const JsonNode& node);
  std::vector<std::shared_ptr<const NormalizerStep>> steps_;
};

}  // namespace wb
