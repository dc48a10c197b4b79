// See reach.h. Settings are followed through dimensions, which are in file order: a
// dimension uses none that comes after it.
#include "recipe/reach.h"

#include "recipe/recipe_impl.h"

namespace wb {

namespace {

using Names = std::set<std::string>;

class Tracer {
 public:
  explicit Tracer(const Recipe& recipe) : recipe_(recipe), by_slot_(recipe.scalars.size()) {
    for (const AskRule& ask : recipe.asks) by_slot_[ask.slot] = {recipe.scalars[ask.slot].name};
    for (const DimRule& dim : recipe.dims) by_slot_[dim.slot] = of(dim.expr);
  }

  Names of(const ExprPtr& expr) const {
    Names out;
    if (expr != nullptr) add(*expr, out);
    return out;
  }
  Names of(const Pattern& pattern) const {
    Names out;
    for (const Pattern::Part& part : pattern.parts) {
      if (part.computed != nullptr) add(*part.computed, out);
    }
    return out;
  }
  Names tensors() const {
    Names out;
    auto join = [&](const auto& from) { out.merge(of(from)); };
    for (const IndexRule& rule : recipe_.indices) join(rule.count);
    for (const ShapeRule& rule : recipe_.shapes) {
      join(rule.source);
      for (const ExprPtr& dim : rule.dims) join(dim);
    }
    for (const TensorRule& rule : recipe_.tensors) {
      join(rule.canonical);
      join(rule.expr);
    }
    for (const LeftOutRule& rule : recipe_.left_out) {
      join(rule.source);
      join(rule.check);
    }
    for (const AliasRule& rule : recipe_.aliases) {
      join(rule.name);
      join(rule.of);
    }
    for (const EncodedRule& rule : recipe_.encoded) join(rule.expr);
    for (const auto* rules : {&recipe_.refusals, &recipe_.assertions}) {
      for (const ConditionRule& rule : *rules) join(rule.expr);
    }
    return out;
  }

 private:
  void add(Expr& expr, Names& out) const {
    each_node(expr, [&](const Expr& node) {
      if (node.use != Expr::Use::scalar) return;
      out.insert(by_slot_[node.slot].begin(), by_slot_[node.slot].end());
    });
  }

  const Recipe& recipe_;
  std::vector<Names> by_slot_;
};

}  // namespace

Reach reach_of_settings(const Recipe& recipe) {
  const Tracer tracer(recipe);
  Reach out;
  for (const FieldRule& rule : recipe.model) {
    Names names;
    for (const ExprPtr& expr : rule.exprs) names.merge(tracer.of(expr));
    if (!names.empty()) out.fields[rule.path] = std::move(names);
  }
  for (const AskRule& ask : recipe.asks) {
    Names& names = out.limits[recipe.scalars[ask.slot].name];
    names = tracer.of(ask.minimum);
    names.merge(tracer.of(ask.maximum));
    names.insert(recipe.scalars[ask.slot].name);
  }
  out.tensors = tracer.tensors();
  return out;
}

}  // namespace wb
