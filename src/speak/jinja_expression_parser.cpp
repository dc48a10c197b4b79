// See jinja_expression_parser.h.
#include "speak/jinja_expression_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

namespace wb::speak::jinja {

Token ExpressionParser::take() {
  Token token = tokens_[at_];
  if (token.kind != TokenKind::end) ++at_;
  run_.line = tokens_[at_].line;
  return token;
}

bool ExpressionParser::is(TokenKind kind, std::string_view text) const {
  return now().kind == kind && now().text == text;
}

bool ExpressionParser::accept_sign(std::string_view text) {
  const bool there = is_sign(text);
  if (there) take();
  return there;
}

bool ExpressionParser::accept_name(std::string_view text) {
  const bool there = is_name(text);
  if (there) take();
  return there;
}

void ExpressionParser::expect_sign(std::string_view text) {
  if (!accept_sign(text)) unexpected(fmt::format("\"{}\"", text));
}

std::string ExpressionParser::expect_identifier() {
  if (now().kind != TokenKind::name) unexpected("a name");
  return take().text;
}

void ExpressionParser::unexpected(std::string_view wanted) const {
  std::string met;
  switch (now().kind) {
    case TokenKind::print_end:
      met = "the end \"}}\"";
      break;
    case TokenKind::tag_end:
      met = "the end \"%}\"";
      break;
    case TokenKind::end:
      met = "the end of the template";
      break;
    default:
      met = fmt::format("\"{}\"", now().text);
  }
  run_.refuse(fmt::format("{} is met where {} is expected", met, wanted));
}

ExprPtr ExpressionParser::node(ExprKind kind, int line) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  return expr;
}

ExprPtr ExpressionParser::made(ExprPtr expr) const {
  for (const ExprPtr& kid : expr->kids) {
    if (kid != nullptr) expr->depth = std::max(expr->depth, kid->depth + 1);
  }
  for (const auto& named : expr->named) {
    expr->depth = std::max(expr->depth, named.second->depth + 1);
  }
  if (expr->depth > kMaxDepth) run_.over("levels of an expression", kMaxDepth);
  return expr;
}

template <class... Kids>
ExprPtr ExpressionParser::made(ExprKind kind, int line, Kids... kids) const {
  ExprPtr expr = node(kind, line);
  (expr->kids.push_back(std::move(kids)), ...);
  return made(std::move(expr));
}

bool ExpressionParser::ends_tuple(bool with_condition) const {
  const TokenKind kind = now().kind;
  return kind == TokenKind::print_end || kind == TokenKind::tag_end || kind == TokenKind::end ||
         is_sign(")") || (!with_condition && is_name("if"));
}

ExprPtr ExpressionParser::parse_tuple(bool with_condition) {
  const int line = now().line;
  std::vector<ExprPtr> parts;
  bool comma = false;
  while (!ends_tuple(with_condition)) {
    parts.push_back(with_condition ? parse_expression() : parse_or());
    comma = accept_sign(",");
    if (!comma) break;
  }
  if (parts.empty()) unexpected("an expression");
  if (parts.size() == 1 && !comma) return std::move(parts[0]);
  ExprPtr tuple = node(ExprKind::tuple, line);
  tuple->kids = std::move(parts);
  return made(std::move(tuple));
}

ExprPtr ExpressionParser::parse_expression() {
  const Deeper deeper(depth_, kMaxDepth, run_);
  ExprPtr expr = parse_or();
  while (is_name("if")) {
    const int line = take().line;
    ExprPtr test = parse_or();
    ExprPtr otherwise = accept_name("else") ? parse_expression() : nullptr;
    expr = made(ExprKind::condition, line, std::move(expr), std::move(test), std::move(otherwise));
  }
  return expr;
}

ExprPtr ExpressionParser::parse_or() {
  ExprPtr left = parse_and();
  while (is_name("or")) {
    const int line = take().line;
    left = made(ExprKind::either, line, std::move(left), parse_and());
  }
  return left;
}

ExprPtr ExpressionParser::parse_and() {
  ExprPtr left = parse_not();
  while (is_name("and")) {
    const int line = take().line;
    left = made(ExprKind::both, line, std::move(left), parse_not());
  }
  return left;
}

ExprPtr ExpressionParser::parse_not() {
  if (!is_name("not")) return parse_compare();
  const Deeper deeper(depth_, kMaxDepth, run_);
  const int line = take().line;
  return made(ExprKind::negation, line, parse_not());
}

