// See jinja_lexer.h. The rules are those of Jinja's lexer, in its order.
#include "speak/jinja_lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "speak/jinja_text.h"
#include "tokenizer/utf8.h"

namespace wb::speak::jinja {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\v' || c == '\f'; }

// Line ends as \n, and none at the end.
std::string normalized(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return utf8::replace_invalid(out);
}

class Lexer {
 public:
  Lexer(std::string_view source, Run& run) : source_(source), run_(run) {}

  std::vector<Token> all() {
    while (at_ < source_.size()) outside();
    add(TokenKind::end);
    return std::move(tokens_);
  }

 private:
  bool here(std::string_view text) const { return source_.substr(at_).starts_with(text); }
  void add(TokenKind kind, std::string text = {}) {
    tokens_.push_back({kind, std::move(text), run_.line, 0, 0});
  }
  void skip(std::size_t n) {
    const auto part = source_.substr(at_, n);
    run_.line += static_cast<int>(std::count(part.begin(), part.end(), '\n'));
    at_ += part.size();
  }

  // Text up to the next braces, then what they hold.
  void outside() {
    std::size_t open = at_;
    while (true) {
      open = source_.find('{', open);
      if (open == source_.npos || open + 1 >= source_.size()) {
        open = source_.size();
        break;
      }
      const char next = source_[open + 1];
      if (next == '{' || next == '%' || next == '#') break;
      ++open;
    }
    std::string_view data = source_.substr(at_, open - at_);
    const char kind = open < source_.size() ? source_[open + 1] : ' ';
    const char sign = open + 2 < source_.size() ? source_[open + 2] : ' ';
    if (open < source_.size()) data = trimmed(data, kind, sign);
    if (!data.empty()) add(TokenKind::data, std::string(data));
    skip(open - at_);
    if (at_ == source_.size()) return;
    const int line = run_.line;
    skip(sign == '-' || sign == '+' ? 3 : 2);
    if (kind == '#') {
      comment(line);
    } else if (kind == '{') {
      add(TokenKind::print_begin);
      inside(TokenKind::print_end, "}}");
    } else if (!raw()) {
      add(TokenKind::tag_begin);
      inside(TokenKind::tag_end, "%}");
    }
  }

  // What is left of text before braces: "-" takes all white space, lstrip_blocks the white space
  // of a line that begins with a tag or comment.
  std::string_view trimmed(std::string_view data, char kind, char sign) const {
    if (sign == '-') return strip(data, nullptr, false, true);
    if (sign == '+' || kind == '{') return data;
    const std::size_t line = data.rfind('\n') + 1;  // 0 without one
    if (line == 0 && !line_starting_) return data;
    return strip(data.substr(line), nullptr, true, true).empty() ? data.substr(0, line) : data;
  }

  // Behind the end of braces: after "-" all white space goes, after a tag or comment one line end.
  void close(bool minus, bool plus, bool tag) {
    const std::size_t begin = at_;
    if (minus) {
      std::string_view rest = source_.substr(at_);
      skip(rest.size() - strip(rest, nullptr, true, false).size());
    } else if (tag && !plus && here("\n")) {
      skip(1);
    }
    line_starting_ = at_ > begin && source_[at_ - 1] == '\n';
  }

  void comment(int line) {
    const std::size_t end = source_.find("#}", at_);
    if (end == source_.npos) {
      run_.line = line;
      run_.refuse("a comment has no end");
    }
    const char before = end > at_ ? source_[end - 1] : ' ';
    skip(end + 2 - at_);
    close(before == '-', before == '+', true);
  }

  // {% raw %} ... {% endraw %}, behind "{%"; false when it is another tag.
  bool raw() {
    const auto word = [&](std::size_t& pos, std::string_view name) {
      while (pos < source_.size() && is_blank(source_[pos])) ++pos;
      if (!source_.substr(pos).starts_with(name)) return false;
      pos += name.size();
      while (pos < source_.size() && is_blank(source_[pos])) ++pos;
      return true;
    };
    std::size_t pos = at_;
    if (!word(pos, "raw")) return false;
    if (!source_.substr(pos).starts_with("%}") && !source_.substr(pos).starts_with("-%}")) {
      return false;
    }
    run_.refuse("{% raw %} is not known here");
  }

  // Tokens up to `end`, which does not count inside of brackets.
  void inside(TokenKind closing, std::string_view end) {
    const int line = run_.line;
    std::string open;
    while (true) {
      while (at_ < source_.size() && is_blank(source_[at_])) skip(1);
      if (at_ == source_.size()) {
        run_.line = line;
        run_.refuse(fmt::format("the end \"{}\" is missing", end));
      }
      const char sign = source_[at_];
      const bool signed_end =
          (sign == '-' || (sign == '+' && end == "%}")) && source_.substr(at_ + 1).starts_with(end);
      if (open.empty() && (signed_end || here(end))) {
        skip(signed_end ? 3 : 2);
        add(closing);
        close(signed_end && sign == '-', signed_end && sign == '+', end == "%}");
        return;
      }
      token(open);
    }
  }

