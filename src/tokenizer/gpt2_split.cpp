// One function per alternative of the expression, tried in its order; see gpt2_split.h.
#include "tokenizer/gpt2_split.h"

#include "tokenizer/char_classes.h"
#include "tokenizer/utf8.h"

namespace wb {

namespace {

class Splitter {
 public:
  explicit Splitter(std::string_view text) : text_(text) {}

  // Where the piece that begins at `pos` ends.
  std::size_t piece_end(std::size_t pos) const {
    if (text_[pos] == '\'')
      if (std::size_t end = contraction(pos)) return end;
    std::size_t start = pos;
    std::uint8_t kind = kind_at(start);
    if (text_[pos] == ' ' && pos + 1 < text_.size()) {
      // " ?" takes one space along when something other than white space follows it.
      std::uint8_t behind = kind_at(pos + 1);
      if (behind != CharClasses::kSpace) start = pos + 1, kind = behind;
    }
    if (kind == CharClasses::kSpace) return white_space(pos);
    return run_end(start, kind);
  }

 private:
  static constexpr std::uint8_t kKinds =
      CharClasses::kLetter | CharClasses::kNumber | CharClasses::kSpace;

  std::uint8_t kind_at(std::size_t pos) const {
    auto lead = static_cast<unsigned char>(text_[pos]);
    char32_t code = lead < 0x80 ? lead : utf8::step(text_, pos).code;
    return classes_.bits(code) & kKinds;
  }

  // 's 't 're 've 'm 'll 'd: their end, or 0.
  std::size_t contraction(std::size_t pos) const {
    for (std::string_view ending : {"s", "t", "re", "ve", "m", "ll", "d"})
      if (text_.substr(pos + 1, ending.size()) == ending) return pos + 1 + ending.size();
    return 0;
  }

  std::size_t run_end(std::size_t pos, std::uint8_t kind) const {
    while (pos < text_.size()) {
      auto lead = static_cast<unsigned char>(text_[pos]);
      std::size_t behind = pos + 1;
      char32_t code = lead;
      if (lead >= 0x80) {
        utf8::Step s = utf8::step(text_, pos);
        code = s.code, behind = pos + s.length;
      }
      if ((classes_.bits(code) & kKinds) != kind) break;
      pos = behind;
    }
    return pos;
  }

  // \s+(?!\S)|\s+: a run of white space, without its last character when something follows
  // that this character may belong to, unless the run is that one character.
  std::size_t white_space(std::size_t pos) const {
    std::size_t last = pos, end = pos;
    while (end < text_.size() && kind_at(end) == CharClasses::kSpace) {
      last = end;
      end += utf8::step(text_, end).length;
    }
    return end == text_.size() || last == pos ? end : last;
  }

  std::string_view text_;
  const CharClasses& classes_ = CharClasses::get();
};

}  // namespace

void gpt2_split(std::string_view text, std::vector<std::string_view>& out) {
  Splitter splitter(text);
  for (std::size_t pos = 0; pos < text.size();) {
    std::size_t end = splitter.piece_end(pos);
    out.push_back(text.substr(pos, end - pos));
    pos = end;
  }
}

}  // namespace wb
