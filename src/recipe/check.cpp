// See check.h: the driver and the sections that declare names.
#include "recipe/check.h"

#include <algorithm>
#include <tuple>

namespace wb {

namespace {

const std::vector<std::string_view> kSections = {
    "name",   "title",  "source",  "recognise", "refuse_if", "index",    "dims",
    "shapes", "ask",    "model",   "blocks",    "tensors",   "left_out", "alias",
    "refuse", "assert", "encoded", "extends",   "without"};

bool is_name(const std::string& text) {
  if (text.empty() || (text[0] >= '0' && text[0] <= '9')) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}
bool is_word_of_language(const std::string& text) {
  for (const char* word : {"and", "or", "not", "true", "false", "this", "block", "any"}) {
    if (text == word) return true;
  }
  return false;
}
Type type_of(const DocValue& value) {
  switch (value.kind) {
    case ValueKind::integer:
    case ValueKind::real:
      return Type::number;
    case ValueKind::boolean:
      return Type::boolean;
    case ValueKind::text:
      return Type::symbol;
    default:
      return Type::scalar;
  }
}
nlohmann::json as_json(const DocValue& value) {
  switch (value.kind) {
    case ValueKind::integer:
      return value.integer;
    case ValueKind::real:
      return value.real;
    case ValueKind::boolean:
      return value.boolean;
    case ValueKind::text:
      return value.text;
    default:
      return nullptr;
  }
}

}  // namespace

RecipeChecker::RecipeChecker(const DocValue& root, const std::vector<std::string>& files,
                             std::vector<RecipeMistake>& mistakes)
    : root_(root), files_(files), mistakes_(mistakes), checker_(names_, mistakes) {}

bool RecipeChecker::comes_before(Place a, Place b) {
  return std::tuple(-static_cast<int>(a.file), a.line, a.column) <
         std::tuple(-static_cast<int>(b.file), b.line, b.column);
}

std::string RecipeChecker::line_of(Place place, Place here) const {
  std::string out = "line " + std::to_string(place.line);
  return place.file == here.file ? out : out + " of " + files_[place.file];
}

std::shared_ptr<Recipe> RecipeChecker::run() {
  recipe_->file = files_[0];
  recipe_->files = files_;
  only_keys(root_, kSections, "a recipe");
  head();
  declare();
  dims();
  indices();
  recipe_->always_refused = always_refused();
  conditions("refuse", recipe_->refusals);
  conditions("assert", recipe_->assertions);
  model();
  blocks();
  shapes();
  tensors();
  encoded();
  left_out();
  aliases();
  if (const DocValue* table = section("ask", false, "")) {
    for (const Member& member : table->members) {
      auto it = names_.slots.find(member.key);
      if (it != names_.slots.end()) ask(member, it->second);
    }
  }
  unused();
  recipe_->scalars = names_.scalars;
  return recipe_;
}

const DocValue* RecipeChecker::section(const char* key, bool required, const char* why) {
  const DocValue* value = root_.find(key);
  if (value == nullptr) {
    if (required) mistake({}, "the section [" + std::string(key) + "] is missing: " + why);
    return nullptr;
  }
  if (value->kind != ValueKind::table) {
    mistake(value->place, std::string(key) + " should be a table, written [" + key + "], not " +
                              std::string(in_words(value->kind)));
    return nullptr;
  }
  return value;
}

const std::string* RecipeChecker::text(const Member& member) {
  if (member.value.kind == ValueKind::text) return &member.value.text;
  mistake(member.value.place,
          member.key + " should be a string, not " + std::string(in_words(member.value.kind)));
  return nullptr;
}

void RecipeChecker::only_keys(const DocValue& table, const std::vector<std::string_view>& known,
                              const std::string& where) {
  for (const Member& member : table.members) {
    if (std::find(known.begin(), known.end(), member.key) != known.end()) continue;
    std::string hint = did_you_mean(member.key, known);
    if (hint.empty()) hint = "; its keys are " + joined(known);
    mistake(member.place, where + " has no key '" + member.key + "'" + hint);
  }
}

ExprPtr RecipeChecker::expression(const DocValue& value) {
  if (value.kind == ValueKind::text) return parse_expr(value, mistakes_);
  auto out = std::make_unique<Expr>();
  out->place = value.place;
  if (value.kind == ValueKind::integer) {
    out->kind = Expr::Kind::integer;
    out->integer = value.integer;
    out->text = std::to_string(value.integer);
  } else if (value.kind == ValueKind::real) {
    out->kind = Expr::Kind::real;
    out->real = value.real;
    out->text = std::to_string(value.real);
  } else if (value.kind == ValueKind::boolean) {
    out->kind = Expr::Kind::boolean;
    out->boolean = value.boolean;
    out->text = value.boolean ? "true" : "false";
  } else {
    mistake(value.place,
            "an expression (a string), a number, or true or false should stand here, "
            "not " +
                std::string(in_words(value.kind)));
    return nullptr;
  }
  return out;
}

void RecipeChecker::head() {
  for (const Member& member : root_.members) {
    if (member.key != "name" && member.key != "title" && member.key != "source") continue;
    const std::string* value = text(member);
    if (value == nullptr) continue;
    (member.key == "name"    ? recipe_->name
     : member.key == "title" ? recipe_->title
                             : recipe_->source) = *value;
    if (member.key == "name" && value->empty()) mistake(member.value.place, "the name is empty");
  }
  if (root_.find("name") == nullptr) {
    mistake({}, "the key name is missing: how the recipe is called, e.g. name = \"my-layout\"");
  }
  if (root_.find("recognise") == nullptr) {
    mistake({},
            "the key recognise is missing: the names that tell this layout from all others, "
            "e.g. recognise = [\"wte.weight\", \"h.0.ln_1.weight\"]");
  }
}

void RecipeChecker::patterns(const char* key, std::vector<Pattern>& into) {
  const DocValue* list = root_.find(key);
  if (list == nullptr) return;
  if (list->kind != ValueKind::array) {
    mistake(list->place, std::string(key) + " should be a list of names, not " +
                             std::string(in_words(list->kind)));
    return;
  }
  bool literal = false;
  for (const DocValue& item : list->items) {
    if (item.kind != ValueKind::text) {
      mistake(item.place, "a name should stand here, not " + std::string(in_words(item.kind)));
      continue;
    }
    Pattern pattern = parse_name(item.text, item.place, false, mistakes_);
    checker_.check_captures(pattern, item.place);
    checker_.no_computed(pattern, item.place, key);
    literal |= !pattern.has_capture();
    into.push_back(std::move(pattern));
  }
  if (!literal && std::string_view(key) == "recognise") {
    mistake(list->place,
            "recognise needs at least one name without {variables}: the prefix of all "
            "names is found by it");
  }
}

void RecipeChecker::declare_scalar(const Member& member, bool ask, Type type) {
  if (!is_name(member.key) || is_word_of_language(member.key)) {
    mistake(member.place, "'" + member.key + "' cannot be a name of [" + (ask ? "ask" : "dims") +
                              "]: letters, digits and '_', and no word of the language");
    return;
  }
  auto [it, added] = names_.slots.try_emplace(member.key, names_.scalars.size());
  if (!added) {
    // Settings are declared first, wherever they stand; the later line is the mistake.
    Place first = names_.scalars[it->second].place, second = member.place;
    if (comes_before(second, first)) std::swap(first, second);
    mistake(second, "'" + member.key + "' is declared before, in " + line_of(first, second));
    names_.used_scalars.insert(it->second);
    return;
  }
  names_.scalars.push_back({member.key, member.place, ask, type});
}

void RecipeChecker::declare() {
  if (const DocValue* table = section("ask", false, "")) {
    for (const Member& member : table->members) {
      const DocValue* value =
          member.value.kind == ValueKind::table ? member.value.find("default") : nullptr;
      declare_scalar(member, true, value == nullptr ? Type::scalar : type_of(*value));
    }
  }
  if (const DocValue* table = section("dims", false, "")) {
    for (const Member& member : table->members) declare_scalar(member, false, Type::scalar);
  }
  if (const DocValue* table = section("index", false, "")) {
    for (const Member& member : table->members) {
      if (!is_name(member.key) || is_word_of_language(member.key)) {
        mistake(member.place, "'" + member.key + "' cannot be an index variable's name");
      } else if (names_.slots.count(member.key) != 0) {
        mistake(member.place, "'" + member.key + "' is already a dimension or setting");
      }
      names_.variables.emplace(member.key, member.place);
    }
  }
  patterns("recognise", recipe_->recognise);
  patterns("refuse_if", recipe_->refuse_if);
}

void RecipeChecker::dims() {
  const DocValue* table = root_.find("dims");
  if (table == nullptr || table->kind != ValueKind::table) return;
  for (const Member& member : table->members) {
    auto it = names_.slots.find(member.key);
    if (it == names_.slots.end() || names_.scalars[it->second].ask) continue;
    ExprPtr expr = expression(member.value);
    if (expr == nullptr) continue;
    ExprContext context;
    context.known_scalars = it->second;
    names_.scalars[it->second].type = checker_.check(*expr, Type::scalar, context);
    recipe_->dims.push_back({it->second, std::move(expr)});
  }
}

void RecipeChecker::indices() {
  const DocValue* table = root_.find("index");
  if (table == nullptr || table->kind != ValueKind::table) return;
  for (const Member& member : table->members) {
    ExprPtr expr = expression(member.value);
    if (expr == nullptr) continue;
    checker_.check(*expr, Type::number, {});
    recipe_->indices.push_back({member.key, member.place, std::move(expr)});
  }
}

void RecipeChecker::ask(const Member& member, std::size_t slot) {
  if (member.value.kind != ValueKind::table) {
    mistake(member.value.place,
            "a setting is a table: [ask." + member.key + "] with default and help");
    return;
  }
  AskRule rule;
  rule.slot = slot;
  only_keys(member.value, {"default", "help", "min", "max", "choices", "candidates", "from"},
            "[ask." + member.key + "]");
  Type type = names_.scalars[slot].type;
  for (const Member& item : member.value.members) {
    if (item.key == "default") {
      rule.default_value = as_json(item.value);
      if (type == Type::scalar) {
        mistake(item.value.place, "default should be a number, a string, or true or false");
      }
    } else if (item.key == "help") {
      if (const std::string* help = text(item)) rule.help = *help;
    } else if (item.key == "min" || item.key == "max") {
      ExprPtr bound = expression(item.value);
      if (bound != nullptr) checker_.check(*bound, Type::number, {});
      if (type == Type::symbol || type == Type::boolean) {
        mistake(item.place, item.key + " is for numbers, and the default is none");
      }
      (item.key == "min" ? rule.minimum : rule.maximum) = std::move(bound);
    } else if (item.key == "choices" || item.key == "candidates" || item.key == "from") {
      if (item.value.kind != ValueKind::array || item.value.items.empty()) {
        mistake(item.value.place,
                item.key + " should be a list of " + (item.key == "from" ? "names" : "values"));
        continue;
      }
      for (const DocValue& choice : item.value.items) {
        bool good = item.key == "from" ? choice.kind == ValueKind::text : type_of(choice) == type;
        if (!good) {
          mistake(choice.place, item.key == "from" ? "from lists names of values beside the tensors"
                                                   : "a choice should be of the default's type");
        } else if (item.key == "from") {
          rule.from.push_back(choice.text);
        } else {
          (item.key == "choices" ? rule.choices : rule.candidates).push_back(as_json(choice));
        }
      }
    }
  }
  for (const char* key : {"default", "help"}) {
    if (member.value.find(key) == nullptr) {
      mistake(member.place, "[ask." + member.key + "] lacks the key " + key);
    }
  }
  if (!rule.choices.empty() && std::find(rule.choices.begin(), rule.choices.end(),
                                         rule.default_value) == rule.choices.end()) {
    mistake(member.place, "the default of '" + member.key + "' is none of its choices");
  }
  recipe_->asks.push_back(std::move(rule));
}

void RecipeChecker::unused() {
  for (const auto& [name, place] : names_.variables) {
    if (names_.used_variables.count(name) == 0) {
      mistake(place, "the index variable '" + name + "' is declared but nothing uses it");
    }
  }
  for (std::size_t slot = 0; slot < names_.scalars.size(); ++slot) {
    const ScalarName& scalar = names_.scalars[slot];
    if (scalar.ask && names_.used_scalars.count(slot) == 0) {
      mistake(scalar.place, "'" + scalar.name + "' is asked for but nothing uses it");
    }
  }
}

}  // namespace wb
