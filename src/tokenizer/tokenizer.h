// Text to token ids and back, from a tokenizer.json, as Hugging Face's tokenizers define it:
// added tokens, normalizer, pre-tokenizer, BPE, post-processor, decoder. Owns the whole
// tokenizer, immutable after loading and shared by copies; every member is safe from several
// threads. Refuses, naming it, every component that it would not compute exactly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace wb {

struct EncodeOptions {
  // Put the post-processor's tokens (such as the beginning of text) around the ids. Off is what
  // the text alone gives: add_special_tokens=False.
  bool add_special = false;
  // Whether a special token's text stands for that token. Off for text from people who must not
  // be able to write control tokens; it is then cut like any other text.
  bool find_special = true;
};

class Tokenizer {
 public:
  // Reads `path`, a tokenizer.json. Throws Code::file_open; Code::config_invalid with the path of
  // the offending key for what is malformed or not supported; Code::limit_exceeded.
  static Tokenizer load(const std::string& path);
  // The same from memory; `name` stands for the file in messages.
  static Tokenizer parse(std::string_view json, const std::string& name);

  // Ids of `text`. Ill-formed UTF-8 is read as U+FFFD, one for each maximal ill-formed part, as
  // in Python's errors='replace'. Throws Code::limit_exceeded for 2 GiB or more, or when a
  // regular expression of the file backtracks without end on this text.
  std::vector<std::uint32_t> encode(std::string_view text, EncodeOptions options = {}) const;

  // The bytes that `ids` stand for; with byte-level models not necessarily whole characters.
  // Ids that no token has stand for nothing, as in Hugging Face's tokenizers (a model's
  // vocab_size is often rounded up).
  std::string decode(std::span<const std::uint32_t> ids, bool skip_special = false) const;

  // The id of the token that is written `name` in the file: a model's token in its own spelling
  // ("Ġthe"), or an added token's content.
  std::optional<std::uint32_t> token_id(std::string_view name) const;
  // The inverse; nothing for an id that no token has.
  std::optional<std::string> token_name(std::uint32_t id) const;
  // What decode gives for this id alone; empty for an id that no token has.
  std::string token_bytes(std::uint32_t id) const;
  bool is_special(std::uint32_t id) const;
  // One more than the highest id: what the model's own vocab_size has to reach.
  std::size_t vocab_size() const;

 private:
  friend class StreamDecoder;
  struct Parts;
  explicit Tokenizer(std::shared_ptr<const Parts> parts) : parts_(std::move(parts)) {}
  std::shared_ptr<const Parts> parts_;
};

// Decodes ids as they arrive. What comes out is always valid UTF-8 and never ends inside a
// character; bytes that cannot become one leave as U+FFFD. All of it together is decode's
// result with ill-formed parts replaced. One stream, one thread.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = false);
  ~StreamDecoder();
  StreamDecoder(StreamDecoder&&) noexcept;
  StreamDecoder& operator=(StreamDecoder&&) noexcept;

  // The characters that `id` completes; often none while a character is in the making.
  std::string push(std::uint32_t id);
  // The rest. The decoder then stands at the beginning of a new text.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace wb