ExprPtr ExpressionParser::parse_compare() {
  static constexpr std::array<std::pair<std::string_view, Comparison>, 6> kSigns = {
      {{"==", Comparison::equal},
       {"!=", Comparison::unequal},
       {"<", Comparison::less},
       {"<=", Comparison::less_equal},
       {">", Comparison::greater},
       {">=", Comparison::greater_equal}}};
  ExprPtr compare = node(ExprKind::compare, now().line);
  compare->kids.push_back(parse_sum());
  while (true) {
    std::optional<Comparison> op;
    for (const auto& [sign, meaning] : kSigns) {
      if (is_sign(sign)) op = meaning;
    }
    if (is_name("in")) op = Comparison::in;
    if (is_name("not") && at_ + 1 < tokens_.size() && tokens_[at_ + 1].kind == TokenKind::name &&
        tokens_[at_ + 1].text == "in") {
      op = Comparison::not_in;
      take();
    }
    if (!op) break;
    take();
    compare->ops.push_back(*op);
    compare->kids.push_back(parse_sum());
  }
  if (compare->ops.empty()) return std::move(compare->kids[0]);
  return made(std::move(compare));
}

ExprPtr ExpressionParser::parse_sum() {
  ExprPtr left = parse_concat();
  while (is_sign("+") || is_sign("-")) {
    const Token sign = take();
    left = made(ExprKind::binary, sign.line, std::move(left), parse_concat());
    left->op = sign.text[0];
  }
  return left;
}

ExprPtr ExpressionParser::parse_concat() {
  ExprPtr concat = node(ExprKind::concat, now().line);
  concat->kids.push_back(parse_product());
  while (accept_sign("~")) concat->kids.push_back(parse_product());
  if (concat->kids.size() == 1) return std::move(concat->kids[0]);
  return made(std::move(concat));
}

ExprPtr ExpressionParser::parse_product() {
  ExprPtr left = parse_unary(true);
  while (is_sign("*") || is_sign("/") || is_sign("//") || is_sign("%")) {
    const Token sign = take();
    left = made(ExprKind::binary, sign.line, std::move(left), parse_unary(true));
    left->op = sign.text == "//" ? 'd' : sign.text[0];
  }
  if (is_sign("**")) run_.refuse("the power ** is not known here");
  return left;
}

ExprPtr ExpressionParser::parse_unary(bool with_filter) {
  const Deeper deeper(depth_, kMaxDepth, run_);
  const int line = now().line;
  ExprPtr expr;
  if (accept_sign("-")) {
    expr = made(ExprKind::negative, line, parse_unary(false));
  } else if (accept_sign("+")) {
    expr = made(ExprKind::positive, line, parse_unary(false));
  } else {
    expr = parse_primary();
  }
  expr = parse_postfix(std::move(expr));
  return with_filter ? parse_filters(std::move(expr)) : std::move(expr);
}

ExprPtr ExpressionParser::parse_primary() {
  const int line = now().line;
  ExprPtr expr = node(ExprKind::literal, line);
  if (now().kind == TokenKind::name) return parse_name();
  if (now().kind == TokenKind::text) {
    std::string text;
    while (now().kind == TokenKind::text) text += take().text;  // neighbours are one
    expr->value = {std::make_shared<const std::string>(std::move(text))};
    return expr;
  }
  if (now().kind == TokenKind::whole) {
    expr->value = {take().whole};
    return expr;
  }
  if (now().kind == TokenKind::real) {
    expr->value = {take().real};
    return expr;
  }
  if (accept_sign("(")) {
    if (accept_sign(")")) return node(ExprKind::tuple, line);
    expr = parse_tuple();
    expect_sign(")");
    return expr;
  }
  if (accept_sign("[")) return parse_list(line);
  if (accept_sign("{")) return parse_dict(line);
  unexpected("an expression");
}

ExprPtr ExpressionParser::parse_name() {
  const Token token = take();
  ExprPtr expr = node(ExprKind::literal, token.line);
  if (token.text == "true" || token.text == "True") {
    expr->value = {true};
  } else if (token.text == "false" || token.text == "False") {
    expr->value = {false};
  } else if (token.text == "none" || token.text == "None") {
    expr->value = {None{}};
  } else {
    static constexpr std::string_view kWords[] = {"if", "else", "and", "or", "not", "in", "is"};
    if (std::find(std::begin(kWords), std::end(kWords), token.text) != std::end(kWords)) {
      run_.refuse(fmt::format("\"{}\" is met where an expression is expected", token.text));
    }
    expr->kind = ExprKind::name;
    expr->name = token.text;
  }
  return expr;
}

