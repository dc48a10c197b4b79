// The steps of a decoder; see decoder.h.
#include "tokenizer/decoder.h"

#include <charconv>
#include <utility>

#include "base/error.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/pattern.h"
#include "tokenizer/utf8.h"

namespace wb {

namespace {

// The bytes that a token stands for in GPT-2's alphabet. A token with a character outside it
// (an added one, mostly) is taken as it is.
class ByteLevelStep : public DecodeStep {
 public:
  void push(DecodeState&, std::string_view token, const DecodeSink& out) const override {
    auto bytes = from_alphabet(token);
    out(bytes ? std::string_view(*bytes) : token);
  }
};

// <0x00> to <0xFF> as bytes. `held` is the run of bytes so far.
class ByteFallbackStep : public DecodeStep {
 public:
  explicit ByteFallbackStep(bool eager) : eager_(eager) {}
  void push(DecodeState& state, std::string_view token, const DecodeSink& out) const override {
    auto byte = byte_of(token);
    if (!byte) {
      finish(state, out);
      out(token);
      return;
    }
    state.held += *byte;
    if (eager_ && utf8::valid(state.held)) finish(state, out);
  }
  void finish(DecodeState& state, const DecodeSink& out) const override {
    if (state.held.empty()) return;
    std::string run = std::exchange(state.held, {});
    if (utf8::valid(run)) {
      out(run);
    } else {
      for (std::size_t i = 0; i < run.size(); ++i) out(utf8::kReplacement);
    }
  }

 private:
  static std::optional<char> byte_of(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
    unsigned value = 0;
    const char* end = token.data() + 5;
    auto [stop, error] = std::from_chars(token.data() + 3, end, value, 16);
    if (error != std::errc() || stop != end) return std::nullopt;
    return static_cast<char>(static_cast<unsigned char>(value));
  }
  bool eager_;
};

class ReplaceTokenStep : public DecodeStep {
 public:
  explicit ReplaceTokenStep(const JsonNode& node)
      : regex_(compile_pattern(read_pattern(node.at("pattern")), node.at("pattern"))),
        content_(node.at("content").string()),
        file_(node.file()) {
    node.only({"type", "pattern", "content"});
  }
  void push(DecodeState&, std::string_view token, const DecodeSink& out) const override {
    std::string replaced;
    for (const Span& s : find_spans(regex_, token)) {
      if (replaced.size() + content_.size() > kMostOfToken) too_long();
      replaced += s.match ? content_ : token.substr(s.begin, s.end - s.begin);
    }
    out(replaced);
  }

 private:
  // Of one token, or the content of one step: steps behind each other would multiply it.
  static constexpr std::size_t kMostOfToken = std::size_t{1} << 20;
  [[noreturn]] void too_long() const {
    throw Error(Code::limit_exceeded, "the decoder makes too long a text of one token")
        .file(file_)
        .expected("at most " + std::to_string(kMostOfToken) + " bytes")
        .actual("more")
        .advice("Do not trust this tokenizer.json; get it again from the model's author.");
  }
  Regex regex_;
  std::string content_, file_;
};

// Takes up to `start` and `stop` characters `content` off the ends.
struct StripAmount {
  std::string content;
  std::size_t start, stop;
};

// Of every token.
class StripTokenStep : public DecodeStep {
 public:
  explicit StripTokenStep(StripAmount amount) : amount_(std::move(amount)) {}
  void push(DecodeState&, std::string_view token, const DecodeSink& out) const override {
    std::string_view c = amount_.content;
    for (std::size_t i = 0; i < amount_.start && token.starts_with(c); ++i)
      token.remove_prefix(c.size());
    for (std::size_t i = 0; i < amount_.stop && token.ends_with(c); ++i)
      token.remove_suffix(c.size());
    out(token);
  }

 private:
  StripAmount amount_;
};

// Of the whole text, behind Fuse. `count` is how many were taken off the start, `begun` says
// that the start is over, `held` is what may yet turn out to be the end.
class StripTextStep : public DecodeStep {
 public:
  explicit StripTextStep(StripAmount amount) : amount_(std::move(amount)) {}
  void push(DecodeState& state, std::string_view text, const DecodeSink& out) const override {
    std::string_view c = amount_.content;
    while (!state.begun && state.count < amount_.start && text.starts_with(c)) {
      text.remove_prefix(c.size());
      ++state.count;
    }
    if (text.empty()) return;
    state.begun = true;
    std::string all = std::exchange(state.held, {}) + std::string(text);
    std::size_t end = all.size();
    for (std::size_t i = 0; i < amount_.stop; ++i) {
      if (!std::string_view(all).substr(0, end).ends_with(c)) break;
      end -= c.size();
    }
    state.held = all.substr(end);
    out(std::string_view(all).substr(0, end));
  }
  void finish(DecodeState& state, const DecodeSink&) const override { state.held.clear(); }

