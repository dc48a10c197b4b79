// [refuse] and [assert]: conditions on a checkpoint in words. Owns their form in a
// recipe, when they are asked, and the error that each leads to. A refusal names the
// axis on which the model lies outside of what can be computed; an assertion says what
// the recipe relies on.
#include <algorithm>

#include "recipe/apply.h"
#include "recipe/check.h"

namespace wb {

namespace {

// Whether the expression needs a dimension; settings are known before any of them.
bool needs_dimensions(Expr& expr, const std::vector<ScalarName>& scalars) {
  bool needs = false;
  each_node(expr,
            [&](Expr& node) { needs |= node.use == Expr::Use::scalar && !scalars[node.slot].ask; });
  return needs;
}

}  // namespace

bool RecipeChecker::always_refused() const {
  const DocValue* table = root_.find("refuse");
  if (table == nullptr) return false;
  return std::any_of(table->members.begin(), table->members.end(), [](const Member& member) {
    const DocValue* condition =
        member.value.kind == ValueKind::table ? member.value.find("if") : &member.value;
    return condition != nullptr && condition->kind == ValueKind::boolean && condition->boolean;
  });
}

void RecipeChecker::conditions(const char* key, std::vector<ConditionRule>& into) {
  const DocValue* table = section(key, false, "");
  if (table == nullptr) return;
  for (const Member& member : table->members) {
    ConditionRule rule;
    rule.words = member.key;
    rule.place = member.place;
    const DocValue* condition = &member.value;
    if (member.value.kind == ValueKind::table) {
      only_keys(member.value, {"if", "reason"}, "a line of [" + std::string(key) + "]");
      for (const Member& item : member.value.members) {
        if (item.key != "reason") continue;
        if (const std::string* reason = text(item)) rule.reason = *reason;
      }
      condition = member.value.find("if");
      if (condition == nullptr) {
        mistake(member.place, "'" + member.key + "' lacks the key if: the condition");
        continue;
      }
    }
    if (member.key.empty()) mistake(member.place, "the words that say what this is are missing");
    rule.expr = expression(*condition);
    if (rule.expr == nullptr) continue;
    // As it is, when only has() and the like have index variables; else for each value of them.
    std::size_t before = mistakes_.size();
    checker_.forget_seen();
    checker_.check(*rule.expr, Type::boolean, {});
    if (mistakes_.size() > before) {
      ExprContext context;
      for (const auto& [name, place] : names_.variables) context.bound.insert(name);
      mistakes_.resize(before);
      checker_.forget_seen();
      checker_.check(*rule.expr, Type::boolean, context);
      rule.variables.assign(checker_.seen_variables().begin(), checker_.seen_variables().end());
    }
    rule.early = rule.variables.empty() && !needs_dimensions(*rule.expr, names_.scalars);
    into.push_back(std::move(rule));
  }
}

void Application::refusals(bool early) {
  for (const ConditionRule& rule : recipe_.refusals) {
    if (rule.early != early) continue;
    each_index(rule.variables, 0, [&] {
      bool refused = located(rule.place, "whether to refuse: " + rule.words,
                             [&] { return eval_.boolean(*rule.expr); });
      if (!refused) return;
      std::string where = rule.expr->kind == Expr::Kind::boolean ? "" : rule.expr->text + "; ";
      throw Error(Code::model_refused, "this model is not converted: " + rule.words +
                                           (rule.reason.empty() ? "" : "; " + rule.reason) + " (" +
                                           where + at_line(rule.place) + ")")
          .file(checkpoint_.path)
          .advice(
              "What it computes lies outside of what a target can; a conversion would give other "
              "results, so there is none.");
    });
  }
}

void Application::assertions() {
  for (const ConditionRule& rule : recipe_.assertions) {
    each_index(rule.variables, 0, [&] {
      eval_.difference.clear();
      bool holds = located(rule.place, "whether it holds that " + rule.words,
                           [&] { return eval_.boolean(*rule.expr); });
      if (holds) return;
      std::string at;
      for (const std::string& v : rule.variables) {
        at += (at.empty() ? " for " : ", ") + v + " = " + std::to_string(eval_.indices.at(v));
      }
      throw Error(Code::recipe_check_failed,
                  "the recipe relies on this: " + rule.words + "; but " + rule.expr->text +
                      " is false" + at + " (" + at_line(rule.place) + ")" +
                      (rule.reason.empty() ? "" : "; " + rule.reason) +
                      (eval_.difference.empty() ? "" : "; " + eval_.difference))
          .file(checkpoint_.path)
          .advice(
              "The model computes something else than the recipe says; it needs a recipe of its "
              "own.");
    });
  }
}

}  // namespace wb
