// The steps of a normalizer; see normalizer.h.
#include "tokenizer/normalizer.h"

#include "tokenizer/char_classes.h"
#include "tokenizer/pattern.h"
#include "tokenizer/utf8.h"

namespace wb {

namespace {

class ReplaceStep : public NormalizerStep {
 public:
  explicit ReplaceStep(const JsonNode& node)
      : regex_(compile_pattern(read_pattern(node.at("pattern")), node.at("pattern"))),
        content_(node.at("content").string()) {
    node.only({"type", "pattern", "content"});
  }
  void apply(std::string& text) const override {
    std::string out;
    for (const Span& s : find_spans(regex_, text))
      out += s.match ? content_ : text.substr(s.begin, s.end - s.begin);
    text = std::move(out);
  }

 private:
  Regex regex_;
  std::string content_;
};

class PrependStep : public NormalizerStep {
 public:
  explicit PrependStep(const JsonNode& node) : prepend_(node.at("prepend").string()) {
    node.only({"type", "prepend"});
  }
  void apply(std::string& text) const override {
    if (!text.empty()) text.insert(0, prepend_);
  }

 private:
  std::string prepend_;
};

class StripStep : public NormalizerStep {
 public:
  explicit StripStep(const JsonNode& node)
      : left_(node.at("strip_left").boolean()), right_(node.at("strip_right").boolean()) {
    node.only({"type", "strip_left", "strip_right"});
  }
  void apply(std::string& text) const override {
    const auto& classes = CharClasses::get();
    std::size_t begin = 0, end = 0, pos = 0;  // [begin, end): from the first to the last non-space
    bool seen = false;
    while (pos < text.size()) {
      std::size_t at = pos;
      if (classes.has(utf8::next(text, pos), CharClasses::kSpace)) continue;
      if (!seen) begin = at;
      seen = true;
      end = pos;
    }
    if (!seen) begin = end = (left_ ? text.size() : 0);
    if (!left_) begin = 0;
    if (!right_) end = text.size();
    text = text.substr(begin, end - begin);
  }

 private:
  bool left_, right_;
};

}  // namespace

Normalizer Normalizer::parse(const std::optional<JsonNode>& node) {
  Normalizer normalizer;
  if (node) normalizer.add(*node);
  return normalizer;
}

void Normalizer::add(const JsonNode& node) {
  std::string type = node.type();
  if (type == "Sequence") {
    node.only({"type", "normalizers"});
    for (std::size_t i = 0, n = node.at("normalizers").array_size(); i < n; ++i)
      add(node.nested("normalizers", i));
  } else if (type == "Replace") {
    steps_.push_back(std::make_shared<ReplaceStep>(node));
  } else if (type == "Prepend") {
    steps_.push_back(std::make_shared<PrependStep>(node));
  } else if (type == "Strip") {
    steps_.push_back(std::make_shared<StripStep>(node));
  } else {
    node.refuse_type("normalizer", "Sequence, Replace, Prepend and Strip");
  }
}

}  // namespace wb
