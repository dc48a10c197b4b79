// The expression language of recipes: its syntax tree and its parser. Owns what is
// a well-formed expression; what the names in it mean is the checker's (check_expr.h)
// and what it yields the evaluator's (eval.h).
//
//   expr    := or-chain of comparisons of sums of products of unary postfix
//   postfix := primary { "[" expr "]" | "." method "(" args ")" }
//   primary := number | true | false | name | 'name' | function "(" args ")" | "(" expr ")"
//
// A name is a run of letters, digits, '_', '.', {captures} and {expressions}; one before "(" is a
// function when it has no dot, else everything before its last dot is a name and the
// rest a method. Quotes hold names with any other character.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "recipe/document.h"
#include "recipe/pattern.h"

namespace wb {

struct Function;  // functions.h

enum class Op {
  add,
  subtract,
  multiply,
  divide,
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
  and_,
  or_
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  enum class Kind { integer, real, boolean, name, call, method, index, negate, not_, binary };
  // What a name turned out to be; set by the checker.
  enum class Use { unresolved, source, scalar, variable, symbol, subject };

  Kind kind = Kind::integer;
  Place place;
  std::string text;  // as written, for messages

  std::int64_t integer = 0;
  double real = 0;
  bool boolean = false;
  Op op = Op::add;
  std::string name;  // name, function or method
  bool quoted = false;
  Pattern pattern;  // of a name
  // call: its arguments; method: receiver, then arguments; index: operand, axis.
  std::vector<ExprPtr> args;

  Use use = Use::unresolved;
  std::size_t slot = 0;                // of a scalar: index into Recipe::scalars
  const Function* function = nullptr;  // of a call or method

  ExprPtr clone() const;
};

// Parses the string `source`. On a mistake, adds it and returns nullptr.
ExprPtr parse_expr(const DocValue& source, std::vector<RecipeMistake>& mistakes);
// Parses a name by itself, such as a key; `place` is of its first character.
Pattern parse_name(const std::string& text, Place place, bool stars,
                   std::vector<RecipeMistake>& mistakes);

// Visits every node, parents first.
template <typename Visit>
void each_node(Expr& expr, const Visit& visit) {
  visit(expr);
  for (ExprPtr& arg : expr.args) each_node(*arg, visit);
  for (Pattern::Part& part : expr.pattern.parts) {
    if (part.computed != nullptr) each_node(*part.computed, visit);
  }
}
// Index variables of a checked pattern: its captures, and those in what it computes.
std::vector<std::string> variables(const Pattern& pattern);

}  // namespace wb
