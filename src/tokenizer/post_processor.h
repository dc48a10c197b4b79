// The post-processor of tokenizer.json: the special tokens that a model expects around a text.
// Knows Sequence, TemplateProcessing (its form for a single text) and ByteLevel, which is about
// offsets and adds nothing; refuses every other type by name.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tokenizer/json_node.h"

namespace wb {

class PostProcessor {
 public:
  static PostProcessor parse(const std::optional<JsonNode>& node);
  // `ids` of a text with the tokens that go before and behind it.
  std::vector<std::uint32_t> apply(std::vector<std::uint32_t> ids) const;

 private:
  void add(const JsonNode& node);
  void add_template(const JsonNode& node);
  // One entry per template, in order: what it puts before and behind.
  struct Frame {
    std::vector<std::uint32_t> before, behind;
  };
  std::vector<Frame> frames_;
};

}  // namespace wb
