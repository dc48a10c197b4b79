// See check_expr.h.
#include "recipe/check_expr.h"

#include <algorithm>

#include "tensor/dtype.h"

namespace wb {

namespace {

bool is_scalar(Type type) {
  return type == Type::number || type == Type::boolean || type == Type::symbol ||
         type == Type::scalar;
}
// A Type::scalar is known only when the checkpoint is, so it fits any scalar place.
bool fits(Type actual, Type expected) {
  if (actual == expected) return true;
  return (expected == Type::scalar && is_scalar(actual)) ||
         (actual == Type::scalar && is_scalar(expected));
}
const std::vector<std::string>& dtype_words() {
  static const std::vector<std::string> words = {"f32", "f16", "bf16", "f64"};
  return words;
}
std::vector<std::string_view> views(const std::vector<std::string>& strings) {
  return {strings.begin(), strings.end()};
}

}  // namespace

std::vector<std::string_view> Names::scalar_names() const {
  std::vector<std::string_view> out;
  for (const ScalarName& scalar : scalars) out.push_back(scalar.name);
  return out;
}
std::vector<std::string_view> Names::variable_names() const {
  std::vector<std::string_view> out;
  for (const auto& [name, place] : variables) out.push_back(name);
  return out;
}

std::string joined(const std::vector<std::string_view>& names) {
  constexpr std::size_t kMost = 4096;  // a hostile recipe may declare names without end
  std::string out;
  for (std::string_view name : names) {
    if (out.size() > kMost) return out + ", ...";
    if (!out.empty()) out += ", ";
    out += name;
  }
  return out;
}

std::string did_you_mean(std::string_view name, const std::vector<std::string_view>& candidates) {
  std::string_view best = nearest(name, candidates);
  return best.empty() ? "" : "; did you mean '" + std::string(best) + "'?";
}

void ExprChecker::mistake(Place place, std::string text) {
  mistakes_.push_back({place.line, place.column, std::move(text), place.file});
}

Type ExprChecker::check(Expr& expr, Type expected, const ExprContext& context) {
  return held(expr, yields(expr, expected, context), expected);
}

Type ExprChecker::held(const Expr& expr, Type actual, Type expected) {
  if (!fits(actual, expected)) {
    std::string text = "'" + expr.text + "' is " + std::string(in_words(actual)) + ", but " +
                       std::string(in_words(expected)) + " is called for here";
    if (actual == Type::tensor && is_scalar(expected)) {
      text += "; " + expr.text + "[0] is the length of its first axis";
    } else if (expr.use == Expr::Use::scalar && expected == Type::tensor) {
      text += "; in quotes ('" + expr.name + "') it would be the tensor of that name";
    }
    mistake(expr.place, text);
    return expected;
  }
  return actual == Type::scalar ? expected : actual;
}

Type ExprChecker::yields(Expr& expr, Type expected, const ExprContext& context) {
  switch (expr.kind) {
    case Expr::Kind::integer:
    case Expr::Kind::real:
      return Type::number;
    case Expr::Kind::boolean:
      return Type::boolean;
    case Expr::Kind::name:
      return name(expr, expected, context);
    case Expr::Kind::call:
    case Expr::Kind::method:
      return call(expr, expected, context);
    case Expr::Kind::index:
      check(*expr.args[0], Type::tensor, context);
      check(*expr.args[1], Type::number, context);
      return Type::number;
    case Expr::Kind::negate:
      check(*expr.args[0], Type::number, context);
      return Type::number;
    case Expr::Kind::not_:
      check(*expr.args[0], Type::boolean, context);
      return Type::boolean;
    case Expr::Kind::binary:
      return binary(expr, context);
  }
  return expected;
}

Type ExprChecker::binary(Expr& expr, const ExprContext& context) {
  Expr& a = *expr.args[0];
  Expr& b = *expr.args[1];
  switch (expr.op) {
    case Op::add:
    case Op::subtract:
    case Op::multiply:
    case Op::divide:
      check(a, Type::number, context);
      check(b, Type::number, context);
      return Type::number;
    case Op::and_:
    case Op::or_:
      check(a, Type::boolean, context);
      check(b, Type::boolean, context);
      return Type::boolean;
    case Op::less:
    case Op::less_equal:
    case Op::greater:
    case Op::greater_equal:
      check(a, Type::number, context);
      check(b, Type::number, context);
      return Type::boolean;
    case Op::equal:
    case Op::not_equal: {
      Type left = check(a, Type::scalar, context);
      check(b, left, context);
      return Type::boolean;
    }
  }
  return Type::boolean;
}

Type ExprChecker::name(Expr& expr, Type expected, const ExprContext& context) {
  bool dotted = expr.name.find('.') != std::string::npos || expr.pattern.has_capture() ||
                expr.pattern.has_computed();
  if (expr.quoted && is_scalar(expected) && expected != Type::number && expected != Type::boolean) {
    expr.use = Expr::Use::symbol;
  } else if (!expr.quoted && !dotted) {
    return bare_name(expr, expected, context);
  } else {
    source(expr, context, false);
    return Type::tensor;
  }
  if (context.words != nullptr && expected == Type::symbol)
    return unknown_name(expr, expected, context);
  return Type::symbol;
}

Type ExprChecker::bare_name(Expr& expr, Type expected, const ExprContext& context) {
  if (context.subject && expr.name == "this") {
    expr.use = Expr::Use::subject;
    return Type::tensor;
  }
  if (auto it = names_.slots.find(expr.name); it != names_.slots.end()) {
    const ScalarName& scalar = names_.scalars[it->second];
    expr.use = Expr::Use::scalar;
    expr.slot = it->second;
    names_.used_scalars.insert(it->second);
    if (it->second >= context.known_scalars) {
      mistake(expr.place, "'" + expr.name + "' is used before it is defined (line " +
                              std::to_string(scalar.place.line) + "); move its line up");
    }
    return scalar.type;
  }
  if (names_.variables.count(expr.name) != 0) {
    expr.use = Expr::Use::variable;
    names_.used_variables.insert(expr.name);
    seen_.insert(expr.name);
    if (context.bound.count(expr.name) == 0) {
      mistake(expr.place, "the index variable '" + expr.name +
                              "' has no value here: the name on "
                              "the left does not have {" +
                              expr.name + "}");
    }
    return Type::number;
  }
  if (expected == Type::tensor) {
    source(expr, context, false);
    return Type::tensor;
  }
  return unknown_name(expr, expected, context);
}

Type ExprChecker::unknown_name(Expr& expr, Type expected, const ExprContext& context) {
  if (expected == Type::symbol && context.words != nullptr) {
    auto it = std::find(context.words->begin(), context.words->end(), expr.name);
    if (it == context.words->end()) {
      mistake(expr.place, "'" + expr.name + "' is none of " + joined(views(*context.words)) +
                              did_you_mean(expr.name, views(*context.words)));
    }
    expr.use = Expr::Use::symbol;
    return expected;
  }
  std::string text = "no dimension or setting is called '" + expr.name + "'";
  std::string hint = did_you_mean(expr.name, names_.scalar_names());
  if (hint.empty()) hint = "; [dims] and [ask] declare " + joined(names_.scalar_names());
  mistake(expr.place, text + hint);
  return expected;
}

void ExprChecker::check_computed(const Pattern& pattern, const ExprContext& context) {
  for (const Pattern::Part& part : pattern.parts) {
    if (part.computed != nullptr) check(*part.computed, Type::number, context);
  }
}

void ExprChecker::no_computed(const Pattern& pattern, Place place, const std::string& where) {
  for (const Pattern::Part& part : pattern.parts) {
    if (part.kind != Pattern::Kind::computed) continue;
    mistake(place, "{" + part.text + "} cannot stand in " + where +
                       "; an index is reckoned in the names of source tensors only");
  }
}

void ExprChecker::check_captures(const Pattern& pattern, Place place) {
  ExprContext all;
  for (const auto& [name, declared] : names_.variables) all.bound.insert(name);
  check_computed(pattern, all);
  for (const std::string& capture : pattern.captures()) {
    if (names_.variables.count(capture) != 0) {
      names_.used_variables.insert(capture);
    } else if (capture == "block") {
      mistake(place,
              "{block} stands for the blocks that [blocks] lists, and only where the key "
              "on the left has it too");
    } else {
      mistake(place, "no index variable is called {" + capture + "}" +
                         did_you_mean(capture, names_.variable_names()) + "; [index] declares " +
                         joined(names_.variable_names()));
    }
  }
}

void ExprChecker::source(Expr& expr, const ExprContext& context, bool free_captures) {
  expr.use = Expr::Use::source;
  seen_source_ = true;
  spelled(expr, context, free_captures);
}

void ExprChecker::spelled(Expr& expr, const ExprContext& context, bool free_captures) {
  check_captures(expr.pattern, expr.place);
  check_computed(expr.pattern, context);
  for (const std::string& capture : expr.pattern.captures()) {
    if (names_.variables.count(capture) == 0) continue;
    seen_.insert(capture);
    if (free_captures || context.bound.count(capture) != 0) continue;
    mistake(expr.place, "{" + capture +
                            "} has no value here: the name on the left does not have "
                            "it; stack_over(" +
                            capture + ", ...) goes over all its values");
  }
}

Type ExprChecker::call(Expr& expr, Type expected, const ExprContext& context) {
  bool method = expr.kind == Expr::Kind::method;
  const Function* function = find_function(expr.name, method);
  if (function == nullptr) {
    std::vector<std::string_view> names;
    for (const Function& f : functions()) {
      if (f.method == method) names.push_back(f.name);
    }
    std::string kind = method ? "method" : "function";
    std::string hint = did_you_mean(expr.name, names);
    if (find_function(expr.name, !method) != nullptr) {
      hint = "; it is written " + std::string(find_function(expr.name, !method)->usage);
    } else if (hint.empty()) {
      hint = "; there are " + joined(names);
    }
    mistake(expr.place, "no " + kind + " is called '" + expr.name + "'" + hint);
    return expected;
  }
  expr.function = function;
  std::size_t first = method ? 1 : 0, given = expr.args.size() - first;
  std::size_t most = function->repeats ? SIZE_MAX : function->args.size();
  if (given < function->required || given > most) {
    mistake(expr.place, "'" + expr.name + "' takes " + std::string(function->usage) + ", but " +
                            std::to_string(given) +
                            (given == 1 ? " argument is" : " arguments are") + " given");
    return function->result == Type::scalar ? expected : function->result;
  }
  Type result = function->result;
  if (method) {
    // reshape keeps generated values what they are; every other step is for tensors.
    Type receiver = yields(*expr.args[0], Type::tensor, context);
    if (function->fn == Fn::reshape && receiver == Type::generated) {
      result = Type::generated;
    } else {
      held(*expr.args[0], receiver, Type::tensor);
    }
  }
  ExprContext inner = context;
  for (std::size_t i = 0; i < given; ++i) {
    ArgKind kind = function->args[std::min(i, function->args.size() - 1)];
    argument(expr, *expr.args[first + i], kind, expected, inner);
  }
  return function->fn == Fn::if_ ? expected : result;
}

void ExprChecker::argument(const Expr& call, Expr& arg, ArgKind kind, Type expected,
                           ExprContext& context) {
  switch (kind) {
    case ArgKind::number:
      check(arg, Type::number, context);
      return;
    case ArgKind::boolean:
      check(arg, Type::boolean, context);
      return;
    case ArgKind::tensor:
      check(arg, Type::tensor, context);
      return;
    case ArgKind::same_as_context:
      check(arg, expected, context);
      return;
    case ArgKind::scalar:
      check(arg, is_scalar(expected) ? expected : Type::scalar, context);
      return;
    case ArgKind::comparable: {
      // Each part is visited once: twice at every level would be 2^depth.
      Type actual = yields(arg, Type::tensor, context);
      if (actual != Type::generated) held(arg, actual, Type::tensor);
      return;
    }
    case ArgKind::variable:
      variable(arg, context);
      return;
    case ArgKind::source:
    case ArgKind::key:
    case ArgKind::dtype:
      break;
  }
  if (arg.kind != Expr::Kind::name) {
    mistake(arg.place,
            "'" + call.name + "' takes a name here, as in " + std::string(call.function->usage));
  } else if (kind == ArgKind::key) {
    arg.use = Expr::Use::symbol;
    spelled(arg, context, false);
  } else if (kind == ArgKind::dtype) {
    arg.use = Expr::Use::symbol;
    const std::vector<std::string>& words = dtype_words();
    if (std::find(words.begin(), words.end(), arg.name) == words.end()) {
      mistake(arg.place,
              "no element type is called '" + arg.name + "'; there are " + joined(views(words)));
    }
  } else {
    source(arg, context, true);
    if (call.function->fn == Fn::has) return;
    std::size_t free = 0;
    for (const std::string& c : arg.pattern.captures())
      free += context.bound.count(c) == 0 ? 1u : 0u;
    if (free != 1) {
      mistake(arg.place, "'" + call.name + "' goes over one index variable, but '" + arg.name +
                             "' has " + std::to_string(free));
    }
  }
}

void ExprChecker::variable(Expr& arg, ExprContext& context) {
  if (arg.kind != Expr::Kind::name || names_.variables.count(arg.name) == 0) {
    mistake(arg.place, "an index variable's name should stand here, not '" + arg.text + "'" +
                           did_you_mean(arg.text, names_.variable_names()) + "; [index] declares " +
                           joined(names_.variable_names()));
    return;
  }
  arg.use = Expr::Use::variable;
  names_.used_variables.insert(arg.name);
  seen_.insert(arg.name);
  context.bound.insert(arg.name);
}

}  // namespace wb
