// The BPE model of tokenizer.json: vocabulary, ranked merges, and the encoding of one piece.
// Owns the vocabulary in both directions. Refuses what would make ids random or ambiguous:
// dropout, two tokens with one id, merges whose parts or result are no tokens; and, by name,
// continuing_subword_prefix and end_of_word_suffix, which byte-level models leave empty.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/json_node.h"
#include "tokenizer/merge_table.h"

namespace wb {

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
};
using TokenIds = std::unordered_map<std::string, std::uint32_t, StringHash, std::equal_to<>>;

// Ids above this are refused (Code::limit_exceeded): the tables are as long as the highest id.
inline constexpr std::uint32_t kMaxTokenId = (1U << 22) - 1;
void check_token_id(std::uint32_t id, const JsonNode& where);

class Bpe {
 public:
  Bpe(Bpe&&) = default;  // not copied: by_id_ points into ids_
  Bpe& operator=(Bpe&&) = default;

  // `byte_pieces`: pieces are raw bytes to be seen through GPT-2's alphabet (PreTokenizer::
  // gives_bytes); otherwise they are UTF-8 text in the characters of the vocabulary.
  static Bpe parse(const JsonNode& node, bool byte_pieces);

  // Appends the ids of `piece`. As in Hugging Face's tokenizers a character that is no token
  // becomes its bytes' tokens (byte_fallback), or unk_token, or, without either, nothing.
  void encode(std::string_view piece, std::vector<std::uint32_t>& out) const;

  std::optional<std::uint32_t> id(std::string_view token) const;
  // The token's name as in the vocabulary; nothing for an id that has none.
  std::optional<std::string_view> token(std::uint32_t id) const;
  std::uint32_t max_id() const { return static_cast<std::uint32_t>(by_id_.size()) - 1; }

 private:
  Bpe() = default;
  void read_vocab(const JsonNode& node);
  void read_merges(const JsonNode& node);
  void read_merge(const JsonNode& node, std::size_t index, std::uint32_t rank, std::string& joined);
  void read_options(const JsonNode& node);
  void prepare_bytes();
  void symbols_of_bytes(std::string_view piece, std::vector<std::uint32_t>& out) const;
  void symbols_of_text(std::string_view piece, std::vector<std::uint32_t>& out) const;

  static constexpr std::uint32_t kNone = 0xFFFFFFFF;
  bool byte_pieces_ = false;
  bool byte_fallback_ = false, fuse_unk_ = false, ignore_merges_ = false;
  std::uint32_t unk_ = kNone;
  TokenIds ids_;
  std::vector<const std::string*> by_id_;      // keys of ids_; null where an id has no token
  std::array<std::uint32_t, 256> byte_ids_{};  // id of each byte's character in the alphabet
  std::array<std::uint32_t, 256> fallback_{};  // id of <0x00> to <0xFF>
  bool all_bytes_known_ = false;
  TokenIds whole_;  // with ignore_merges and byte pieces: tokens by the bytes they stand for
  MergeTable merges_;
};

}  // namespace wb
