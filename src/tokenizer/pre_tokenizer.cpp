// The steps of a pre-tokenizer; see pre_tokenizer.h.
#include "tokenizer/pre_tokenizer.h"

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/gpt2_split.h"
#include "tokenizer/pattern.h"

namespace wb {

namespace {

// Cuts at the matches of a pattern. GPT-2's own pattern takes the hand-written way.
class SplitStep : public PreTokenizerStep {
 public:
  SplitStep(Regex regex, bool is_gpt2, SplitBehavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {
    // The matches of GPT-2's pattern leave no gap, so only the plain way of cutting is served.
    gpt2_ = is_gpt2 && behavior == SplitBehavior::isolated;
  }
  void apply(Pieces& pieces) const override {
    std::vector<std::string_view> out;
    out.reserve(pieces.views.size() * 2);
    for (std::string_view piece : pieces.views) {
      if (gpt2_)
        gpt2_split(piece, out);
      else
        cut(piece, find_spans(regex_, piece), behavior_, invert_, out);
    }
    pieces.views = std::move(out);
  }

 private:
  Regex regex_;
  SplitBehavior behavior_;
  bool invert_;
  bool gpt2_ = false;
};

// add_prefix_space of ByteLevel: every piece begins with a space.
class PrefixSpaceStep : public PreTokenizerStep {
 public:
  void apply(Pieces& pieces) const override {
    for (std::string_view& piece : pieces.views)
      if (piece.substr(0, 1) != " ") piece = pieces.owned.emplace_back(" " + std::string(piece));
  }
};

// Writes every piece in GPT-2's alphabet, for steps that come after ByteLevel.
class AlphabetStep : public PreTokenizerStep {
 public:
  void apply(Pieces& pieces) const override {
    for (std::string_view& piece : pieces.views)
      piece = pieces.owned.emplace_back(to_alphabet(piece));
  }
};

std::shared_ptr<const SplitStep> make_split(const JsonNode& node) {
  node.only({"type", "pattern", "behavior", "invert"});
  JsonNode pattern = node.at("pattern");
  PatternSource source = read_pattern(pattern);
  return std::make_shared<SplitStep>(
      compile_pattern(source, pattern), source.is_regex && source.text == kGpt2Pattern,
      read_behavior(node.at("behavior")), node.at("invert").boolean());
}

}  // namespace

PreTokenizer PreTokenizer::parse(const std::optional<JsonNode>& node) {
  PreTokenizer pre;
  if (node) pre.add(*node);
  return pre;
}

void PreTokenizer::add(const JsonNode& node) {
  std::string type = node.type();
  if (type == "Sequence") {
    node.only({"type", "pretokenizers"});
    for (std::size_t i = 0, n = node.at("pretokenizers").array_size(); i < n; ++i)
      add(node.nested("pretokenizers", i));
    return;
  }
  // Something follows a ByteLevel: from there on the pieces are written in its alphabet.
  // Each writes up to two bytes for one, so that they are held few.
  constexpr int kMostAlphabets = 4;
  if (gives_bytes_ && ++alphabets_ > kMostAlphabets)
    node.fail("more than " + std::to_string(kMostAlphabets) + " ByteLevel stand before it");
  if (gives_bytes_) steps_.push_back(std::make_shared<AlphabetStep>());
  gives_bytes_ = false;
  if (type == "ByteLevel") {
    node.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    node.at("trim_offsets").boolean();  // about offsets, which we do not give
    if (node.at("add_prefix_space").boolean())
      steps_.push_back(std::make_shared<PrefixSpaceStep>());
    if (node.boolean_or("use_regex", true))
      steps_.push_back(
          std::make_shared<SplitStep>(Regex(kGpt2Pattern), true, SplitBehavior::isolated, false));
    gives_bytes_ = true;
  } else if (type == "Split") {
    steps_.push_back(make_split(node));
  } else if (type == "Digits") {
    node.only({"type", "individual_digits"});
    bool single = node.at("individual_digits").boolean();
    steps_.push_back(std::make_shared<SplitStep>(
        Regex(R"(\p{N})"), false, single ? SplitBehavior::isolated : SplitBehavior::contiguous,
        false));
  } else {
    node.refuse_type("pre-tokenizer", "Sequence, ByteLevel, Split and Digits");
  }
}

}  // namespace wb
