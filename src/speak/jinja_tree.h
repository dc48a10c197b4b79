// A chat template as a tree: statements and expressions. Owns the nodes and how deep they nest,
// nothing of what they mean (jinja_interpreter.h).
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "speak/jinja_value.h"

namespace wb::speak::jinja {

enum class ExprKind {
  literal,
  name,
  list,
  tuple,
  dict,       // kids: key, value, key, value, ...
  attribute,  // kids[0].name
  item,       // kids[0][kids[1]]
  slice,      // kids[0][kids[1]:kids[2]:kids[3]], the last three may be null
  call,       // kids[0](kids[1...], named)
  filter,     // kids[0] | name(kids[1...], named)
  test,       // kids[0] is name(kids[1...])
  negative,
  positive,
  negation,  // not
  binary,    // kids[0] op kids[1]; "//" has the sign '/' doubled as 'd'
  concat,    // kids joined by ~
  compare,   // kids[0] ops[0] kids[1] ops[1] kids[2] ...
  both,      // and
  either,    // or
  condition  // kids[0] if kids[1] else kids[2], which may be null
};

enum class Comparison { equal, unequal, less, less_equal, greater, greater_equal, in, not_in };

struct Expr {
  ExprKind kind = ExprKind::literal;
  int line = 1;
  int depth = 1;
  Value value;
  std::string name;
  char op = ' ';
  std::vector<std::unique_ptr<Expr>> kids;
  std::vector<std::pair<std::string, std::unique_ptr<Expr>>> named;
  std::vector<Comparison> ops;
};
using ExprPtr = std::unique_ptr<Expr>;

enum class StatementKind {
  data,       // text
  print,      // value
  loop,       // for targets in value if test: body, else otherwise
  branch,     // if: branches, else otherwise
  set,        // targets = value
  set_block,  // targets = body, through the filters in value (its innermost kid is null)
  macro,      // text(parameters): body
  leave,      // break
  next,       // continue
  group       // body, as {% generation %} has it
};

struct Target {
  std::string name;
  std::string member;  // of a namespace; else empty
};

struct Statement {
  StatementKind kind = StatementKind::data;
  int line = 1;
  std::string text;
  ExprPtr value, test;
  std::vector<Target> targets;
  std::vector<std::pair<ExprPtr, std::vector<Statement>>> branches;
  std::vector<std::pair<std::string, ExprPtr>> parameters;  // with what stands for a missing one
  std::vector<Statement> body, otherwise;
};

// The tree of a template. Throws through `run` what is outside the subset of docs/chat.md.
std::vector<Statement> parse_template(std::string_view source, Run& run);

}  // namespace wb::speak::jinja
