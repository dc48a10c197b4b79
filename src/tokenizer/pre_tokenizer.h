// The pre-tokenizer of tokenizer.json: cuts a text into the pieces that the model encodes one
// by one. Knows Sequence, ByteLevel, Split and Digits; refuses every other type by name.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/json_node.h"

namespace wb {

// Pieces of a text, in order. Views into the text, or into `owned` where a step changed it.
struct Pieces {
  std::vector<std::string_view> views;
  std::deque<std::string> owned;
};

class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  virtual void apply(Pieces& pieces) const = 0;
};

class PreTokenizer {
 public:
  // Nothing, or null in the file: the whole text is one piece.
  static PreTokenizer parse(const std::optional<JsonNode>& node);

  // Cuts every piece further.
  void apply(Pieces& pieces) const {
    for (const auto& step : steps_) step->apply(pieces);
  }
  // Whether the pieces are bytes that the model has to see through GPT-2's alphabet. So it is
  // when ByteLevel comes last: writing the alphabet out, to read it again, would be wasted.
  bool gives_bytes() const { return gives_bytes_; }

 private:
  void add(const JsonNode& node);
  std::vector<std::shared_ptr<const PreTokenizerStep>> steps_;
  bool gives_bytes_ = false;
  int alphabets_ = 0;  // steps that write the alphabet out
};

}  // namespace wb
