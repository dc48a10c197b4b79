// Reading the model and encoding a piece; see bpe.h.
#include "tokenizer/bpe.h"

#include <fmt/format.h>

#include "base/error.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/utf8.h"

namespace wb {

void check_token_id(std::uint32_t id, const JsonNode& where) {
  if (id <= kMaxTokenId) return;
  throw Error(Code::limit_exceeded, where.path() + ": the token id is too high")
      .file(where.file())
      .expected("at most " + std::to_string(kMaxTokenId))
      .actual(std::to_string(id))
      .advice("No known vocabulary is that large; get tokenizer.json again from its author.");
}

Bpe Bpe::parse(const JsonNode& node, bool byte_pieces) {
  node.only({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
             "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  // Old files leave the type out; vocab and merges then say that it is BPE.
  if (node.find("type") && node.type() != "BPE") node.refuse_type("model", "BPE");
  Bpe bpe;
  bpe.byte_pieces_ = byte_pieces;
  bpe.read_vocab(node.at("vocab"));
  bpe.read_options(node);
  bpe.read_merges(node.at("merges"));
  bpe.prepare_bytes();
  return bpe;
}

void Bpe::read_vocab(const JsonNode& node) {
  node.require_object();
  const auto& vocab = node.value();
  if (vocab.empty()) node.fail("the vocabulary is empty");
  ids_.reserve(vocab.size());
  by_id_.reserve(vocab.size());
  for (auto entry = vocab.begin(); entry != vocab.end(); ++entry) {
    const std::string& name = entry.key();
    const auto& value = entry.value();
    if (!value.is_number_integer()) node.at(name.c_str()).u32();  // throws, naming the key
    std::int64_t number = value.get<std::int64_t>();
    if (number < 0 || number > kMaxTokenId)
      check_token_id(node.at(name.c_str()).u32(), node.at(name.c_str()));
    auto id = static_cast<std::size_t>(number);
    if (id >= by_id_.size()) by_id_.resize(id + 1, nullptr);
    if (by_id_[id] != nullptr)
      node.fail(fmt::format("two tokens have the id {}: \"{}\" and \"{}\"", id, *by_id_[id], name));
    by_id_[id] = &ids_.emplace(name, static_cast<std::uint32_t>(id)).first->first;
  }
}

void Bpe::read_options(const JsonNode& node) {
  if (auto dropout = node.find("dropout")) {
    if (!dropout->value().is_number()) dropout->fail("must be a number or null");
    if (dropout->value().get<double>() != 0)
      dropout->fail("is " + dropout->value().dump() +
                    ": with dropout the same text has different ids each time, so only 0 or null "
                    "is taken");
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (auto affix = node.find(key); affix && !affix->string().empty())
      affix->fail("is \"" + affix->string() + "\"; only an empty one is supported");
  byte_fallback_ = node.boolean_or("byte_fallback", false);
  fuse_unk_ = node.boolean_or("fuse_unk", false);
  ignore_merges_ = node.boolean_or("ignore_merges", false);
  if (auto unk = node.find("unk_token")) {
    auto unk_id = id(unk->string());
    if (!unk_id) unk->fail("\"" + unk->string() + "\" is not in model.vocab");
    unk_ = *unk_id;
  }
}

void Bpe::read_merges(const JsonNode& node) {
  std::size_t count = node.array_size();
  merges_.reserve(count);
  std::string joined;
  std::uint32_t rank = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto& entry = node.value()[i];
    // Files converted from merges.txt may carry its first line; it has no rank.
    if (entry.is_string() && entry.get_ref<const std::string&>().starts_with("#version")) continue;
    read_merge(node, i, rank++, joined);
  }
}

// There are as many merges as tokens, so a node with its path is made only for a message.
void Bpe::read_merge(const JsonNode& node, std::size_t index, std::uint32_t rank,
                     std::string& joined) {
  const auto& entry = node.value()[index];
  std::string_view left, right;
  if (entry.is_string()) {
    std::string_view line = entry.get_ref<const std::string&>();
    std::size_t space = line.find(' ');
    if (space == line.npos || line.find(' ', space + 1) != line.npos)
      node.element(index).fail("must be two tokens with one space between, is \"" +
                               std::string(line) + "\"");
    left = line.substr(0, space), right = line.substr(space + 1);
  } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() &&
             entry[1].is_string()) {
    left = entry[0].get_ref<const std::string&>(), right = entry[1].get_ref<const std::string&>();
  } else {
    node.element(index).fail("must be a string or a pair of strings");
  }
  joined.assign(left).append(right);
  std::uint32_t ids[3];
  std::string_view names[3] = {left, right, joined};
  for (int i = 0; i < 3; ++i) {
    auto it = ids_.find(names[i]);
    if (it == ids_.end())
      node.element(index).fail("the token \"" + std::string(names[i]) + "\" is not in model.vocab");
    ids[i] = it->second;
  }
  merges_.set(ids[0], ids[1], {rank, ids[2]});
}

void Bpe::prepare_bytes() {
  all_bytes_known_ = true;
  for (unsigned b = 0; b < 256; ++b) {
    std::string name;
    utf8::append(name, alphabet_char(static_cast<std::uint8_t>(b)));
    byte_ids_[b] = id(name).value_or(kNone);
    fallback_[b] = id(fmt::format("<0x{:02X}>", b)).value_or(kNone);
    all_bytes_known_ = all_bytes_known_ && byte_ids_[b] != kNone;
  }
  if (!byte_pieces_ || !ignore_merges_) return;
  // A token with characters outside the alphabet can never equal a piece, and is left out.
  for (const auto& [name, token_id] : ids_)
    if (auto bytes = from_alphabet(name)) whole_.emplace(std::move(*bytes), token_id);
}

void Bpe::encode(std::string_view piece, std::vector<std::uint32_t>& out) const {
  if (ignore_merges_) {
    const TokenIds& whole = byte_pieces_ ? whole_ : ids_;
    if (auto it = whole.find(piece); it != whole.end()) {
      out.push_back(it->second);
      return;
    }
  }
  std::size_t from = out.size();
  if (byte_pieces_ && all_bytes_known_)
    symbols_of_bytes(piece, out);
  else
    symbols_of_text(byte_pieces_ ? to_alphabet(piece) : std::string(piece), out);
  merges_.join(out, from);
}

void Bpe::symbols_of_bytes(std::string_view piece, std::vector<std::uint32_t>& out) const {
  for (char c : piece) out.push_back(byte_ids_[static_cast<std::uint8_t>(c)]);
}

void Bpe::symbols_of_text(std::string_view piece, std::vector<std::uint32_t>& out) const {
  bool unk_waits = false;  // an unk_token that the next unknown character may join
  for (std::size_t pos = 0; pos < piece.size();) {
    std::size_t begin = pos;
    utf8::next(piece, pos);
    std::string_view character = piece.substr(begin, pos - begin);
    if (auto it = ids_.find(character); it != ids_.end()) {
      if (unk_waits) out.push_back(unk_);
      unk_waits = false;
      out.push_back(it->second);
      continue;
    }
    bool falls_back = byte_fallback_;
    for (char c : character)
      falls_back = falls_back && fallback_[static_cast<std::uint8_t>(c)] != kNone;
    if (falls_back) {
      // A waiting unk_token goes on waiting and comes out behind these bytes: so it does in
      // Hugging Face's tokenizers, and ids are what has to be equal.
      for (char c : character) out.push_back(fallback_[static_cast<std::uint8_t>(c)]);
    } else if (unk_ != kNone) {
      if (unk_waits && !fuse_unk_) out.push_back(unk_);
      unk_waits = true;
    }
  }
  if (unk_waits) out.push_back(unk_);
}

std::optional<std::uint32_t> Bpe::id(std::string_view token) const {
  auto it = ids_.find(token);
  if (it == ids_.end()) return std::nullopt;
  return it->second;
}

std::optional<std::string_view> Bpe::token(std::uint32_t id) const {
  if (id >= by_id_.size() || by_id_[id] == nullptr) return std::nullopt;
  return *by_id_[id];
}

}  // namespace wb
