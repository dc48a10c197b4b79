// See apply.h: settings, dimensions, shapes and the model description.
#include "recipe/apply.h"

#include <charconv>
#include <cmath>

#include "recipe/check_expr.h"

namespace wb {

namespace {

// More index values than any model has tensors; keeps a hostile count from looping for ever.
constexpr std::uint64_t kMaxIndex = 1u << 20;
constexpr std::uint64_t kMaxTensors = 16u << 20;

// The value of --set in the type of the setting's default; nothing when it is none.
std::optional<Value> parse_setting(const std::string& text, const nlohmann::json& like) {
  const char* begin = text.data();
  const char* end = begin + text.size();
  if (like.is_boolean()) {
    if (text == "true") return Value(true);
    if (text == "false") return Value(false);
    return std::nullopt;
  }
  if (like.is_number_integer()) {
    std::int64_t value = 0;
    auto [stop, error] = std::from_chars(begin, end, value);
    if (error != std::errc{} || stop != end) return std::nullopt;
    return Value(value);
  }
  if (like.is_number_float()) {
    double value = 0;
    auto [stop, error] = std::from_chars(begin, end, value);
    if (error != std::errc{} || stop != end || !std::isfinite(value)) return std::nullopt;
    return Value(value);
  }
  return Value(text);
}

const char* type_in_words(const nlohmann::json& like) {
  if (like.is_boolean()) return "true or false";
  if (like.is_number_integer()) return "a whole number";
  if (like.is_number_float()) return "a number";
  return "a word";
}

}  // namespace

Application::Application(const Recognition& recognition, const Checkpoint& checkpoint)
    : recipe_(*recognition.recipe),
      checkpoint_(checkpoint),
      source_(checkpoint, recognition.prefix),
      eval_(recipe_, source_),
      origins_(recipe_.scalars.size()) {
  eval_.scalars.resize(recipe_.scalars.size());
  model_.recipe = recipe_.name;
  model_.prefix = recognition.prefix;
}

CanonicalModel Application::run(const std::map<std::string, std::string>& given,
                                const Overrides& overrides) {
  refuse_open(overrides);
  settings(given, overrides);
  refusals(true);
  refuse_unanswered();
  dims();
  check_settings();
  indices();
  refusals(false);
  assertions();
  shapes();
  model(overrides);
  tensors();
  account();
  return std::move(model_);
}

std::string Application::at_line(Place place) const {
  std::string out = "recipe " + recipe_.name + ", line " + std::to_string(place.line);
  return place.file == 0 ? out : out + " of " + recipe_.files[place.file];
}

Value Application::setting(const AskRule& ask, const std::map<std::string, std::string>& given,
                           std::string& origin) const {
  const std::string& key = recipe_.scalars[ask.slot].name;
  auto bad = [&](const std::string& from, const std::string& value) {
    return Error(Code::setting_invalid,
                 "the value of " + key + " (from " + from + ") is not of the right type")
        .file(checkpoint_.path)
        .expected(type_in_words(ask.default_value))
        .actual(value)
        .advice("Give it with --set " + key + "=..., " + ask.help + ".");
  };
  if (auto it = given.find(key); it != given.end()) {
    origin = "--set";
    std::optional<Value> value = parse_setting(it->second, ask.default_value);
    if (!value) throw bad("--set", it->second);
    return *value;
  }
  for (const std::string& path : ask.from) {
    const nlohmann::json* fact = source_.facts().find(path);
    if (fact == nullptr || fact->is_null()) continue;
    origin = "checkpoint";
    std::optional<Value> value = from_json(*fact);
    bool fits = value && (fact->is_number() == ask.default_value.is_number()) &&
                (fact->is_boolean() == ask.default_value.is_boolean()) &&
                (!ask.default_value.is_number_integer() || fact->is_number_integer());
    if (!fits) throw bad(path + " in the checkpoint", fact->dump().substr(0, 80));
    return *value;
  }
  origin = "default";
  return *from_json(ask.default_value);
}

void Application::settings(const std::map<std::string, std::string>& given,
                           const Overrides& overrides) {
  std::vector<std::string_view> keys;
  for (const AskRule& ask : recipe_.asks) keys.push_back(recipe_.scalars[ask.slot].name);
  for (const auto& [key, value] : given) {
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
    throw Error(Code::setting_unknown, "the recipe " + recipe_.name + " has no setting '" + key +
                                           "'" + did_you_mean(key, keys))
        .file(checkpoint_.path)
        .expected(keys.empty() ? "no setting at all" : "one of " + joined(keys))
        .actual(key)
        .advice("`weightbridge recipes` lists the settings of each recipe.");
  }
  for (const AskRule& ask : recipe_.asks) {
    const std::string& key = recipe_.scalars[ask.slot].name;
    std::string origin = "tried";
    auto tried = overrides.settings.find(key);
    Value value =
        tried != overrides.settings.end() ? *from_json(tried->second) : setting(ask, given, origin);
    model_.settings.push_back({key, ask.help, to_json(value), origin});
    origins_[ask.slot] = origin == "checkpoint" ? "a value in the checkpoint" : origin;
    eval_.scalars[ask.slot] = std::move(value);
  }
}

void Application::check_settings() {
  for (const AskRule& ask : recipe_.asks) {
    const std::string& key = recipe_.scalars[ask.slot].name;
    nlohmann::json value = to_json(eval_.scalars[ask.slot]);
    std::string wanted;
    Place place = recipe_.scalars[ask.slot].place;
    if (!ask.choices.empty() &&
        std::find(ask.choices.begin(), ask.choices.end(), value) == ask.choices.end()) {
      for (const auto& choice : ask.choices) wanted += (wanted.empty() ? "" : ", ") + choice.dump();
      wanted = "one of " + wanted;
    }
    for (const ExprPtr* bound : {&ask.minimum, &ask.maximum}) {
      if (*bound == nullptr) continue;
      double limit = located(place, "the limit of " + key, [&] { return eval_.real(**bound); });
      bool low = bound == &ask.minimum;
      if (low ? value.get<double>() >= limit : value.get<double>() <= limit) continue;
      nlohmann::json shown = limit == std::floor(limit) && std::fabs(limit) < 1e15
                                 ? nlohmann::json(static_cast<std::int64_t>(limit))
                                 : nlohmann::json(limit);
      wanted = (low ? "at least " : "at most ") + shown.dump();
      if ((*bound)->kind != Expr::Kind::integer) wanted += " (" + (*bound)->text + ")";
    }
    if (wanted.empty()) continue;
    throw Error(Code::setting_invalid,
                "the setting " + key + " (" + origins_[ask.slot] + ") is out of range")
        .file(checkpoint_.path)
        .expected(wanted)
        .actual(value.dump())
        .advice("Give it with --set " + key + "=..., " + ask.help + ".");
  }
}

void Application::dims() {
  for (const DimRule& rule : recipe_.dims) {
    const ScalarName& name = recipe_.scalars[rule.slot];
    Value value =
        located(name.place, "the dimension " + name.name, [&] { return eval_.eval(*rule.expr); });
    WB_CHECK(!std::holds_alternative<Tensor>(value));
    model_.dims.emplace_back(name.name, to_json(value));
    origins_[rule.slot] = rule.expr->text;
    eval_.scalars[rule.slot] = std::move(value);
  }
}

void Application::indices() {
  for (const IndexRule& rule : recipe_.indices) {
    std::uint64_t count = located(rule.place, "the index variable {" + rule.name + "}",
                                  [&] { return eval_.size(*rule.count); });
    if (count > kMaxIndex) {
      throw Error(Code::limit_exceeded, "the index variable {" + rule.name + "} (" +
                                            at_line(rule.place) + ") has too many values")
          .file(checkpoint_.path)
          .expected("at most " + std::to_string(kMaxIndex))
          .actual(std::to_string(count))
          .advice("The file is damaged or hostile, or the recipe counts the wrong thing.");
    }
    eval_.counts[rule.name] = count;
  }
}

std::string Application::origins(const Expr& expr) const {
  std::string out;
  if (expr.kind == Expr::Kind::name && expr.use == Expr::Use::scalar) {
    return expr.name + " = " + origins_[expr.slot];
  }
  for (const ExprPtr& arg : expr.args) {
    std::string more = origins(*arg);
    if (!more.empty()) out += (out.empty() ? "" : ", ") + more;
  }
  return out;
}

void Application::check_shape(const ShapeRule& rule, const SourceTensor& tensor) {
  const Shape& shape = tensor.tensor.shape();
  if (shape.size() != rule.dims.size()) {
    throw Error(Code::shape_mismatch, "the tensor does not have the rank that the recipe says (" +
                                          at_line(rule.place) + ")")
        .file(checkpoint_.path)
        .tensor(tensor.name)
        .expected(std::to_string(rule.dims.size()) + " axes")
        .actual(to_string(shape))
        .advice("The checkpoint is not of this recipe's layout, or the tensor was changed.");
  }
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    if (rule.dims[axis] == nullptr) continue;
    const Expr& dim = *rule.dims[axis];
    std::uint64_t want =
        located(rule.place, "the shape of " + tensor.name, [&] { return eval_.size(dim); });
    if (shape[axis] == want) continue;
    std::string from = origins(dim);
    throw Error(Code::dimension_mismatch,
                "axis " + std::to_string(axis) + " of " + to_string(shape) + " is not " + dim.text +
                    (from.empty() ? "" : " (" + from + ")") + "; " + at_line(rule.place))
        .file(checkpoint_.path)
        .tensor(tensor.name)
        .expected(std::to_string(want))
        .actual(std::to_string(shape[axis]))
        .advice("The checkpoint is not of this recipe's layout, or one of the two was changed.");
  }
}

