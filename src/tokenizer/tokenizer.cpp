// Puts the parts together; see tokenizer.h.
#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/decoder.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/piece_cache.h"
#include "tokenizer/post_processor.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/utf8.h"

namespace wb {

namespace {
constexpr std::size_t kMaxText = (std::size_t{1} << 31) - 1;

nlohmann::json read_json(std::string_view text, const std::string& name) {
  return parse_json(text, name,
                    "Check that --tokenizer names a tokenizer.json, and that it is complete.",
                    kTokenizerJson);
}
}  // namespace

struct Tokenizer::Parts {
  explicit Parts(const JsonNode& root)
      : normalizer(Normalizer::parse(root.find("normalizer"))),
        pre_tokenizer(PreTokenizer::parse(root.find("pre_tokenizer"))),
        bpe(Bpe::parse(root.at("model"), pre_tokenizer.gives_bytes())),
        added(AddedTokens::parse(root.find("added_tokens"), normalizer, bpe)),
        post_processor(PostProcessor::parse(
            root.find("post_processor"),
            [this](std::uint32_t id) { return decoded_name(id, false).has_value(); })),
        decoder(TokenDecoder::parse(root.find("decoder"))) {}

  // What the decoder is given for `id`; nothing for an id that is unknown or to be skipped.
  std::optional<std::string_view> decoded_name(std::uint32_t id, bool skip_special) const {
    if (const AddedToken* token = added.by_id(id)) {
      if (skip_special && token->special) return std::nullopt;
      return token->surface;
    }
    return bpe.token(id);
  }

  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  AddedTokens added;
  PostProcessor post_processor;
  TokenDecoder decoder;
};

Tokenizer Tokenizer::load(const std::string& path) {
  auto file = MappedFile::open(path);
  auto bytes = file->bytes();
  return parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
}

Tokenizer Tokenizer::parse(std::string_view json, const std::string& name) {
  nlohmann::json document = read_json(json, name);
  JsonNode root(document, name, "");
  root.only({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
             "post_processor", "decoder", "model"});
  if (auto version = root.find("version"); version && version->string() != "1.0")
    version->fail("\"" + version->string() + "\" is not a version that this program knows (1.0)");
  // Settings for batches; a text is never cut or padded here.
  for (const char* key : {"truncation", "padding"})
    if (auto setting = root.find(key)) setting->require_object();
  return Tokenizer(std::make_shared<const Parts>(root));
}

namespace {

// One call of encode: everything in it lives until the last id is out, because the cache and
// the segments hold views.
class Encoding {
 public:
  Encoding(const Normalizer& normalizer, const PreTokenizer& pre, const Bpe& bpe,
           const AddedTokens& added, bool find_special)
      : normalizer_(normalizer),
        pre_(pre),
        added_(added),
        cache_(bpe),
        find_special_(find_special) {}

  std::vector<std::uint32_t> run(std::string_view text) {
    ids_.reserve(text.size() / 3 + 8);
    std::vector<Segment> segments, inner;
    added_.split(text, AddedTokens::Stage::as_given, find_special_, segments);
    for (const Segment& segment : segments) {
      if (segment.token != nullptr) {
        ids_.push_back(segment.token->id);
        continue;
      }
      std::string_view part = segment.text;
      if (!normalizer_.trivial()) part = owned_.emplace_back(normalizer_.apply(std::string(part)));
      inner.clear();
      added_.split(part, AddedTokens::Stage::normalized, find_special_, inner);
      for (const Segment& s : inner) {
        if (s.token != nullptr)
          ids_.push_back(s.token->id);
        else
          model(s.text);
      }
    }
    return std::move(ids_);
  }

 private:
  void model(std::string_view text) {
    Pieces pieces;
    pieces.views.push_back(text);
    pre_.apply(pieces);
    for (std::string_view piece : pieces.views) cache_.encode(piece, ids_);
    if (!pieces.owned.empty()) kept_.push_back(std::move(pieces.owned));
  }

  const Normalizer& normalizer_;
  const PreTokenizer& pre_;
  const AddedTokens& added_;
  PieceCache cache_;
  bool find_special_;
  std::vector<std::uint32_t> ids_;
  std::deque<std::string> owned_;
  std::deque<std::deque<std::string>> kept_;
};

}  // namespace

std::vector<std::uint32_t> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  if (text.size() > kMaxText)
    throw Error(Code::limit_exceeded, "the text is too long to encode at once")
        .expected("at most " + std::to_string(kMaxText) + " bytes")
        .actual(std::to_string(text.size()))
        .advice("Encode it in parts, cut at blank lines.");
  std::string repaired;
  if (!utf8::valid(text)) text = repaired = utf8::replace_invalid(text);
  const Parts& p = *parts_;
  Encoding encoding(p.normalizer, p.pre_tokenizer, p.bpe, p.added, options.find_special);
  auto ids = encoding.run(text);
  return options.add_special ? p.post_processor.apply(std::move(ids)) : ids;
}

std::string Tokenizer::decode(std::span<const std::uint32_t> ids, bool skip_special) const {
  DecodeRun run(parts_->decoder, false);
  std::string out;
  for (std::uint32_t id : ids)
    if (auto name = parts_->decoded_name(id, skip_special)) run.push(*name, out);
  run.finish(out);
  return out;
}

std::optional<std::uint32_t> Tokenizer::token_id(std::string_view name) const {
  auto id = parts_->added.id(name);
  return id ? id : parts_->bpe.id(name);
}

std::optional<std::string> Tokenizer::token_name(std::uint32_t id) const {
  if (const AddedToken* token = parts_->added.by_id(id)) return token->content;
  auto name = parts_->bpe.token(id);
  if (!name) return std::nullopt;
  return std::string(*name);
}

std::string Tokenizer::token_bytes(std::uint32_t id) const { return decode({&id, 1}); }

bool Tokenizer::is_special(std::uint32_t id) const {
  const AddedToken* token = parts_->added.by_id(id);
  return token != nullptr && token->special;
}

std::size_t Tokenizer::vocab_size() const {
  return std::size_t{std::max(parts_->bpe.max_id(), parts_->added.max_id())} + 1;
}

struct StreamDecoder::State {
  State(const Tokenizer& t, bool skip) : tokenizer(t), skip_special(skip) {}
  Tokenizer tokenizer;
  bool skip_special;
  DecodeRun run{tokenizer.parts_->decoder, true};
  utf8::Gate gate;
};

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : state_(std::make_unique<State>(tokenizer, skip_special)) {}
StreamDecoder::~StreamDecoder() = default;
StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;

std::string StreamDecoder::push(std::uint32_t id) {
  std::string bytes, out;
  if (auto name = state_->tokenizer.parts_->decoded_name(id, state_->skip_special))
    state_->run.push(*name, bytes);
  state_->gate.push(bytes, out);
  return out;
}

std::string StreamDecoder::finish() {
  std::string bytes, out;
  state_->run.finish(bytes);
  state_->gate.push(bytes, out);
  state_->gate.finish(out);
  state_->run = DecodeRun(state_->tokenizer.parts_->decoder, true);
  return out;
}

}  // namespace wb
