// Added and special tokens: found in the text before anything else happens to it, longest
// first, and never cut. Owns their list and the two tries that find them: one on the text as
// given, one on the normalized text for tokens that say so.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/bpe.h"
#include "tokenizer/json_node.h"
#include "tokenizer/normalizer.h"

namespace wb {

struct AddedToken {
  std::uint32_t id = 0;
  std::string content;
  std::string surface;       // what is looked for: content, normalized where it says so
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and behind it
  bool normalized = false;
  bool special = false;
};

// A part of a text: an added token, or text for the model.
struct Segment {
  std::string_view text;
  const AddedToken* token;  // null: text
};

class AddedTokens {
 public:
  AddedTokens() = default;
  AddedTokens(AddedTokens&&) = default;  // not copied: the tries point into tokens_
  AddedTokens& operator=(AddedTokens&&) = default;

  // Refuses an id that model.vocab gives to another token, and contents or ids given twice.
  static AddedTokens parse(const std::optional<JsonNode>& node, const Normalizer& normalizer,
                           const Bpe& bpe);

  enum class Stage { as_given, normalized };
  // Appends the segments of `text`; special tokens count as text unless `find_special`.
  void split(std::string_view text, Stage stage, bool find_special,
             std::vector<Segment>& out) const;

  const AddedToken* by_id(std::uint32_t id) const;
  std::optional<std::uint32_t> id(std::string_view content) const;
  // The highest id, or 0 without tokens.
  std::uint32_t max_id() const { return tokens_.empty() ? 0 : tokens_.rbegin()->first; }

 private:
  // Finds, at a place in a text, the longest token that begins there.
  class Trie {
   public:
    Trie() : nodes_(1) {}
    bool empty() const { return nodes_.size() == 1; }
    // False when the surface is already there.
    bool insert(const AddedToken& token);
    // The first place from `from` on where a token begins, and the longest one there.
    const AddedToken* search(std::string_view text, std::size_t from, std::size_t& at) const;

   private:
    struct Node {
      std::vector<std::pair<std::uint8_t, std::uint32_t>> next;
      const AddedToken* token = nullptr;
    };
    std::uint32_t child(std::uint32_t node, std::uint8_t byte) const;  // 0: none
    std::vector<Node> nodes_;
    bool first_[256] = {};  // bytes that a token begins with
  };

  void add(const JsonNode& node, const Normalizer& normalizer, const Bpe& bpe);

  std::map<std::uint32_t, AddedToken> tokens_;
  TokenIds ids_;
  Trie given_, normalized_;
};

}  // namespace wb
