// See drafter.h: the steps in order, modules, what is left, and what all steps share.
#include "draft/drafter.h"

#include <fmt/format.h>

#include <algorithm>

#include "recipe/recipe.h"

namespace wb::draft {

namespace {

bool is_weight_leaf(const std::string& leaf) {
  return leaf == "weight" || leaf == "scale" || leaf == "gamma" || leaf == "g";
}
bool is_bias_leaf(const std::string& leaf) {
  return leaf == "bias" || leaf == "shift" || leaf == "beta";
}

std::string shape_text(const Group& g) {
  return to_string(g.shape) + (g.shapes_differ ? " and others" : "");
}

void collect(const nlohmann::json& json, const std::string& path,
             const std::vector<std::string>& keys, std::vector<std::string>& out) {
  if (!json.is_object()) return;
  for (const auto& [key, value] : json.items()) {
    std::string here = path.empty() ? key : path + "." + key;
    if (value.is_object()) {
      collect(value, here, keys, out);
    } else if (std::find(keys.begin(), keys.end(), key) != keys.end() && value.is_number()) {
      out.push_back(here);
    }
  }
}

}  // namespace

Drafter::Drafter(const Checkpoint& checkpoint, std::string name, const DraftOptions& options)
    : checkpoint_(checkpoint),
      names_(read_names(checkpoint, options.prefix)),
      name_(std::move(name)),
      ask_all_(options.ask_all) {
  draft_.prefix = names_.prefix;
  draft_.outside = names_.outside;
}

Draft Drafter::run() {
  if (!names_.has_layers) {
    throw Error(Code::recipe_unknown,
                "no layers are seen: no number in the names runs from 0 with the same tensors "
                "behind each value")
        .file(checkpoint_.path)
        .advice(
            "`weightbridge inspect` lists the names; if the model is one among others in the file, "
            "say which with --prefix.");
  }
  for (const auto& [variable, count] : names_.counts) {
    if (variable == "l") index_.insert(index_.begin(), {"l", "num_hidden_layers"});
  }
  find_scales();
  find_modules();
  buffers();
  hidden_size();
  top();
  layers();
  multi_token_heads();
  leftovers();
  draft_.toml = toml();
  return std::move(draft_);
}

void Drafter::find_modules() {
  std::map<std::string, std::size_t> by_stem;
  std::set<std::string> stacked;
  for (const Group& g : names_.groups) {
    if (settled(&g)) continue;
    if (g.shape.size() == 3 && g.pattern.ends_with(".weight"))
      stacked.insert(g.pattern.substr(0, g.pattern.size() - 7));
  }
  for (const Group& g : names_.groups) {
    if (settled(&g)) continue;
    std::size_t dot = g.pattern.rfind('.');
    std::string leaf = dot == std::string::npos ? "" : g.pattern.substr(dot + 1);
    // Of stacked experts the bias has an axis of experts too.
    bool bias = is_bias_leaf(leaf) &&
                (g.shape.size() == 1 ||
                 (g.shape.size() == 2 && stacked.count(g.pattern.substr(0, dot)) != 0));
    bool weight = is_weight_leaf(leaf);
    std::string stem = weight || bias ? g.pattern.substr(0, dot) : g.pattern;
    auto [it, fresh] = by_stem.try_emplace(stem, modules_.size());
    if (fresh) modules_.push_back({nullptr, nullptr, stem, true, {}});
    Module& m = modules_[it->second];
    (bias ? m.bias : m.weight) = &g;
    m.plain_names &= leaf == "weight" || leaf == "bias";
  }
  for (Module& m : modules_) {
    m.features = features_of(below_layer(m.stem));
    // A vector called bias beside nothing is a tensor of its own.
    if (m.weight == nullptr) {
      std::swap(m.weight, m.bias);
      m.stem = m.weight->pattern;
      m.plain_names = false;
      m.features = features_of(below_layer(m.stem));
    }
  }
}

bool Drafter::of_mtp(const Group& g) const {
  if (names_.mtp_prefix.empty()) return false;
  const std::string first = names_.mtp_prefix.substr(0, names_.mtp_prefix.find('.') + 1);
  return g.has("m") || (first.find('{') == std::string::npos && g.pattern.starts_with(first));
}

std::string Drafter::below_layer(const std::string& pattern) const {
  for (const std::string& prefix : {names_.layer_prefix, names_.mtp_prefix}) {
    if (!prefix.empty() && pattern.starts_with(prefix)) return pattern.substr(prefix.size());
  }
  return pattern;
}

void Drafter::leftovers() {
  std::map<std::string, const Group*> ordered;
  for (const Group& g : names_.groups) ordered[g.pattern] = &g;
  for (const auto& [pattern, g] : ordered) {
    DraftGroup out{pattern, g->tensors.size(), std::string(name(g->dtype)), shape_text(*g), "", 0,
                   ""};
    if (auto it = roles_.find(g); it != roles_.end()) {
      out.role = it->second.role;
      out.confidence = it->second.confidence;
      out.why = it->second.why;
    } else {
      draft_.unknown.push_back(pattern);
      if (features_of(pattern).noise) {
        draft_.notes.push_back(
            pattern +
            " speaks of routing noise. Random routing is not converted; if noise "
            "is added in training only, list it under [left_out] yourself.");
      }
    }
    draft_.groups.push_back(std::move(out));
  }
}

// ------------------------------------------------------------------ what the steps share

std::string Drafter::term(const std::string& name) {
  bool plain = name.find('.') != std::string::npos && name.find("..") == std::string::npos;
  for (char c : name) {
    plain &= (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '_' || c == '.' || c == '{' || c == '}';
  }
  return plain ? name : quoted(name);
}
std::string Drafter::quoted(const std::string& name) {
  const char* quote = name.find('\'') == std::string::npos ? "'" : "\"";
  return quote + name + quote;
}

void Drafter::settle(const Group* group, const std::string& role, double confidence,
                     const std::string& why) {
  DraftGroup& g = roles_[group];
  g.role = role;
  g.confidence = confidence;
  g.why = why;
}
void Drafter::settle(const Module& module, const std::string& role, double confidence,
                     const std::string& why) {
  settle(module.weight, role, confidence, why);
  if (module.bias != nullptr) settle(module.bias, role + ", bias", confidence, "stands beside it");
}

void Drafter::line(const std::string& canonical, const Module& module, const std::string& expr,
                   const std::string& comment, bool layer) {
  line(canonical, std::vector<const Module*>{&module}, "", expr, comment, layer);
}

void Drafter::line(const std::string& canonical, const std::vector<const Module*>& choice,
                   const std::string& key, const std::string& expr, const std::string& comment,
                   bool layer) {
  bool plain =
      std::all_of(choice.begin(), choice.end(), [](const Module* m) { return m->plain_names; });
  const auto chosen = [&](auto name_of) {
    std::vector<std::string> names;
    for (const Module* m : choice) names.push_back(name_of(m));
    return filled(expr, choose(key, names));
  };
  if (plain) {
    tensors_.push_back({toml_string(canonical),
                        toml_string(chosen([](const Module* m) { return term(m->stem); })), comment,
                        layer});
    return;
  }
  tensors_.push_back({toml_string(canonical + ".weight"),
                      toml_string(chosen([](const Module* m) { return term(m->weight->pattern); })),
                      comment, layer});
  if (choice[0]->bias == nullptr) return;
  tensors_.push_back({toml_string(canonical + ".bias"),
                      toml_string(chosen([](const Module* m) { return term(m->bias->pattern); })),
                      "", layer});
}

std::string Drafter::choose(const std::string& key, const std::vector<std::string>& of_answer) {
  // Equal answers share a condition: if(key == 1 or key == 3, a, b).
  std::vector<std::string> names;
  for (const std::string& n : of_answer) {
    if (std::find(names.begin(), names.end(), n) == names.end()) names.push_back(n);
  }
  std::string out = names.back();
  for (std::size_t i = names.size() - 1; i-- > 0;) {
    std::string when;
    for (std::size_t c = 0; c < of_answer.size(); ++c) {
      if (of_answer[c] == names[i])
        when += fmt::format("{}{} == {}", when.empty() ? "" : " or ", key, c + 1);
    }
    out = fmt::format("if({}, {}, {})", when, names[i], out);
  }
  return out;
}

std::string Drafter::filled(const std::string& expr, const std::string& name) {
  std::string out;
  for (char c : expr) {
    if (c == '$') {
      out += name;
    } else {
      out += c;
    }
  }
  return out;
}

void Drafter::shape(const Group* group, const std::vector<std::string>& dims) {
  std::string value = "[";
  for (const std::string& d : dims) value += (value.size() > 1 ? ", " : "") + toml_string(d);
  shapes_.push_back({toml_string(group->pattern), value + "]", "", in_layer(*group)});
}

void Drafter::dim(const std::string& name, const std::string& expr, std::uint64_t value,
                  const std::string& comment) {
  dims_.push_back({name, toml_string(expr), comment, false});
  if (value > 0) draft_.dims.emplace_back(name, value);
}

void Drafter::field(const std::string& path, const std::string& value, const std::string& comment) {
  fields_.push_back({path, value, comment, false});
}

void Drafter::open(const std::string& path) {
  Question q = question_for(path);
  std::string values;
  for (const std::string& v : q.values) values += (values.empty() ? "" : ", ") + v;
  field(path, toml_string("?"), q.text + ": " + values + ". " + q.experiment);
  draft_.questions.push_back(std::move(q));
}

void Drafter::assume(const std::string& path, const std::string& value, const std::string& comment,
                     std::initializer_list<const char*> with) {
  if (ask_all_) {
    open(path);
    for (const char* other : with) open(other);
    return;
  }
  field(path, value, "assumed: " + comment);
  draft_.assumed.push_back(path + " = " + value + ": " + comment);
}

void Drafter::ask_choice(const std::string& key, const std::string& help,
                         const std::vector<std::string>& meanings, const std::string& experiment) {
  Ask a{key, "0", help, {}, "1", std::to_string(meanings.size()), {}};
  for (std::size_t i = 0; i < meanings.size(); ++i) {
    a.help += fmt::format("{}{}: {}", i == 0 ? " - " : "; ", i + 1, meanings[i]);
    a.candidates.push_back(std::to_string(i + 1));
  }
  Question q{false, key, help, {}, experiment};
  for (std::size_t i = 0; i < meanings.size(); ++i)
    q.values.push_back(fmt::format("{} ({})", i + 1, meanings[i]));
  asks_.push_back(std::move(a));
  draft_.questions.push_back(std::move(q));
}

void Drafter::ask_roles(const std::string& key, const std::string& help,
                        const std::vector<std::string>& roles,
                        const std::vector<std::vector<std::size_t>>& assignments,
                        const std::vector<const Module*>& modules, const std::string& experiment) {
  if (assignments.size() < 2) return;
  std::vector<std::string> meanings;
  for (const auto& assignment : assignments) {
    std::string meaning;
    for (std::size_t r = 0; r < roles.size(); ++r) {
      bool varies = std::any_of(assignments.begin(), assignments.end(),
                                [&](const auto& a) { return a[r] != assignment[r]; });
      if (!varies) continue;
      meaning += fmt::format("{}{} {}", meaning.empty() ? "" : ", ", roles[r],
                             below_layer(modules[assignment[r]]->stem));
    }
    meanings.push_back(meaning);
  }
  ask_choice(key, help, meanings, experiment);
}

void Drafter::ask(Ask a, const std::string& experiment) {
  Question q{false, a.key, a.help, a.candidates, experiment};
  if (!a.from.empty()) q.experiment = "the checkpoint says it at " + a.from[0];
  if (a.from.empty()) draft_.questions.push_back(std::move(q));
  asks_.push_back(std::move(a));
}

std::vector<std::string> Drafter::facts(std::initializer_list<const char*> keys) const {
  std::vector<std::string> out;
  for (const char* key : keys) collect(checkpoint_.facts, "", {key}, out);
  if (out.size() > 1) out.resize(1);
  return out;
}

std::string Drafter::first_of(const Group* group, const std::string& keep) const {
  return term(spell(group->pattern, group->first, keep));
}

Draft draft_recipe(const Checkpoint& checkpoint, const std::string& name,
                   const DraftOptions& options) {
  Draft out = Drafter(checkpoint, name, options).run();
  try {
    out.recognised = summary(*recognise(checkpoint, nullptr, options.prefix).recipe).name;
  } catch (const Error&) {
    // Not known, which is what a draft is for.
  }
  return out;
}

}  // namespace wb::draft
