// See eval.h: scalars, operators and functions. What names stand for is in eval_names.cpp, the
// tensor steps are in eval_tensor.cpp.
#include "recipe/eval.h"

#include <algorithm>
#include <cmath>

namespace wb {

namespace {

[[noreturn]] void overflow(const Expr& expr) {
  throw Error(Code::size_overflow, "'" + expr.text + "' does not fit 63 bits")
      .advice("The file is damaged or hostile, or the recipe's formula is wrong.");
}
double as_double(const Value& value) {
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return static_cast<double>(*whole);
  return std::get<double>(value);
}
bool is_number(const Value& value) {
  return std::holds_alternative<std::int64_t>(value) || std::holds_alternative<double>(value);
}
std::string printed(const Value& value) {
  if (std::holds_alternative<Tensor>(value)) return "a tensor";
  if (std::holds_alternative<Generated>(value)) return "generated values";
  return to_json(value).dump();
}

}  // namespace

nlohmann::json to_json(const Value& scalar) {
  if (const auto* i = std::get_if<std::int64_t>(&scalar)) return *i;
  if (const auto* d = std::get_if<double>(&scalar)) return *d;
  if (const auto* b = std::get_if<bool>(&scalar)) return *b;
  if (const auto* s = std::get_if<std::string>(&scalar)) return *s;
  if (const auto* list = std::get_if<Numbers>(&scalar)) return *list;
  WB_BUG("a tensor is no scalar");
}

std::optional<Value> from_json(const nlohmann::json& json) {
  if (json.is_boolean()) return Value(json.get<bool>());
  if (json.is_number_float()) return Value(json.get<double>());
  if (json.is_number_unsigned() && json.get<std::uint64_t>() > INT64_MAX) return std::nullopt;
  if (json.is_number_integer()) return Value(json.get<std::int64_t>());
  if (json.is_string()) return Value(json.get<std::string>());
  if (json.is_array() && std::all_of(json.begin(), json.end(),
                                     [](const nlohmann::json& item) { return item.is_number(); })) {
    return Value(json.get<Numbers>());
  }
  return std::nullopt;
}

void Evaluator::wrong_type(const Expr& expr, const char* wanted, const Value& got) const {
  throw Error(Code::config_invalid, "'" + expr.text +
                                        "' does not have the type that the recipe "
                                        "needs")
      .expected(wanted)
      .actual(printed(got))
      .advice("Correct the value beside the tensors, or give it with --set if the recipe asks.");
}

bool Evaluator::boolean(const Expr& expr) {
  Value value = eval(expr);
  if (const auto* b = std::get_if<bool>(&value)) return *b;
  wrong_type(expr, "true or false", value);
}
Tensor Evaluator::tensor(const Expr& expr) {
  Value value = eval(expr);
  if (auto* t = std::get_if<Tensor>(&value)) return std::move(*t);
  wrong_type(expr, "a tensor", value);
}
std::int64_t Evaluator::whole(const Expr& expr) {
  Value value = eval(expr);
  if (const auto* i = std::get_if<std::int64_t>(&value)) return *i;
  if (const auto* d = std::get_if<double>(&value)) {
    if (std::fabs(*d) < 9e15 && *d == std::floor(*d)) return static_cast<std::int64_t>(*d);
  }
  wrong_type(expr, "a whole number", value);
}
std::uint64_t Evaluator::size(const Expr& expr) {
  std::int64_t value = whole(expr);
  if (value < 0) wrong_type(expr, "a number that is not negative", Value(value));
  return static_cast<std::uint64_t>(value);
}
double Evaluator::real(const Expr& expr) {
  Value value = eval(expr);
  if (!is_number(value)) wrong_type(expr, "a number", value);
  return as_double(value);
}

Value Evaluator::eval(const Expr& expr) {
  switch (expr.kind) {
    case Expr::Kind::integer:
      return expr.integer;
    case Expr::Kind::real:
      return expr.real;
    case Expr::Kind::boolean:
      return expr.boolean;
    case Expr::Kind::name:
      return name(expr);
    case Expr::Kind::call:
      return call(expr);
    case Expr::Kind::method:
      return method(expr);
    case Expr::Kind::binary:
      return binary(expr);
    case Expr::Kind::not_:
      return !boolean(*expr.args[0]);
    case Expr::Kind::negate: {
      Value value = eval(*expr.args[0]);
      if (!is_number(value)) wrong_type(*expr.args[0], "a number", value);
      if (const auto* i = std::get_if<std::int64_t>(&value)) {
        if (*i == INT64_MIN) overflow(expr);
        return -*i;
      }
      return -as_double(value);
    }
    case Expr::Kind::index: {
      // A dimension is a fact about a tensor; asking for it does not use the tensor.
      std::size_t before = used.size();
      Tensor of = tensor(*expr.args[0]);
      used.resize(before);
      int a = axis(*expr.args[1], of);
      return static_cast<std::int64_t>(of.shape()[static_cast<std::size_t>(a)]);
    }
  }
  WB_BUG("not a kind of expression");
}

Value Evaluator::binary(const Expr& expr) {
  const Expr& left = *expr.args[0];
  const Expr& right = *expr.args[1];
  if (expr.op == Op::and_) return boolean(left) && boolean(right);
  if (expr.op == Op::or_) return boolean(left) || boolean(right);
  Value a = eval(left), b = eval(right);
  if (expr.op == Op::equal || expr.op == Op::not_equal) {
    bool equal =
        is_number(a) && is_number(b) ? as_double(a) == as_double(b) : to_json(a) == to_json(b);
    return equal == (expr.op == Op::equal);
  }
  if (!is_number(a)) wrong_type(left, "a number", a);
  if (!is_number(b)) wrong_type(right, "a number", b);
  switch (expr.op) {
    case Op::less:
      return as_double(a) < as_double(b);
    case Op::less_equal:
      return as_double(a) <= as_double(b);
    case Op::greater:
      return as_double(a) > as_double(b);
    case Op::greater_equal:
      return as_double(a) >= as_double(b);
    default:
      return arithmetic(expr, a, b);
  }
}

Value Evaluator::arithmetic(const Expr& expr, const Value& a, const Value& b) {
  const auto* x = std::get_if<std::int64_t>(&a);
  const auto* y = std::get_if<std::int64_t>(&b);
  bool zero = as_double(b) == 0;
  if (expr.op == Op::divide && (zero || (x != nullptr && y != nullptr && *x % *y != 0))) {
    throw Error(Code::dimension_mismatch, "'" + expr.text + "' is not exact: " + printed(a) +
                                              " cannot be divided by " + printed(b))
        .advice("The checkpoint is not of this recipe's layout, or one of the two was changed.");
  }
  if (x == nullptr || y == nullptr) {
    double p = as_double(a), q = as_double(b);
    switch (expr.op) {
      case Op::add:
        return p + q;
      case Op::subtract:
        return p - q;
      case Op::multiply:
        return p * q;
      default:
        return p / q;
    }
  }
  std::int64_t out = 0;
  bool wrapped = false;
  switch (expr.op) {
    case Op::add:
      wrapped = __builtin_add_overflow(*x, *y, &out);
      break;
    case Op::subtract:
      wrapped = __builtin_sub_overflow(*x, *y, &out);
      break;
    case Op::multiply:
      wrapped = __builtin_mul_overflow(*x, *y, &out);
      break;
    default:
      wrapped = *x == INT64_MIN && *y == -1;
      if (!wrapped) out = *x / *y;
  }
  if (wrapped) overflow(expr);
  return out;
}

Value Evaluator::compare(const Expr& expr, double tolerance, double absolute) {
  Value a = eval(*expr.args[0]), b = eval(*expr.args[1]);
  if (std::holds_alternative<Generated>(a)) std::swap(a, b);
  const auto* left = std::get_if<Tensor>(&a);
  if (left == nullptr) wrong_type(expr, "a tensor on one side at least", b);
  Comparison result = compare_values(*left, b, tolerance, absolute);
  if (!result.difference.empty()) difference = result.difference;
  return result.difference.empty();
}

Value Evaluator::call(const Expr& expr) {
  const auto& args = expr.args;
  switch (expr.function->fn) {
    case Fn::count:
      return count(expr, false);
    case Fn::first:
      return count(expr, true);
    case Fn::has: {
      Pattern pattern = filled(args[0]->pattern).with_suffix(suffix);
      if (pattern.has_capture()) return source_.any(pattern);
      std::string name = pattern.expand(indices), any;
      return source_.find(name) != Source::kNone ||
             (any_ == nullptr && encoding(name, any) != nullptr);
    }
    case Fn::same: {
      bool names = args[0]->use == Expr::Use::source && args[1]->use == Expr::Use::source;
      std::size_t before = used.size();
      bool same = names ? same_tensor(source_.tensor(source_index(*args[0])),
                                      source_.tensor(source_index(*args[1])))
                        : equal_bytes(tensor(*args[0]), tensor(*args[1]));
      used.resize(before);
      return same;
    }
    case Fn::equal:
      return compare(expr, 0.0);
    case Fn::close:
      return compare(expr, real(*args[2]));
    case Fn::near:
      return compare(expr, 0.0, real(*args[2]));
    case Fn::config:
    case Fn::fact:
      return lookup(expr);
    case Fn::if_:
      return eval(boolean(*args[0]) ? *args[1] : *args[2]);
    case Fn::min:
    case Fn::max: {
      Value best = eval(*args[0]);
      if (!is_number(best)) wrong_type(*args[0], "a number", best);
      for (std::size_t i = 1; i < args.size(); ++i) {
        Value next = eval(*args[i]);
        if (!is_number(next)) wrong_type(*args[i], "a number", next);
        bool less = as_double(next) < as_double(best);
        if (as_double(next) != as_double(best) && less == (expr.function->fn == Fn::min)) {
          best = next;
        }
      }
      return best;
    }
    case Fn::mod: {
      std::int64_t x = whole(*args[0]), divisor = whole(*args[1]);
      if (divisor <= 0) wrong_type(*args[1], "a divisor above 0", Value(divisor));
      return (x % divisor + divisor) % divisor;
    }
    case Fn::log:
      return std::log(real(*args[0]));
    case Fn::sqrt:
      return std::sqrt(real(*args[0]));
    case Fn::pow:
      return std::pow(real(*args[0]), real(*args[1]));
    default:
      return method(expr);
  }
}

}  // namespace wb
