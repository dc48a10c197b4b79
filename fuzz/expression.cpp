// Any text as an expression of the recipe language: every part of what is accepted says which text
// it was read from, and that text read alone is the same part again.
#include "recipe/expr.h"

#include <fmt/format.h>

#include <string>

#include "base/error.h"
#include "input.h"

namespace {

wb::ExprPtr parsed(const std::string& text) {
  wb::DocValue value;
  value.kind = wb::ValueKind::text;
  value.text = text;
  for (unsigned i = 0; i <= text.size(); ++i) value.places.push_back({1, i + 1});
  std::vector<wb::RecipeMistake> mistakes;
  wb::ExprPtr out = wb::parse_expr(value, mistakes);
  WB_CHECK((out == nullptr) == !mistakes.empty());
  for (const wb::RecipeMistake& m : mistakes) {
    WB_CHECK(m.line == 1 && m.column >= 1 && m.column <= text.size() + 1);
  }
  return out;
}

// The tree alone, without places and texts.
std::string tree(const wb::Expr& e) {
  std::string out = fmt::format("{} {} {} {} {} {}", static_cast<int>(e.kind), e.integer, e.real,
                                e.boolean, static_cast<int>(e.op), e.name);
  for (const auto& part : e.pattern.parts) {
    out += fmt::format("<{} {}>", static_cast<int>(part.kind), part.text);
    if (part.computed) out += tree(*part.computed);
  }
  for (const wb::ExprPtr& arg : e.args) out += "(" + tree(*arg) + ")";
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const wb::ExprPtr expr = parsed(wb::fuzz::text_of(data, size));
  if (!expr) return 0;
  WB_CHECK(tree(*expr->clone()) == tree(*expr));
  std::size_t checked = 0;
  wb::each_node(*expr, [&](wb::Expr& e) {
    if (++checked > 64) return;  // of a long one: quadratic otherwise
    const wb::ExprPtr again = parsed(e.text);
    WB_CHECK(again != nullptr && tree(*again) == tree(e));
  });
  return 0;
}
