// Expressions of a chat template, by Jinja's grammar and in its order of binding. Owns the place
// in the tokens; the parser of statements builds on it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "speak/jinja_lexer.h"
#include "speak/jinja_tree.h"

namespace wb::speak::jinja {

class ExpressionParser {
 public:
  ExpressionParser(std::vector<Token> tokens, Run& run) : run_(run), tokens_(std::move(tokens)) {}

 protected:
  const Token& now() const { return tokens_[at_]; }
  int line_before() const { return at_ == 0 ? 1 : tokens_[at_ - 1].line; }
  Token take();
  bool is(TokenKind kind, std::string_view text) const;
  bool is_sign(std::string_view text) const { return is(TokenKind::sign, text); }
  bool is_name(std::string_view text) const { return is(TokenKind::name, text); }
  // Takes the token where it is this one.
  bool accept_sign(std::string_view text);
  bool accept_name(std::string_view text);
  void expect_sign(std::string_view text);
  std::string expect_identifier();
  [[noreturn]] void unexpected(std::string_view wanted) const;

  // One expression, or several with commas between: a tuple. Without `with_condition` "if" ends
  // it, as in a loop's list.
  ExprPtr parse_tuple(bool with_condition = true);
  ExprPtr parse_expression();
  ExprPtr parse_or();
  // Filters and tests behind `on`, which may be null.
  ExprPtr parse_filters(ExprPtr on, bool only_filters = false);

  Run& run_;
  int depth_ = 0;

 private:
  ExprPtr node(ExprKind kind, int line) const;
  ExprPtr made(ExprPtr expr) const;  // with its depth, which is bounded
  template <class... Kids>
  ExprPtr made(ExprKind kind, int line, Kids... kids) const;

  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_compare();
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  ExprPtr parse_unary(bool with_filter);
  ExprPtr parse_primary();
  ExprPtr parse_name();
  ExprPtr parse_list(int line);
  ExprPtr parse_dict(int line);
  ExprPtr parse_postfix(ExprPtr on);
  ExprPtr parse_subscript(ExprPtr on);
  ExprPtr parse_test(ExprPtr on);
  void parse_arguments(Expr& call);
  bool ends_tuple(bool with_condition) const;

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
};

}  // namespace wb::speak::jinja
