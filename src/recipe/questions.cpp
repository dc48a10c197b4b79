// What a recipe leaves open: the fields of [model] that are "?" and the settings that
// only a default answers. Owns the refusal of an open recipe and the values that could
// be tried for each question; which of them is right is found by solve/.
#include <algorithm>
#include <cmath>

#include "model/field_help.h"
#include "recipe/apply.h"

namespace wb {

namespace {

constexpr std::int64_t kMostWhole = 64;  // values of a range that are tried

std::vector<nlohmann::json> field_candidates(const FieldInfo& field) {
  if (field.kind == FieldKind::boolean) return {false, true};
  return {field.enum_values.begin(), field.enum_values.end()};
}

}  // namespace

void Application::refuse_open(const Overrides& overrides) const {
  std::string list;
  std::size_t count = 0;
  for (const FieldRule& rule : recipe_.model) {
    if (!rule.open || overrides.fields.count(rule.path) != 0) continue;
    ++count;
    list += "\n  " + rule.path + " (line " + std::to_string(rule.place.line) +
            "): " + std::string(field_help(rule.path));
  }
  if (count == 0) return;
  throw Error(Code::recipe_open, "the recipe " + recipe_.name + " leaves " + std::to_string(count) +
                                     (count == 1 ? " field" : " fields") +
                                     " of [model] open (\"?\"):" + list + "\n")
      .file(recipe_.file)
      .advice("Write each value in the recipe, or let `weightbridge recipes solve SRC --recipe " +
              recipe_.file + " --reference FILE` find it from tokens and logits of your own run.");
}

// A default below a literal minimum is no answer but a question, as in drafts. Said before any
// dimension is, which may divide by it.
void Application::refuse_unanswered() const {
  std::string list, sets;
  std::size_t count = 0;
  for (std::size_t i = 0; i < recipe_.asks.size(); ++i) {
    const AskRule& ask = recipe_.asks[i];
    if (model_.settings[i].origin != "default" || ask.minimum == nullptr ||
        ask.minimum->kind != Expr::Kind::integer || !ask.default_value.is_number() ||
        ask.default_value.get<double>() >= static_cast<double>(ask.minimum->integer)) {
      continue;
    }
    ++count;
    const std::string& key = recipe_.scalars[ask.slot].name;
    list += "\n  " + key + ": " + ask.help;
    sets += " --set " + key + "=...";
  }
  if (count == 0) return;
  throw Error(Code::recipe_open, "the recipe " + recipe_.name + " asks " + std::to_string(count) +
                                     (count == 1 ? " question" : " questions") +
                                     " that nobody has answered:" + list + "\n")
      .file(recipe_.file)
      .advice("Answer with" + sets +
              ", or as defaults in the recipe; or let `weightbridge recipes " +
              "solve SRC --recipe " + recipe_.file +
              " --reference FILE` find it from tokens and logits of your own run.");
}

std::vector<nlohmann::json> Application::candidates(const AskRule& ask) {
  if (!ask.candidates.empty()) return ask.candidates;
  if (!ask.choices.empty()) return ask.choices;
  if (ask.default_value.is_boolean()) return {false, true};
  if (!ask.default_value.is_number_integer() || ask.minimum == nullptr) return {};
  const std::int64_t low = static_cast<std::int64_t>(std::ceil(eval_.real(*ask.minimum)));
  std::int64_t high = low + kMostWhole;
  if (ask.maximum != nullptr) {
    const std::int64_t limit = static_cast<std::int64_t>(std::floor(eval_.real(*ask.maximum)));
    if (limit >= low) high = limit;
  }
  std::vector<nlohmann::json> out;
  for (std::int64_t v = low; v <= high && v < low + kMostWhole; ++v) out.emplace_back(v);
  return out;
}

std::vector<Question> Application::questions(const std::map<std::string, std::string>& given) {
  settings(given, {});
  // A default that does not fit leaves some dimensions unknown; limits need the others.
  for (const DimRule& rule : recipe_.dims) {
    try {
      eval_.scalars[rule.slot] = eval_.eval(*rule.expr);
    } catch (const Error&) {
    } catch (const MissingSource&) {
    }
  }
  std::vector<Question> out;
  for (const FieldRule& rule : recipe_.model) {
    if (!rule.open) continue;
    for (const FieldInfo& field : spec_fields()) {
      if (field.path != rule.path) continue;
      out.push_back({Question::Kind::field, rule.path, std::string(field_help(rule.path)), nullptr,
                     field_candidates(field)});
    }
  }
  for (std::size_t i = 0; i < recipe_.asks.size(); ++i) {
    const AskRule& ask = recipe_.asks[i];
    if (model_.settings[i].origin != "default") continue;
    const ScalarName& name = recipe_.scalars[ask.slot];
    Question question{Question::Kind::setting, name.name, ask.help, ask.default_value,
                      candidates(ask)};
    if (ask.default_value.is_number_float() && ask.minimum != nullptr && ask.maximum != nullptr) {
      question.least = eval_.real(*ask.minimum);
      question.most = eval_.real(*ask.maximum);
    }
    out.push_back(std::move(question));
  }
  return out;
}

ModelSpec Application::stated(const std::map<std::string, std::string>& given,
                              const Overrides& overrides) {
  settings(given, overrides);
  dims();
  check_settings();
  state(overrides);
  return model_.spec;
}

ModelSpec stated_spec(const Recognition& recognition, const Checkpoint& checkpoint,
                      const std::map<std::string, std::string>& settings,
                      const Overrides& overrides) {
  return Application(recognition, checkpoint).stated(settings, overrides);
}

std::vector<Question> questions(const Recognition& recognition, const Checkpoint& checkpoint,
                                const std::map<std::string, std::string>& settings) {
  return Application(recognition, checkpoint).questions(settings);
}

}  // namespace wb
