// Holds expressions against the names that a recipe declares: resolves every name,
// checks argument counts and what each part yields. Owns the wording of those
// mistakes. After a check without mistakes evaluation can fail only by the checkpoint.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "recipe/recipe_impl.h"

namespace wb {

// What a recipe declares, and what of it is used.
struct Names {
  std::vector<ScalarName> scalars;
  std::map<std::string, std::size_t, std::less<>> slots;  // scalar name -> slot
  std::map<std::string, Place, std::less<>> variables;    // index variables
  std::set<std::string, std::less<>> used_variables;
  std::set<std::size_t> used_scalars;

  std::vector<std::string_view> scalar_names() const;
  std::vector<std::string_view> variable_names() const;
};

// Where an expression stands.
struct ExprContext {
  std::size_t known_scalars = SIZE_MAX;             // slots below it are defined by now
  std::set<std::string, std::less<>> bound;         // index variables that have a value here
  const std::vector<std::string>* words = nullptr;  // the words a symbol may be
  bool subject = false;                             // `this` is the tensor in question
};

class ExprChecker {
 public:
  ExprChecker(Names& names, std::vector<RecipeMistake>& mistakes)
      : names_(names), mistakes_(mistakes) {}

  // Checks and resolves `expr`, which should yield `expected`; returns what it yields.
  Type check(Expr& expr, Type expected, const ExprContext& context);
  // Reports captures of `pattern` that no [index] line declares; `{block}` is one of them.
  void check_captures(const Pattern& pattern, Place place);
  // Reports computed indices in a pattern where none may be.
  void no_computed(const Pattern& pattern, Place place, const std::string& where);
  // Index variables that the last check() found in use, and whether it found source names.
  const std::set<std::string, std::less<>>& seen_variables() const { return seen_; }
  bool seen_source() const { return seen_source_; }
  void forget_seen() {
    seen_.clear();
    seen_source_ = false;
  }
  void mistake(Place place, std::string text);

 private:
  void check_computed(const Pattern& pattern, const ExprContext& context);
  Type yields(Expr& expr, Type expected, const ExprContext& context);
  // Reports an `expr` that yields `actual` where `expected` should stand.
  Type held(const Expr& expr, Type actual, Type expected);
  Type name(Expr& expr, Type expected, const ExprContext& context);
  Type bare_name(Expr& expr, Type expected, const ExprContext& context);
  Type unknown_name(Expr& expr, Type expected, const ExprContext& context);
  void source(Expr& expr, const ExprContext& context, bool free_captures);
  // The captures and computed indices of a name, and whether they have values.
  void spelled(Expr& expr, const ExprContext& context, bool free_captures);
  Type call(Expr& expr, Type expected, const ExprContext& context);
  void argument(const Expr& call, Expr& arg, ArgKind kind, Type expected, ExprContext& context);
  void variable(Expr& arg, ExprContext& context);
  Type binary(Expr& expr, const ExprContext& context);

  Names& names_;
  std::vector<RecipeMistake>& mistakes_;
  std::set<std::string, std::less<>> seen_;
  bool seen_source_ = false;
};

// "; did you mean 'x'?" or "".
std::string did_you_mean(std::string_view name, const std::vector<std::string_view>& candidates);
// "a, b, c"
std::string joined(const std::vector<std::string_view>& names);

}  // namespace wb
