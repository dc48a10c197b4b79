// The decoder of tokenizer.json: from token names to text, one token at a time. Knows Sequence,
// ByteLevel, ByteFallback, Fuse, Replace and Strip, and refuses every other type by name, and
// an order of steps that could not be done while tokens still arrive. Decoding a whole list and
// decoding a stream run the same steps, so the two agree.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/json_node.h"

namespace wb {

// What a step remembers between tokens; which fields it uses is the step's affair.
struct DecodeState {
  std::string held;
  std::size_t count = 0;
  bool begun = false;
};
class DecodeRun;

// Where a step puts what it makes: the step behind it, or the text.
class DecodeSink {
 public:
  DecodeSink(DecodeRun& run, std::size_t next, std::string& out)
      : run_(run), next_(next), out_(out) {}
  void operator()(std::string_view piece) const;

 private:
  DecodeRun& run_;
  std::size_t next_;
  std::string& out_;
};

class DecodeStep {
 public:
  virtual ~DecodeStep() = default;
  virtual void push(DecodeState& state, std::string_view token, const DecodeSink& out) const = 0;
  virtual void finish(DecodeState&, const DecodeSink&) const {}
};

class TokenDecoder {
 public:
  // Nothing, or null in the file: the tokens as they are, with a space between.
  static TokenDecoder parse(const std::optional<JsonNode>& node);

 private:
  friend class DecodeRun;
  void add(const JsonNode& node);
  void add_step(const JsonNode& node, const std::string& type);
  std::vector<std::shared_ptr<const DecodeStep>> steps_;
  std::vector<std::shared_ptr<const DecodeStep>> eager_steps_;  // the same, for an eager run
  // While parsing: what the steps so far have made of the tokens.
  enum class Shape { tokens, text, bytes } shape_ = Shape::tokens;
};

// A decoding under way: what to keep between calls of push.
class DecodeRun {
 public:
  // With `eager`, byte-fallback characters leave as soon as they are whole. Without, a run of
  // byte tokens leaves when it ends, and is all U+FFFD when any of it is ill-formed, as in
  // Hugging Face's tokenizers. The two differ only on ill-formed runs.
  DecodeRun(const TokenDecoder& decoder, bool eager);
  // Appends to `out` the bytes that `token` makes certain. They need not end with a character.
  void push(std::string_view token, std::string& out) { feed(0, token, out); }
  void finish(std::string& out);

 private:
  friend class DecodeSink;
  void feed(std::size_t step, std::string_view token, std::string& out);
  std::vector<std::shared_ptr<const DecodeStep>> steps_;
  std::vector<DecodeState> states_;
};

}  // namespace wb
