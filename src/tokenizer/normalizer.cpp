// The steps of a normalizer; see normalizer.h.
#include "tokenizer/normalizer.h"

#include "base/error.h"
#include "tokenizer/char_classes.h"
#include "tokenizer/pattern.h"
#include "tokenizer/utf8.h"

namespace wb {

namespace {

void hold(std::size_t bytes, std::size_t most, const std::string& file) {
  if (bytes <= most) return;
  throw Error(Code::limit_exceeded, "the normalizer makes too long a text of a short one")
      .file(file)
      .expected("at most " + std::to_string(most) + " bytes")
      .actual("more")
      .advice("Do not trust this tokenizer.json; get it again from the model's author.");
}

class ReplaceStep : public NormalizerStep {
 public:
  explicit ReplaceStep(const JsonNode& node)
      : regex_(compile_pattern(read_pattern(node.at("pattern")), node.at("pattern"))),
        content_(node.at("content").string()),
        file_(node.file()) {
    node.only({"type", "pattern", "content"});
  }
  void apply(std::string& text, std::size_t most) const override {
    std::string out;
    for (const Span& s : find_spans(regex_, text)) {
      hold(out.size() + (s.match ? content_.size() : s.end - s.begin), most, file_);
      out += s.match ? content_ : text.substr(s.begin, s.end - s.begin);
    }
    text = std::move(out);
  }

 private:
  Regex regex_;
  std::string content_, file_;
};

class PrependStep : public NormalizerStep {
 public:
  explicit PrependStep(const JsonNode& node)
      : prepend_(node.at("prepend").string()), file_(node.file()) {
    node.only({"type", "prepend"});
  }
  void apply(std::string& text, std::size_t most) const override {
    hold(text.size() + prepend_.size(), most, file_);
    if (!text.empty()) text.insert(0, prepend_);
  }

 private:
  std::string prepend_, file_;
};

class StripStep : public NormalizerStep {
 public:
  explicit StripStep(const JsonNode& node)
      : left_(node.at("strip_left").boolean()), right_(node.at("strip_right").boolean()) {
    node.only({"type", "strip_left", "strip_right"});
  }
  void apply(std::string& text, std::size_t) const override {
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
