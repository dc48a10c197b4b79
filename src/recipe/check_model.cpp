// The [model] section: fields of ModelSpec by name, held against spec_fields().
#include <algorithm>

#include "recipe/check.h"

namespace wb {

namespace {
std::string_view in_words(FieldKind kind) {
  switch (kind) {
    case FieldKind::integer:
      return "a whole number";
    case FieldKind::real:
      return "a number";
    case FieldKind::boolean:
      return "true or false";
    case FieldKind::enumeration:
      return "one of its words";
    case FieldKind::reals:
      break;
  }
  return "a list of numbers";
}
const FieldInfo* find_field(const std::string& path) {
  for (const FieldInfo& field : spec_fields()) {
    if (field.path == path) return &field;
  }
  return nullptr;
}
// Whether some field lies below `path`.
bool is_group(const std::string& path) {
  const auto& fields = spec_fields();
  return std::any_of(fields.begin(), fields.end(),
                     [&](const FieldInfo& field) { return field.path.starts_with(path + "."); });
}
// "; did you mean 'attention.kv_norm'?" among fields and groups; a field's last part
// alone counts too, as people forget the group.
std::string field_hint(const std::string& path) {
  std::vector<std::string_view> candidates;
  std::string last = path.substr(path.rfind('.') + 1);
  for (const FieldInfo& field : spec_fields()) {
    std::string_view p = field.path;
    if (p.substr(p.rfind('.') + 1) == last && path.find('.') == std::string::npos) {
      return "; did you mean '" + field.path + "'?";
    }
    candidates.push_back(p);
    if (p.find('.') != p.npos) candidates.push_back(p.substr(0, p.rfind('.')));
  }
  return did_you_mean(path, candidates);
}
}  // namespace

void RecipeChecker::model() {
  const DocValue* table =
      section("model", !recipe_->always_refused, "what the model computes, field by field");
  if (table == nullptr) return;
  model_table(*table, "");
  for (const char* path :
       {"vocab_size", "hidden_size", "num_hidden_layers", "attention.num_attention_heads"}) {
    if (fields_seen_.count(path) == 0) {
      mistake(table->place, "[model] lacks the field " + std::string(path));
    }
  }
}

void RecipeChecker::model_table(const DocValue& table, const std::string& prefix) {
  for (const Member& member : table.members) {
    std::string path = prefix + member.key;
    if (const FieldInfo* field = find_field(path)) {
      fields_seen_.insert(path);
      model_field(member, *field);
    } else if (!is_group(path)) {
      mistake(member.place, "the model has no field '" + path + "'" + field_hint(path));
    } else if (member.value.kind != ValueKind::table) {
      mistake(member.value.place, "'" + path + "' is a group of fields, written { ... }, not " +
                                      std::string(in_words(member.value.kind)));
    } else {
      model_table(member.value, path + ".");
    }
  }
}

void RecipeChecker::model_field(const Member& member, const FieldInfo& field) {
  FieldRule rule{field.path, field.kind, member.place, {}, {}, false};
  const DocValue& value = member.value;
  if (value.kind == ValueKind::text && value.text == "?") {
    rule.open = true;
    recipe_->model.push_back(std::move(rule));
    return;
  }
  auto wrong = [&] {
    mistake(value.place, "the field " + field.path + " is " + std::string(in_words(field.kind)) +
                             " or an expression that yields it, not " +
                             std::string(in_words(value.kind)));
  };
  auto add = [&](const DocValue& item, Type type) {
    ExprContext context;
    if (type == Type::symbol) context.words = &field.enum_values;
    ExprPtr expr = expression(item);
    if (expr != nullptr) {
      checker_.check(*expr, type, context);
      rule.exprs.push_back(std::move(expr));
    }
  };
  switch (field.kind) {
    case FieldKind::integer:
      if (value.kind == ValueKind::integer ? value.integer < 0 : value.kind != ValueKind::text) {
        return wrong();
      }
      add(value, Type::number);
      break;
    case FieldKind::real:
      if (value.kind != ValueKind::integer && value.kind != ValueKind::real &&
          value.kind != ValueKind::text) {
        return wrong();
      }
      add(value, Type::number);
      break;
    case FieldKind::boolean:
      if (value.kind != ValueKind::boolean && value.kind != ValueKind::text) return wrong();
      add(value, Type::boolean);
      break;
    case FieldKind::enumeration: {
      if (value.kind != ValueKind::text) return wrong();
      const auto& words = field.enum_values;
      if (std::find(words.begin(), words.end(), value.text) != words.end()) {
        rule.literal = value.text;
      } else {
        add(value, Type::symbol);
      }
      break;
    }
    case FieldKind::reals: {
      // A list, or an expression that yields one (of config.json) or the word none.
      static const std::vector<std::string> none = {"none"};
      if (value.kind == ValueKind::text) {
        ExprContext context;
        context.words = &none;
        ExprPtr expr = expression(value);
        if (expr == nullptr) return;
        checker_.check(*expr, Type::symbol, context);
        rule.exprs.push_back(std::move(expr));
        break;
      }
      if (value.kind != ValueKind::array) return wrong();
      rule.literal = nlohmann::json::array();
      for (const DocValue& item : value.items) add(item, Type::number);
      break;
    }
  }
  recipe_->model.push_back(std::move(rule));
}

}  // namespace wb
