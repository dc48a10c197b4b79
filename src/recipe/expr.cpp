// See expr.h: a recursive-descent parser that works on the characters directly.
#include "recipe/expr.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace wb {

namespace {

// Deeper nesting than any recipe needs; keeps a hostile file off the stack's end.
constexpr unsigned kMaxDepth = 100;
constexpr std::size_t kMaxLength = 4096;
constexpr std::size_t kMaxParts = 512;  // each keeps its text

struct SyntaxMistake {
  std::size_t at;
  std::string text;
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_path(char c) { return is_letter(c) || is_digit(c) || c == '.' || c == '{' || c == '}'; }

class Parser {
 public:
  explicit Parser(const DocValue& source) : source_(source), text_(source.text) {}

  ExprPtr all() {
    if (text_.size() > kMaxLength) fail(0, "an expression of more than 4096 characters");
    skip();
    if (at_ == text_.size()) fail(at_, "an empty expression");
    ExprPtr out = disjunction();
    skip();
    if (at_ != text_.size()) {
      fail(at_, "the expression ends here, but '" + text_.substr(at_, 1) + "' follows");
    }
    return out;
  }

 private:
  [[noreturn]] void fail(std::size_t at, std::string text) const {
    throw SyntaxMistake{at, std::move(text)};
  }
  void skip() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) {
      ++at_;
    }
  }
  char peek() {
    skip();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(std::string_view token) {
    skip();
    if (text_.compare(at_, token.size(), token) != 0) return false;
    if (is_letter(token[0]) && at_ + token.size() < text_.size() &&
        is_path(text_[at_ + token.size()])) {
      return false;  // a longer name that starts like the word
    }
    at_ += token.size();
    return true;
  }
  ExprPtr node(Expr::Kind kind, std::size_t begin) {
    if (++parts_ > kMaxParts) fail(begin, "an expression of more than 512 parts");
    auto out = std::make_unique<Expr>();
    out->kind = kind;
    out->place = source_.places[begin];
    return out;
  }
  // Gives a finished node the text that it was read from.
  ExprPtr close(ExprPtr expr, std::size_t begin) const {
    expr->text = text_.substr(begin, at_ - begin);
    while (!expr->text.empty() && expr->text.back() == ' ') expr->text.pop_back();
    return expr;
  }
  std::size_t mark() {
    skip();
    return at_;
  }

  using Rule = ExprPtr (Parser::*)();
  struct Token {
    std::string_view text;
    Op op;
  };
  ExprPtr chain(Rule next, std::initializer_list<Token> tokens, bool once) {
    std::size_t begin = mark();
    ExprPtr left = (this->*next)();
    for (bool found = true; found;) {
      found = false;
      for (const Token& token : tokens) {
        if (!take(token.text)) continue;
        ExprPtr out = node(Expr::Kind::binary, begin);
        out->op = token.op;
        out->args.push_back(std::move(left));
        out->args.push_back((this->*next)());
        left = close(std::move(out), begin);
        found = !once;
        break;
      }
    }
    return left;
  }
  ExprPtr disjunction() {
    // Every way down passes here or unary(), so these two count the depth.
    Deeper deeper(*this);
    return chain(&Parser::conjunction, {{"or", Op::or_}}, false);
  }
  ExprPtr conjunction() { return chain(&Parser::negation, {{"and", Op::and_}}, false); }
  ExprPtr negation() {
    Deeper deeper(*this);
    std::size_t begin = mark();
    if (!take("not")) return comparison();
    ExprPtr out = node(Expr::Kind::not_, begin);
    out->args.push_back(negation());
    return close(std::move(out), begin);
  }
  ExprPtr comparison() {
    return chain(&Parser::sum,
                 {{"==", Op::equal},
                  {"!=", Op::not_equal},
                  {"<=", Op::less_equal},
                  {"<", Op::less},
                  {">=", Op::greater_equal},
                  {">", Op::greater}},
                 true);
  }
  ExprPtr sum() { return chain(&Parser::product, {{"+", Op::add}, {"-", Op::subtract}}, false); }
  ExprPtr product() {
    return chain(&Parser::unary, {{"*", Op::multiply}, {"/", Op::divide}}, false);
  }
  ExprPtr unary() {
    Deeper deeper(*this);
    std::size_t begin = mark();
    if (!take("-")) return postfix();
    ExprPtr out = node(Expr::Kind::negate, begin);
    out->args.push_back(unary());
    return close(std::move(out), begin);
  }
  ExprPtr postfix() {
    std::size_t begin = mark();
    ExprPtr out = primary();
    for (;;) {
      if (take("[")) {
        ExprPtr index = node(Expr::Kind::index, begin);
        index->args.push_back(std::move(out));
        index->args.push_back(disjunction());
        expect("]", "closes the '['");
        out = close(std::move(index), begin);
      } else if (peek() == '.') {
        ++at_;
        std::size_t name = mark();
        while (at_ < text_.size() && (is_letter(text_[at_]) || is_digit(text_[at_]))) ++at_;
        if (at_ == name) fail(name, "a method's name is missing after '.'");
        out = method(std::move(out), begin, text_.substr(name, at_ - name), name);
      } else {
        return out;
      }
    }
  }
  void expect(std::string_view token, const std::string& why) {
    if (!take(token)) {
      fail(at_, "'" + std::string(token) + "' is missing here; it " + why);
    }
  }
  void arguments(Expr& into) {
    expect("(", "opens the arguments");
    if (take(")")) return;
    do {
      into.args.push_back(disjunction());
    } while (take(","));
    expect(")", "closes the arguments");
  }
  ExprPtr method(ExprPtr receiver, std::size_t begin, std::string name, std::size_t name_at) {
    ExprPtr out = node(Expr::Kind::method, name_at);
    out->name = std::move(name);
    out->args.push_back(std::move(receiver));
    arguments(*out);
    return close(std::move(out), begin);
  }
  ExprPtr primary() {
    Deeper deeper(*this);
    std::size_t begin = mark();
    char c = peek();
    if (c == '(') {
      ++at_;
      ExprPtr out = disjunction();
      expect(")", "closes the '('");
      return out;
    }
    if (c == '\'' || c == '"') return quoted(begin, c);
    if (is_letter(c) || is_digit(c) || c == '{') return path(begin);
    if (c == '\0') fail(begin, "a value is missing at the end of the expression");
    fail(begin, "a number, a name or '(' should stand here, not '" + text_.substr(begin, 1) + "'");
  }
  ExprPtr quoted(std::size_t begin, char quote) {
    std::size_t end = text_.find(quote, begin + 1);
    if (end == std::string::npos) fail(begin, "a quoted name that is not closed");
    at_ = end + 1;
    return named(begin, text_.substr(begin + 1, end - begin - 1), begin + 1, true);
  }
  ExprPtr named(std::size_t begin, std::string name, std::size_t name_at, bool in_quotes) {
    ExprPtr out = node(Expr::Kind::name, begin);
    std::optional<Pattern::Problem> problem;
    out->pattern = Pattern::parse(name, false, problem);
    if (problem) fail(name_at + problem->at, problem->text);
    std::size_t at = name_at;
    for (Pattern::Part& part : out->pattern.parts) {
      if (part.kind == Pattern::Kind::computed) computed(part, at + 1);
      bool braces = part.kind == Pattern::Kind::capture || part.kind == Pattern::Kind::computed;
      at += part.text.size() + (braces ? 2 : 0);
    }
    out->name = std::move(name);
    out->quoted = in_quotes;
    return close(std::move(out), begin);
  }
  // What stands between the braces of a name, from `at`.
  void computed(Pattern::Part& part, std::size_t at) const {
    DocValue inner;
    inner.text = part.text;
    for (std::size_t i = at; i <= at + part.text.size(); ++i) {
      inner.places.push_back(source_.places[std::min(i, source_.places.size() - 1)]);
    }
    try {
      part.computed = Parser(inner).all();
    } catch (const SyntaxMistake& mistake) {
      fail(at + mistake.at, mistake.text);
    }
  }
  ExprPtr path(std::size_t begin) {
    for (; at_ < text_.size() && is_path(text_[at_]); ++at_) {
      if (text_[at_] == '{') at_ = std::min(text_.find('}', at_), text_.size() - 1);
    }
    if (ExprPtr n = number(begin)) return n;
    std::string run = text_.substr(begin, at_ - begin);
    if (run.back() == '.' || run.find("..") != std::string::npos) {
      fail(begin + std::min(run.find(".."), run.size() - 1),
           "a part of the name is missing at '.'");
    }
    std::size_t end = at_;
    if (is_word(run) || peek() != '(') {
      at_ = end;
      return simple(begin);
    }
    std::size_t dot = run.rfind('.');
    if (dot == std::string::npos) {
      ExprPtr out = node(Expr::Kind::call, begin);
      out->name = run;
      arguments(*out);
      return close(std::move(out), begin);
    }
    std::size_t arguments_at = at_;
    at_ = begin + dot;
    ExprPtr receiver = simple(begin);
    at_ = arguments_at;
    return method(std::move(receiver), begin, run.substr(dot + 1), begin + dot + 1);
  }
  static bool is_word(std::string_view run) {
    return run == "true" || run == "false" || run == "and" || run == "or" || run == "not";
  }
  // The run [begin, at_) by itself: a number, a truth or a name. Before '.' and a method as well,
  // so that a part of an expression is what its text alone would be.
  ExprPtr simple(std::size_t begin) {
    if (ExprPtr n = number(begin)) return n;
    std::string run = text_.substr(begin, at_ - begin);
    if (!is_word(run)) return named(begin, std::move(run), begin, false);
    if (run != "true" && run != "false") fail(begin, "a value is missing before '" + run + "'");
    ExprPtr out = node(Expr::Kind::boolean, begin);
    out->boolean = run == "true";
    return close(std::move(out), begin);
  }
  // The run [begin, at_) as a number, with a signed exponent after it if there is one;
  // nullptr when it is a name, such as "0.weight".
  ExprPtr number(std::size_t begin) {
    if (!is_digit(text_[begin])) return nullptr;
    std::size_t end = at_;
    char last = text_[end - 1];
    if ((last == 'e' || last == 'E') && end + 1 < text_.size() &&
        (text_[end] == '-' || text_[end] == '+') && is_digit(text_[end + 1])) {
      ++end;
      while (end < text_.size() && is_digit(text_[end])) ++end;
    }
    const char* first = text_.data() + begin;
    const char* stop = text_.data() + end;
    ExprPtr out = node(Expr::Kind::integer, begin);
    auto whole = std::from_chars(first, stop, out->integer);
    if (whole.ptr == stop) {
      if (whole.ec != std::errc{}) fail(begin, "a whole number that does not fit 63 bits");
    } else {
      out->kind = Expr::Kind::real;
      auto real = std::from_chars(first, stop, out->real);
      if (real.ptr != stop) return nullptr;
      if (real.ec != std::errc{}) fail(begin, "a number out of range");
    }
    at_ = end;
    return close(std::move(out), begin);
  }

  struct Deeper {
    explicit Deeper(Parser& p) : parser(p) {
      if (++parser.depth_ > 4 * kMaxDepth) parser.fail(parser.at_, "an expression nested too deep");
    }
    ~Deeper() { --parser.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    Parser& parser;
  };

  const DocValue& source_;
  const std::string& text_;
  std::size_t at_ = 0;
  std::size_t parts_ = 0;
  unsigned depth_ = 0;
};

}  // namespace

ExprPtr Expr::clone() const {
  auto out = std::make_unique<Expr>();
  out->kind = kind;
  out->place = place;
  out->text = text;
  out->integer = integer;
  out->real = real;
  out->boolean = boolean;
  out->op = op;
  out->name = name;
  out->quoted = quoted;
  out->pattern = pattern;
  for (const ExprPtr& arg : args) out->args.push_back(arg->clone());
  return out;
}

ExprPtr parse_expr(const DocValue& source, std::vector<RecipeMistake>& mistakes) {
  try {
    return Parser(source).all();
  } catch (const SyntaxMistake& mistake) {
    Place place = source.places[std::min(mistake.at, source.places.size() - 1)];
    mistakes.push_back({place.line, place.column, mistake.text, place.file});
    return nullptr;
  }
}

Pattern parse_name(const std::string& text, Place place, bool stars,
                   std::vector<RecipeMistake>& mistakes) {
  std::optional<Pattern::Problem> problem;
  Pattern out = Pattern::parse(text, stars, problem);
  if (problem) mistakes.push_back({place.line, place.column, problem->text, place.file});
  for (Pattern::Part& part : out.parts) {
    if (part.kind != Pattern::Kind::computed) continue;
    DocValue inner;
    inner.text = part.text;
    inner.places.assign(part.text.size() + 1, place);
    part.computed = parse_expr(inner, mistakes);
  }
  return out;
}

std::vector<std::string> variables(const Pattern& pattern) {
  std::vector<std::string> out = pattern.captures();
  for (const Pattern::Part& part : pattern.parts) {
    if (part.computed == nullptr) continue;
    each_node(*part.computed, [&](Expr& node) {
      if (node.use != Expr::Use::variable) return;
      if (std::find(out.begin(), out.end(), node.name) == out.end()) out.push_back(node.name);
    });
  }
  return out;
}

}  // namespace wb
