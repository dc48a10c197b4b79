// Runs the tree of a chat template. Owns the scopes as Jinja has them (a loop's body is one for
// each turn, an if's is none, a macro sees its own and the outermost), the macros and the text
// as it grows; every node is counted and every nesting bounded (jinja_bounds.h).
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "speak/jinja_tree.h"

namespace wb::speak::jinja {

class Interpreter {
 public:
  // `variables`: members are what the template can name.
  Interpreter(const Dict& variables, Run& run) : variables_(variables), run_(run) {}

  std::string render(const std::vector<Statement>& body);

 private:
  using Scope = std::vector<std::pair<std::string, Value>>;
  enum class Flow { on, leave, next };
  struct Called {
    std::vector<Value> placed;
    std::vector<std::pair<std::string, Value>> named;
  };

  Flow run_all(const std::vector<Statement>& body);
  Flow run_one(const Statement& s);
  Flow run_loop(const Statement& s);
  Flow run_branch(const Statement& s);
  void run_set_block(const Statement& s);
  void define(const Statement& s);
  void write(std::string_view text);
  void assign(const Target& target, Value value);
  void assign_all(const std::vector<Target>& targets, const Value& value);
  void store(Scope& scope, const std::string& name, Value value);

  Value value_of(const Expr& e);
  Value lookup(const std::string& name);
  Value binary(const Expr& e);
  Value compare(const Expr& e);
  Value collection(const Expr& e);
  Value concat(const Expr& e);
  Value slice(const Expr& e);
  Value call(const Expr& e);
  Value call_function(std::string_view name, Called called);
  Value call_macro(const Statement& macro, Called called);
  Value filters(const Expr& e, const Value& innermost);
  Called arguments(const Expr& e, std::size_t first);

  const Dict& variables_;
  Run& run_;
  std::vector<Scope> scopes_ = {{}};
  std::size_t base_ = 0;  // scopes_ from here on are seen, and the first
  std::string out_;
  int depth_ = 0;
};

}  // namespace wb::speak::jinja
