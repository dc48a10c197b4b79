// Reading added tokens and finding them in a text; see added_tokens.h.
#include "tokenizer/added_tokens.h"

#include <algorithm>

#include "tokenizer/char_classes.h"
#include "tokenizer/utf8.h"

namespace wb {

bool AddedTokens::Trie::insert(const AddedToken& token) {
  std::uint32_t node = 0;
  for (char c : token.surface) {
    auto byte = static_cast<std::uint8_t>(c);
    std::uint32_t below = child(node, byte);
    if (below == 0) {
      below = static_cast<std::uint32_t>(nodes_.size());
      nodes_.emplace_back();
      nodes_[node].next.emplace_back(byte, below);
    }
    node = below;
  }
  first_[static_cast<std::uint8_t>(token.surface[0])] = true;
  if (nodes_[node].token != nullptr) return false;
  nodes_[node].token = &token;
  return true;
}

std::uint32_t AddedTokens::Trie::child(std::uint32_t node, std::uint8_t byte) const {
  for (const auto& [key, below] : nodes_[node].next)
    if (key == byte) return below;
  return 0;
}

const AddedToken* AddedTokens::Trie::search(std::string_view text, std::size_t from,
                                            std::size_t& at) const {
  if (empty()) return nullptr;
  for (at = from; at < text.size(); ++at) {
    if (!first_[static_cast<std::uint8_t>(text[at])]) continue;
    const AddedToken* longest = nullptr;
    std::uint32_t node = 0;
    for (std::size_t i = at; i < text.size(); ++i) {
      node = child(node, static_cast<std::uint8_t>(text[i]));
      if (node == 0) break;
      if (nodes_[node].token != nullptr) longest = nodes_[node].token;
    }
    if (longest != nullptr) return longest;
  }
  return nullptr;
}

AddedTokens AddedTokens::parse(const std::optional<JsonNode>& node, const Normalizer& normalizer,
                               const Bpe& bpe) {
  AddedTokens added;
  if (!node) return added;
  for (std::size_t i = 0, n = node->array_size(); i < n; ++i)
    added.add(node->element(i), normalizer, bpe);
  return added;
}

void AddedTokens::add(const JsonNode& node, const Normalizer& normalizer, const Bpe& bpe) {
  node.only({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
  AddedToken token;
  token.id = node.at("id").u32();
  check_token_id(token.id, node.at("id"));
  token.content = node.at("content").string();
  token.single_word = node.at("single_word").boolean();
  token.lstrip = node.at("lstrip").boolean();
  token.rstrip = node.at("rstrip").boolean();
  token.normalized = node.at("normalized").boolean();
  token.special = node.at("special").boolean();
  token.surface = token.normalized ? normalizer.apply(token.content) : token.content;
  if (token.content.empty() || token.surface.empty())
    node.at("content").fail("the token is empty" +
                            std::string(token.content.empty() ? "" : " once normalized"));
  auto in_model = bpe.id(token.content);
  if (in_model && *in_model != token.id)
    node.at("id").fail("\"" + token.content + "\" has the id " + std::to_string(*in_model) +
                       " in model.vocab, and " + std::to_string(token.id) + " here");
  auto holder = bpe.token(token.id);
  if (holder && *holder != token.content)
    node.at("id").fail("the id " + std::to_string(token.id) + " of \"" + token.content +
                       "\" is \"" + std::string(*holder) + "\" in model.vocab");
  if (!ids_.emplace(token.content, token.id).second)
    node.at("content").fail("\"" + token.content + "\" is listed twice");
  auto [it, fresh] = tokens_.emplace(token.id, std::move(token));
  if (!fresh) node.at("id").fail("the id " + std::to_string(it->first) + " is listed twice");
  Trie& trie = it->second.normalized ? normalized_ : given_;
  if (!trie.insert(it->second))
    node.at("content").fail("another token is \"" + it->second.surface + "\" once normalized");
}

namespace {

bool is_word(char32_t code) { return CharClasses::get().has(code, CharClasses::kWord); }
bool is_space(char32_t code) { return CharClasses::get().has(code, CharClasses::kSpace); }

// Where the character that ends at `end` begins.
std::size_t character_before(std::string_view text, std::size_t end) {
  std::size_t pos = end - 1;
  while (pos > 0 && (static_cast<unsigned char>(text[pos]) & 0xC0) == 0x80) --pos;
  return pos;
}

bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) {
  if (begin > 0 && is_word(utf8::step(text, character_before(text, begin)).code)) return false;
  return end == text.size() || !is_word(utf8::step(text, end).code);
}

std::size_t spaces_before(std::string_view text, std::size_t begin, std::size_t not_before) {
  while (begin > not_before) {
    std::size_t pos = character_before(text, begin);
    if (!is_space(utf8::step(text, pos).code)) break;
    begin = pos;
  }
  return begin;
}

std::size_t spaces_behind(std::string_view text, std::size_t end) {
  while (end < text.size()) {
    utf8::Step s = utf8::step(text, end);
    if (!is_space(s.code)) break;
    end += s.length;
  }
  return end;
}

}  // namespace

void AddedTokens::split(std::string_view text, Stage stage, bool find_special,
                        std::vector<Segment>& out) const {
  const Trie& trie = stage == Stage::as_given ? given_ : normalized_;
  std::size_t done = 0;  // text before this is in `out`
  std::size_t at = 0;
  for (std::size_t from = 0; const AddedToken* token = trie.search(text, from, at);) {
    std::size_t begin = at, end = at + token->surface.size();
    from = end;
    if (token->special && !find_special) continue;
    if (token->single_word && !stands_alone(text, begin, end)) continue;
    // An rstrip before may have taken this place already (a token made of white space).
    if (begin < done) continue;
    if (token->lstrip) begin = spaces_before(text, begin, done);
    if (token->rstrip) end = spaces_behind(text, end);
    if (begin > done) out.push_back({text.substr(done, begin - done), nullptr});
    out.push_back({text.substr(begin, end - begin), token});
    done = end;
  }
  if (done < text.size()) out.push_back({text.substr(done), nullptr});
}

const AddedToken* AddedTokens::by_id(std::uint32_t id) const {
  auto it = tokens_.find(id);
  return it == tokens_.end() ? nullptr : &it->second;
}

std::optional<std::uint32_t> AddedTokens::id(std::string_view content) const {
  auto it = ids_.find(content);
  if (it == ids_.end()) return std::nullopt;
  return it->second;
}

}  // namespace wb
