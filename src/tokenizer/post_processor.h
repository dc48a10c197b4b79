// The post-processor of tokenizer.json: the special tokens that a model expects around a text.
// Knows Sequence, TemplateProcessing (its form for a single text) and ByteLevel, which is about
// offsets and adds nothing; refuses every other type by name.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "tokenizer/json_node.h"

namespace wb {

class PostProcessor {
 public:
  // `known` says whether an id has a token; templates may name no other.
  using Known = std::function<bool(std::uint32_t id)>;
  static PostProcessor parse(const std::optional<JsonNode>& node, const Known& known);
  // `ids` of a text with the tokens that go before and behind it.
  std::vector<std::uint32_t> apply(std::vector<std::uint32_t> ids) const;

 private:
  void add(const JsonNode& node, const Known& known);
  void add_template(const JsonNode& node, const Known& known);
  // One entry per template, in order: what it puts before and behind.
  struct Frame {
    std::vector<std::uint32_t> before, behind;
  };
  std::vector<Frame> frames_;
};

}  // namespace wb