  void token(std::string& open) {
    const char c = source_[at_];
    if (is_name_start(c)) {
      std::size_t end = at_;
      while (end < source_.size() && (is_name_start(source_[end]) || is_digit(source_[end]))) ++end;
      add(TokenKind::name, std::string(source_.substr(at_, end - at_)));
      skip(end - at_);
    } else if (is_digit(c)) {
      number();
    } else if (c == '"' || c == '\'') {
      literal(c);
    } else {
      operation(open);
    }
  }

  void number() {
    std::size_t end = at_;
    const auto digits = [&] {
      while (end < source_.size() && is_digit(source_[end])) ++end;
    };
    digits();
    bool real = false;
    if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
      real = true;
      ++end;
      digits();
    }
    const auto at = [&](std::size_t i) { return i < source_.size() ? source_[i] : ' '; };
    if (at(end) == 'e' || at(end) == 'E') {
      const std::size_t sign = at(end + 1) == '+' || at(end + 1) == '-' ? 2 : 1;
      if (is_digit(at(end + sign))) {
        real = true;
        end += sign;
        digits();
      }
    }
    const std::string_view text = source_.substr(at_, end - at_);
    if (is_name_start(at(end)) || (!real && text.size() > 1 && text[0] == '0')) {
      run_.refuse(fmt::format("\"{}\" begins no number that is known here", text));
    }
    add(real ? TokenKind::real : TokenKind::whole, std::string(text));
    Token& made = tokens_.back();
    const auto [stop, error] =
        real ? std::from_chars(text.data(), text.data() + text.size(), made.real)
             : std::from_chars(text.data(), text.data() + text.size(), made.whole);
    if (error != std::errc() || stop != text.data() + text.size()) {
      run_.refuse(fmt::format("the number {} is too large", text));
    }
    skip(text.size());
  }

  void literal(char quote) {
    std::string out;
    const int line = run_.line;
    for (std::size_t i = at_ + 1;;) {
      if (i >= source_.size()) {
        run_.line = line;
        run_.refuse("a text in quotes has no end");
      }
      if (source_[i] == quote) {
        add(TokenKind::text, std::move(out));
        skip(i + 1 - at_);
        return;
      }
      if (source_[i] == '\\') {
        i = escape(i + 1, out);
      } else {
        out += source_[i++];
      }
    }
  }

  // The escape behind a backslash, as in Python's "..."; returns where it ends.
  std::size_t escape(std::size_t i, std::string& out) {
    constexpr std::string_view kNames = "abfnrtv\\'\"", kMeant = "\a\b\f\n\r\t\v\\'\"";
    const char c = i < source_.size() ? source_[i] : ' ';
    if (const std::size_t n = kNames.find(c); n != kNames.npos) {
      out += kMeant[n];
      return i + 1;
    }
    if (c == '\n') return i + 1;
    const bool octal = c >= '0' && c <= '7';
    const std::size_t most = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : octal ? 3 : 0;
    if (c == 'N' || static_cast<unsigned char>(c) >= 0x80) {
      run_.refuse("an escape in a text is not known here");
    }
    if (most == 0) {  // Python keeps the backslash
      out += '\\';
      return i;
    }
    const std::string_view digits = source_.substr(octal ? i : i + 1, most);
    std::uint32_t code = 0;
    const auto [stop, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), code, octal ? 8 : 16);
    const auto read = static_cast<std::size_t>(stop - digits.data());
    const bool surrogate = code >= 0xD800 && code < 0xE000;
    if (error != std::errc() || (!octal && read != most) || code >= utf8::kCodePoints ||
        surrogate) {
      run_.refuse(fmt::format("the escape \\{} is no character", c));
    }
    utf8::append(out, code);
    return i + read + (octal ? 0 : 1);
  }

  void operation(std::string& open) {
    static constexpr std::string_view kSigns[] = {"**", "//", "==", "!=", "<=", ">=", "+", "-", "*",
                                                  "/",  "%",  "~",  "<",  ">",  "=",  ".", ",", ":",
                                                  "|",  "(",  ")",  "[",  "]",  "{",  "}"};
    for (std::string_view sign : kSigns) {
      if (!here(sign)) continue;
      if (sign == "(" || sign == "[" || sign == "{") {
        open += sign == "(" ? ')' : sign == "[" ? ']' : '}';
      } else if (sign == ")" || sign == "]" || sign == "}") {
        if (open.empty() || open.back() != sign[0]) {
          run_.refuse(fmt::format("\"{}\" closes nothing", sign));
        }
        open.pop_back();
      }
      add(TokenKind::sign, std::string(sign));
      skip(sign.size());
      return;
    }
    const std::string_view met = source_.substr(at_, char_bytes(source_[at_]));
    run_.refuse(fmt::format("\"{}\" is no part of an expression that is known here", met));
  }

  std::string_view source_;
  Run& run_;
  std::size_t at_ = 0;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> cut_into_tokens(std::string_view source, Run& run) {
  if (source.size() > kMaxTemplate) run.over("bytes of a template", kMaxTemplate);
  const std::string text = normalized(source);
  return Lexer(text, run).all();
}

}  // namespace wb::speak::jinja
