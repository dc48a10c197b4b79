// Expressions of chat templates: the half of jinja_interpreter.h that has values.
#include <fmt/format.h>

#include <algorithm>

#include "speak/jinja_functions.h"
#include "speak/jinja_interpreter.h"

namespace wb::speak::jinja {

namespace {

constexpr std::string_view kFunctions[] = {"raise_exception", "range", "namespace", "dict"};
constexpr std::int64_t kMaxRange = 100'000;  // Jinja's sandbox has the same

}  // namespace

Value Interpreter::value_of(const Expr& e) {
  const Deeper deeper(depth_, kMaxRunDepth, run_);
  run_.line = e.line;
  run_.step();
  switch (e.kind) {
    case ExprKind::literal:
      return e.value;
    case ExprKind::name:
      return lookup(e.name);
    case ExprKind::list:
    case ExprKind::tuple:
    case ExprKind::dict:
      return collection(e);
    case ExprKind::attribute:
      return attribute_of(value_of(*e.kids[0]), e.name, run_);
    case ExprKind::item: {
      const Value on = value_of(*e.kids[0]);
      return item_of(on, value_of(*e.kids[1]), run_);
    }
    case ExprKind::slice:
      return slice(e);
    case ExprKind::call:
      return call(e);
    case ExprKind::filter:
      return filters(e, {});
    case ExprKind::test: {
      const Value on = value_of(*e.kids[0]);
      return {apply_test(e.name, on, arguments(e, 1).placed, run_)};
    }
    case ExprKind::negative:
    case ExprKind::positive: {
      const Value on = value_of(*e.kids[0]);
      if (on.text() != nullptr || on.items() != nullptr || on.dict() != nullptr)
        run_.fail(fmt::format("a {} has no sign", type_name(on)));
      // -0.0 is not 0 - 0.0.
      const Value factor{std::int64_t{e.kind == ExprKind::negative ? -1 : 1}};
      return arithmetic('*', on, factor, run_);
    }
    case ExprKind::negation:
      return {!truth(value_of(*e.kids[0]))};
    case ExprKind::binary:
      return binary(e);
    case ExprKind::concat:
      return concat(e);
    case ExprKind::compare:
      return compare(e);
    case ExprKind::both: {
      Value left = value_of(*e.kids[0]);
      return truth(left) ? value_of(*e.kids[1]) : std::move(left);
    }
    case ExprKind::either: {
      Value left = value_of(*e.kids[0]);
      return truth(left) ? std::move(left) : value_of(*e.kids[1]);
    }
    case ExprKind::condition:
      if (truth(value_of(*e.kids[1]))) return value_of(*e.kids[0]);
      if (e.kids[2] != nullptr) return value_of(*e.kids[2]);
      return undefined_value("an inline if is false and has no else", run_);
  }
  WB_BUG("an expression of no kind");
}

Value Interpreter::lookup(const std::string& name) {
  const auto in = [&](const Scope& scope) -> const Value* {
    for (const auto& [own, value] : scope) {
      run_.step();
      if (own == name) return &value;
    }
    return nullptr;
  };
  for (std::size_t i = scopes_.size(); i-- > base_;) {
    if (const Value* found = in(scopes_[i])) return *found;
  }
  if (const Value* found = in(scopes_[0])) return *found;
  for (const auto& [own, value] : variables_.members) {
    if (own.text() != nullptr && *own.text() == name) return value;
  }
  for (std::string_view known : kFunctions) {
    if (known == name) return {Function{known}};
  }
  return undefined_value(fmt::format("'{}' is undefined", name), run_);
}

Value Interpreter::collection(const Expr& e) {
  if (e.kind != ExprKind::dict) {
    std::vector<Value> values;
    for (const ExprPtr& kid : e.kids) values.push_back(value_of(*kid));
    return list_value(std::move(values), run_,
                      e.kind == ExprKind::list ? ItemsKind::list : ItemsKind::tuple);
  }
  std::vector<std::pair<Value, Value>> members;
  for (std::size_t i = 0; i < e.kids.size(); i += 2) {
    Value key = value_of(*e.kids[i]);
    members.emplace_back(std::move(key), value_of(*e.kids[i + 1]));
  }
  return dict_value(std::move(members), run_);
}

Value Interpreter::binary(const Expr& e) {
  const Value left = value_of(*e.kids[0]), right = value_of(*e.kids[1]);
  return arithmetic(e.op, left, right, run_);
}

Value Interpreter::concat(const Expr& e) {
  std::string out;
  for (const ExprPtr& kid : e.kids) out += to_text(value_of(*kid), run_);
  return text_value(std::move(out), run_);
}

Value Interpreter::compare(const Expr& e) {
  Value left = value_of(*e.kids[0]);
  for (std::size_t i = 0; i < e.ops.size(); ++i) {
    Value right = value_of(*e.kids[i + 1]);
    bool holds = false;
    const auto ordered = [&] {
      if (left.undefined()) undefined_used(left, run_);
      if (right.undefined()) undefined_used(right, run_);
      return order(left, right, run_);
    };
    switch (e.ops[i]) {
      case Comparison::equal:
        holds = equal(left, right, run_);
        break;
      case Comparison::unequal:
        holds = !equal(left, right, run_);
        break;
      case Comparison::less:
        holds = ordered() < 0;
        break;
      case Comparison::less_equal:
        holds = ordered() <= 0;
        break;
      case Comparison::greater:
        holds = ordered() > 0;
        break;
      case Comparison::greater_equal:
        holds = ordered() >= 0;
        break;
      case Comparison::in:
        holds = contains(right, left, run_);
        break;
      case Comparison::not_in:
        holds = !contains(right, left, run_);
        break;
    }
    if (!holds) return {false};
    left = std::move(right);
  }
  return {true};
}

Value Interpreter::slice(const Expr& e) {
  const Value on = value_of(*e.kids[0]);
  Value bounds[3];
  const Value* given[3] = {};
  for (std::size_t i = 0; i < 3; ++i) {
    if (e.kids[i + 1] == nullptr) continue;
    bounds[i] = value_of(*e.kids[i + 1]);
    given[i] = &bounds[i];
  }
  return slice_of(on, given[0], given[1], given[2], run_);
}

// The filters of `e` from the innermost on; a kid that is null stands for `innermost`.
Value Interpreter::filters(const Expr& e, const Value& innermost) {
  const Deeper deeper(depth_, kMaxRunDepth, run_);
  const Expr* kid = e.kids[0].get();
  const bool more = kid != nullptr && kid->kind == ExprKind::filter;
  const Value on = kid == nullptr ? innermost : more ? filters(*kid, innermost) : value_of(*kid);
  Called called = arguments(e, 1);
  run_.line = e.line;
  return apply_filter(e.name, on, std::move(called.placed), std::move(called.named), run_);
}

Interpreter::Called Interpreter::arguments(const Expr& e, std::size_t first) {
  Called out;
  for (std::size_t i = first; i < e.kids.size(); ++i) out.placed.push_back(value_of(*e.kids[i]));
  for (const auto& [name, expr] : e.named) out.named.emplace_back(name, value_of(*expr));
  run_.line = e.line;
  return out;
}

Value Interpreter::call(const Expr& e) {
  const Expr& callee = *e.kids[0];
  if (callee.kind == ExprKind::attribute) {
    const Value on = value_of(*callee.kids[0]);
    Called called = arguments(e, 1);
    if (const auto* loop = on.get<LoopRef>(); loop != nullptr && callee.name == "cycle") {
      if (called.placed.empty()) run_.fail("loop.cycle() has nothing to choose from");
      return called.placed[(*loop)->index0 % called.placed.size()];
    }
    return call_method(on, callee.name, std::move(called.placed), std::move(called.named), run_);
  }
  if (callee.kind != ExprKind::name) run_.refuse("only functions, macros and methods are called");
  if (const Value on = lookup(callee.name); on.undefined()) {
    if (callee.name == "strftime_now") {
      run_.refuse("the template asks for the date (strftime_now), and has no clock here");
    }
    undefined_used(on, run_);
  } else if (const auto* macro = on.get<MacroRef>()) {
    return call_macro(*macro->macro, arguments(e, 1));
  } else if (const auto* function = on.get<Function>()) {
    return call_function(function->name, arguments(e, 1));
  }
  run_.fail(fmt::format("\"{}\" is called and is no function", callee.name));
}

Value Interpreter::call_function(std::string_view name, Called called) {
  if (name == "namespace" || name == "dict") {
    std::vector<std::pair<Value, Value>> members;
    if (called.placed.size() > 1) run_.fail(fmt::format("{} takes one dict", name));
    if (!called.placed.empty()) {
      const Dict* from = called.placed[0].dict();
      if (from == nullptr) run_.refuse(fmt::format("{} takes a dict only", name));
      members = from->members;
    }
    for (auto& [key, value] : called.named)
      members.emplace_back(text_value(key, run_), std::move(value));
    const Value dict = dict_value(std::move(members), run_);
    if (name == "dict") return dict;
    auto space = std::make_shared<Namespace>();
    for (const auto& [key, value] : dict.dict()->members) {
      if (key.text() == nullptr) run_.refuse("a namespace has names that are texts");
      space->members.emplace_back(*key.text(), value);
    }
    return {std::move(space)};
  }
  Arguments args(std::string(name), std::move(called.placed), std::move(called.named), run_);
  if (name == "raise_exception") {
    const std::string message = to_text(args.at(0, "message"), run_);
    args.done();
    run_.raised(message);
  }
  const bool one = args.placed() == 1;
  const std::int64_t first = args.whole_or(0, "", 0);
  if (args.placed() == 0) args.at(0);
  const std::int64_t begin = one ? 0 : first, end = one ? first : args.whole_or(1, "", 0);
  const std::int64_t step = args.whole_or(2, "", 1);
  args.done();
  if (step == 0) run_.fail("the step of range is 0");
  std::vector<Value> out;
  for (std::int64_t i = begin; step > 0 ? i < end : i > end;) {
    if (static_cast<std::int64_t>(out.size()) == kMaxRange)
      run_.over("numbers in a range", static_cast<std::size_t>(kMaxRange));
    out.push_back({i});
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return list_value(std::move(out), run_, ItemsKind::range);
}

Value Interpreter::call_macro(const Statement& macro, Called called) {
  const Deeper deeper(depth_, kMaxRunDepth, run_);
  if (called.placed.size() > macro.parameters.size())
    run_.fail(fmt::format("the macro {} takes {} arguments and is given {}", macro.text,
                          macro.parameters.size(), called.placed.size()));
  for (const auto& named : called.named) {
    if (std::none_of(macro.parameters.begin(), macro.parameters.end(),
                     [&](const auto& p) { return p.first == named.first; }))
      run_.fail(fmt::format("the macro {} has no argument \"{}\"", macro.text, named.first));
  }
  const std::size_t base = std::exchange(base_, scopes_.size());
  std::string outside = std::exchange(out_, {});
  scopes_.emplace_back();
  for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
    const auto& [name, otherwise] = macro.parameters[i];
    const Value* given = i < called.placed.size() ? &called.placed[i] : nullptr;
    for (const auto& [own, value] : called.named) {
      if (own != name) continue;
      if (given != nullptr)
        run_.fail(fmt::format("the macro {} is given \"{}\" twice", macro.text, name));
      given = &value;
    }
    Value value = given != nullptr ? *given
                  : otherwise != nullptr
                      ? value_of(*otherwise)
                      : undefined_value("parameter '" + name + "' was not provided", run_);
    store(scopes_.back(), name, std::move(value));
  }
  run_all(macro.body);
  scopes_.pop_back();
  base_ = base;
  return text_value(std::exchange(out_, std::move(outside)), run_);
}

}  // namespace wb::speak::jinja