ExprPtr ExpressionParser::parse_list(int line) {
  ExprPtr list = node(ExprKind::list, line);
  while (!is_sign("]")) {
    list->kids.push_back(parse_expression());
    if (!accept_sign(",")) break;
  }
  expect_sign("]");
  return made(std::move(list));
}

ExprPtr ExpressionParser::parse_dict(int line) {
  ExprPtr dict = node(ExprKind::dict, line);
  while (!is_sign("}")) {
    dict->kids.push_back(parse_expression());
    expect_sign(":");
    dict->kids.push_back(parse_expression());
    if (!accept_sign(",")) break;
  }
  expect_sign("}");
  return made(std::move(dict));
}

ExprPtr ExpressionParser::parse_postfix(ExprPtr on) {
  while (true) {
    const int line = now().line;
    if (accept_sign(".")) {
      std::string name = expect_identifier();
      on = made(ExprKind::attribute, line, std::move(on));
      on->name = std::move(name);
    } else if (accept_sign("[")) {
      on = parse_subscript(std::move(on));
    } else if (accept_sign("(")) {
      ExprPtr call = node(ExprKind::call, line);
      call->kids.push_back(std::move(on));
      parse_arguments(*call);
      on = made(std::move(call));
    } else {
      return on;
    }
  }
}

ExprPtr ExpressionParser::parse_subscript(ExprPtr on) {
  const int line = now().line;
  ExprPtr parts[3];
  int colons = 0;
  while (!is_sign("]")) {
    if (accept_sign(":")) {
      if (++colons > 2) unexpected("\"]\"");
    } else if (parts[colons] == nullptr) {
      parts[colons] = parse_expression();
    } else {
      unexpected("\"]\"");
    }
  }
  take();
  if (colons > 0) {
    return made(ExprKind::slice, line, std::move(on), std::move(parts[0]), std::move(parts[1]),
                std::move(parts[2]));
  }
  if (parts[0] == nullptr) run_.refuse("nothing stands in [ ]");
  return made(ExprKind::item, line, std::move(on), std::move(parts[0]));
}

// Behind "(", up to and with ")".
void ExpressionParser::parse_arguments(Expr& call) {
  while (!is_sign(")")) {
    if (is_sign("*") || is_sign("**")) run_.refuse("arguments by * and ** are not known here");
    const bool named = now().kind == TokenKind::name && at_ + 1 < tokens_.size() &&
                       tokens_[at_ + 1].kind == TokenKind::sign && tokens_[at_ + 1].text == "=";
    if (named) {
      std::string name = take().text;
      take();
      call.named.emplace_back(std::move(name), parse_expression());
    } else if (!call.named.empty()) {
      run_.refuse("an argument without a name follows one with a name");
    } else {
      call.kids.push_back(parse_expression());
    }
    if (!accept_sign(",")) break;
  }
  expect_sign(")");
}

ExprPtr ExpressionParser::parse_filters(ExprPtr on, bool only_filters) {
  while (true) {
    if (is_sign("|")) {
      const int line = take().line;
      ExprPtr filter = node(ExprKind::filter, line);
      filter->name = expect_identifier();
      filter->kids.push_back(std::move(on));
      if (accept_sign("(")) parse_arguments(*filter);
      on = made(std::move(filter));
    } else if (!only_filters && is_name("is")) {
      on = parse_test(std::move(on));
    } else if (!only_filters && is_sign("(")) {
      run_.refuse("the result of a filter or test is called");
    } else {
      return on;
    }
  }
}

ExprPtr ExpressionParser::parse_test(ExprPtr on) {
  const int line = take().line;
  const bool negated = accept_name("not");
  ExprPtr test = node(ExprKind::test, line);
  test->name = expect_identifier();
  test->kids.push_back(std::move(on));
  const TokenKind next = now().kind;
  const bool operand = next == TokenKind::text || next == TokenKind::whole ||
                       next == TokenKind::real || is_sign("[") || is_sign("{") ||
                       (next == TokenKind::name && !is_name("else") && !is_name("or") &&
                        !is_name("and") && !is_name("if") && !is_name("in") && !is_name("not"));
  if (accept_sign("(")) {
    parse_arguments(*test);
    if (!test->named.empty()) run_.refuse("a test takes no arguments by name here");
  } else if (is_name("is")) {
    run_.refuse("one test follows another; put the first in brackets");
  } else if (operand) {
    test->kids.push_back(parse_postfix(parse_primary()));
  }
  test = made(std::move(test));
  return negated ? made(ExprKind::negation, line, std::move(test)) : std::move(test);
}

}  // namespace wb::speak::jinja