void Application::shapes() {
  for (const ShapeRule& rule : recipe_.shapes) {
    each_index(rule.source, [&] {
      std::size_t i = source_.find(eval_.expand(rule.source));
      if (i != Source::kNone) check_shape(rule, source_.tensor(i));
    });
  }
}

void Application::state(const Overrides& overrides) {
  for (const FieldRule& rule : recipe_.model) {
    if (rule.open) continue;
    located(rule.place, "the model's " + rule.path, [&] {
      nlohmann::json value = rule.literal;
      for (const ExprPtr& expr : rule.exprs) {
        nlohmann::json one = to_json(eval_.eval(*expr));
        if (rule.kind == FieldKind::reals && rule.literal.is_null()) {
          value = one == "none" ? nlohmann::json::array() : std::move(one);
        } else if (rule.kind == FieldKind::reals) {
          value.push_back(std::move(one));
        } else {
          value = std::move(one);
        }
      }
      set_field(model_.spec, rule.path, value);
    });
  }
  for (const auto& [path, value] : overrides.fields) set_field(model_.spec, path, value);
}

void Application::model(const Overrides& overrides) {
  state(overrides);
  try {
    validate(model_.spec);
  } catch (Error& error) {
    throw error.file(checkpoint_.path);
  }
  std::uint64_t blocks = checked_add(model_.spec.num_hidden_layers,
                                     model_.spec.num_nextn_predict_layers, "the block count");
  std::uint64_t experts = std::max<std::uint64_t>(1, model_.spec.moe.n_routed_experts);
  if (checked_mul(blocks, experts, "the expert count") > kMaxTensors) {
    throw Error(Code::limit_exceeded, "the model has too many blocks and experts")
        .file(checkpoint_.path)
        .expected("at most " + std::to_string(kMaxTensors) + " experts in all blocks")
        .actual(std::to_string(blocks) + " blocks of " + std::to_string(experts))
        .advice("The file is damaged or hostile, or the recipe counts the wrong thing.");
  }
}

CanonicalModel apply(const Recognition& recognition, const Checkpoint& checkpoint,
                     const std::map<std::string, std::string>& settings,
                     const Overrides& overrides) {
  return Application(recognition, checkpoint).run(settings, overrides);
}

}  // namespace wb