 private:
  StripAmount amount_;
};

// No decoder in the file: a space between tokens. `begun`: there was a token before.
class JoinStep : public DecodeStep {
 public:
  void push(DecodeState& state, std::string_view token, const DecodeSink& out) const override {
    if (std::exchange(state.begun, true)) out(" ");
    out(token);
  }
};

StripAmount read_strip(const JsonNode& node) {
  node.only({"type", "content", "start", "stop"});
  std::string content = node.at("content").string();
  if (content.empty() || utf8::step(content, 0).length != content.size())
    node.at("content").fail("must be one character, is \"" + content + "\"");
  return {content, node.at("start").u32(), node.at("stop").u32()};
}

}  // namespace

TokenDecoder TokenDecoder::parse(const std::optional<JsonNode>& node) {
  TokenDecoder decoder;
  if (node)
    decoder.add(*node);
  else
    decoder.steps_.push_back(std::make_shared<JoinStep>());
  if (decoder.eager_steps_.empty()) decoder.eager_steps_ = decoder.steps_;
  return decoder;
}

void TokenDecoder::add(const JsonNode& node) {
  std::string type = node.type();
  if (type != "Sequence") return add_step(node, type);
  node.only({"type", "decoders"});
  for (std::size_t i = 0, n = node.at("decoders").array_size(); i < n; ++i)
    add(node.nested("decoders", i));
}

void TokenDecoder::add_step(const JsonNode& node, const std::string& type) {
  static constexpr std::string_view kKnown =
      "Sequence, ByteLevel, ByteFallback, Fuse, Replace and Strip";
  auto both = [&](auto step) { steps_.push_back(step), eager_steps_.push_back(step); };
  // Behind Fuse there are no tokens any more; Strip and Fuse are the steps that mean something
  // there without waiting for the end of the text. Behind ByteLevel, characters may be cut.
  bool on_tokens = type == "ByteLevel" || type == "ByteFallback" || type == "Replace";
  if ((shape_ != Shape::tokens && on_tokens) || (shape_ == Shape::bytes && type == "Strip"))
    node.fail("the decoder \"" + type + "\" behind " +
              (shape_ == Shape::bytes ? "ByteLevel" : "Fuse") + " is not supported");
  if (type == "ByteLevel") {
    node.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    both(std::make_shared<ByteLevelStep>());
    shape_ = Shape::bytes;
  } else if (type == "ByteFallback") {
    node.only({"type"});
    steps_.push_back(std::make_shared<ByteFallbackStep>(false));
    eager_steps_.push_back(std::make_shared<ByteFallbackStep>(true));
  } else if (type == "Fuse") {
    node.only({"type"});
    // Pieces follow each other anyway; what changes is the steps behind.
    if (shape_ == Shape::tokens) shape_ = Shape::text;
  } else if (type == "Replace") {
    both(std::make_shared<ReplaceTokenStep>(node));
  } else if (type == "Strip") {
    if (shape_ == Shape::text)
      both(std::make_shared<StripTextStep>(read_strip(node)));
    else
      both(std::make_shared<StripTokenStep>(read_strip(node)));
  } else {
    node.refuse_type("decoder", kKnown);
  }
}

DecodeRun::DecodeRun(const TokenDecoder& decoder, bool eager)
    : steps_(eager ? decoder.eager_steps_ : decoder.steps_), states_(steps_.size()) {}

void DecodeSink::operator()(std::string_view piece) const { run_.feed(next_, piece, out_); }

void DecodeRun::feed(std::size_t step, std::string_view token, std::string& out) {
  if (step == steps_.size())
    out += token;
  else
    steps_[step]->push(states_[step], token, DecodeSink(*this, step + 1, out));
}

void DecodeRun::finish(std::string& out) {
  for (std::size_t step = 0; step < steps_.size(); ++step)
    steps_[step]->finish(states_[step], DecodeSink(*this, step + 1, out));
}

}  // namespace wb
