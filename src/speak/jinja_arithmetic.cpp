// Arithmetic of chat templates (jinja_value.h): numbers, and texts and lists that are added
// and repeated. Whole numbers have 63 bits; what Python would make larger is refused.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "speak/jinja_functions.h"

namespace wb::speak::jinja {

namespace {

Value whole_result(char op, std::int64_t a, std::int64_t b, Run& run) {
  std::int64_t out = 0;
  bool over = false;
  switch (op) {
    case '+':
      over = __builtin_add_overflow(a, b, &out);
      break;
    case '-':
      over = __builtin_sub_overflow(a, b, &out);
      break;
    case '*':
      over = __builtin_mul_overflow(a, b, &out);
      break;
    default:
      if (b == 0) run.fail("division by zero");
      if (b == -1) {
        over = __builtin_sub_overflow(std::int64_t{0}, a, &out);
        if (op == '%') return {std::int64_t{0}};
        break;
      }
      out = op == '%' ? a % b : a / b;
      // Python rounds down where C++ rounds towards zero.
      if (a % b != 0 && (a % b < 0) != (b < 0)) out += op == '%' ? b : -1;
  }
  if (over) run.refuse("a whole number has more than 63 bits");
  return {out};
}

Value real_result(char op, double a, double b, Run& run) {
  if (op == '+') return {a + b};
  if (op == '-') return {a - b};
  if (op == '*') return {a * b};
  if (b == 0) run.fail("division by zero");
  if (op == '/') return {a / b};
  // As CPython computes both, so that the remainder has the divisor's sign.
  double remainder = std::fmod(a, b), quotient = (a - remainder) / b;
  if (remainder == 0) {
    remainder = std::copysign(0.0, b);
  } else if ((b < 0) != (remainder < 0)) {
    remainder += b;
    quotient -= 1;
  }
  if (op == '%') return {remainder};
  if (quotient == 0) return {std::copysign(0.0, a / b)};
  double floor = std::floor(quotient);
  if (quotient - floor > 0.5) floor += 1;
  return {floor};
}

Value repeated(const Value& what, std::int64_t times, Run& run) {
  const auto n = static_cast<std::size_t>(std::max<std::int64_t>(times, 0));
  if (const std::string* text = what.text()) {
    run.work(n, text->size());
    std::string out;
    for (std::size_t i = 0; i < n && !text->empty(); ++i) out += *text;
    return text_value(std::move(out), run);
  }
  const std::vector<Value>& part = what.items()->values;
  run.work(n, part.size() * sizeof(Value));
  std::vector<Value> out;
  for (std::size_t i = 0; i < n && !part.empty(); ++i)
    out.insert(out.end(), part.begin(), part.end());
  return list_value(std::move(out), run, what.items()->kind);
}

bool is_list(const Value& v) {
  const Items* i = v.items();
  return i != nullptr && (i->kind == ItemsKind::list || i->kind == ItemsKind::tuple);
}

}  // namespace

Value arithmetic(char op, const Value& a, const Value& b, Run& run) {
  if (a.undefined()) undefined_used(a, run);
  if (b.undefined()) undefined_used(b, run);
  Number x, y;
  const bool left = as_number(a, x), right = as_number(b, y);
  if (left && right) {
    if (x.is_int && y.is_int && op != '/') return whole_result(op, x.whole, y.whole, run);
    return real_result(op, x.real, y.real, run);
  }
  if (op == '+' && a.text() != nullptr && b.text() != nullptr) {
    run.work(a.text()->size() + b.text()->size());
    return text_value(*a.text() + *b.text(), run);
  }
  if (op == '+' && is_list(a) && is_list(b) && a.items()->kind == b.items()->kind) {
    std::vector<Value> out = iterate(a, run);
    const std::vector<Value> more = iterate(b, run);
    out.insert(out.end(), more.begin(), more.end());
    return list_value(std::move(out), run, a.items()->kind);
  }
  if (op == '*' && right && y.is_int && (a.text() != nullptr || is_list(a)))
    return repeated(a, y.whole, run);
  if (op == '*' && left && x.is_int && (b.text() != nullptr || is_list(b)))
    return repeated(b, x.whole, run);
  if (op == '%' && a.text() != nullptr) run.refuse("texts are not formatted with % here");
  run.fail(fmt::format("a {} and a {} do not go together with {}", type_name(a), type_name(b),
                       op == 'd' ? "//" : std::string(1, op)));
}

}  // namespace wb::speak::jinja
