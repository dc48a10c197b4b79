// See space.h.
#include "solve/space.h"

#include <algorithm>

#include "base/error.h"
#include "model/spec_values.h"
#include "runtime/terms.h"

namespace wb {

namespace {

// Sets of weights in memory at a time: some, and more while they are small.
constexpr std::size_t kKeptSets = 4;
constexpr std::uint64_t kKeptNumbers = std::uint64_t{1} << 26;
constexpr std::size_t kKeptReadings = 4096;  // structural readings, and values of one field

// What a wrong value of an unknown may lead to; anything else is the file's or machine's fault.
bool rules_out(Code code) {
  switch (code) {
    case Code::spec_invalid:
    case Code::config_invalid:  // a width that comes out negative
    case Code::canonical_missing:
    case Code::shape_mismatch:
    case Code::dimension_mismatch:
    case Code::source_uncovered:
    case Code::recipe_check_failed:
    case Code::model_refused:
    case Code::setting_invalid:
    case Code::tensor_missing:
    case Code::limit_exceeded:
    case Code::size_overflow:
    case Code::usage:
      return true;
    default:
      return false;
  }
}

// Complaints about what the weights are, whatever the constants of the arithmetic.
bool about_tensors(Code code) {
  return code == Code::dimension_mismatch || code == Code::shape_mismatch ||
         code == Code::tensor_missing || code == Code::canonical_missing ||
         code == Code::source_uncovered;
}

void append_bytes(std::string& key, const nlohmann::json& value) {
  key += static_cast<char>(value.type());
  if (value.is_number()) {
    const double number = value.get<double>();
    key.append(reinterpret_cast<const char*>(&number), sizeof number);
  } else if (value.is_boolean()) {
    key += value.get<bool>() ? '1' : '0';
  } else if (value.is_string()) {
    key += value.get_ref<const std::string&>();
    key += '\0';
  } else {
    key += value.dump();
  }
}

template <class T>
void append_raw(std::string& key, const T* values, std::size_t count) {
  key.append(reinterpret_cast<const char*>(values), count * sizeof(T));
}

std::string effect_of(std::uint64_t tensors, const ModelSpec& spec) {
  ModelSpec plain = spec;
  // The scales are f32 where they are used.
  plain.attention.softmax_scale = static_cast<double>(static_cast<float>(spec.scale_nope()));
  plain.attention.softmax_scale_rope = static_cast<double>(static_cast<float>(spec.scale_rope()));
  std::string out = bytes_but_rope(plain);
  append_raw(out, &tensors, 1);
  for (std::size_t heads : {spec.attention.num_attention_heads, spec.rope_key_heads()}) {
    const ops::RopeTable table = rope_table(spec, heads);
    append_raw(out, table.inv_freq.data(), table.inv_freq.size());
    append_raw(out, &table.heads, 1);
    append_raw(out, &table.magnitude, 1);
    append_raw(out, &table.interleaved, 1);
  }
  return out;
}

std::string fingerprint(const CanonicalModel& model) {
  std::string out;
  for (const auto& [name, tensor] : model.tensors) {
    out += name + to_string(tensor.shape()) + tensor.describe() + "\n";
  }
  return out;
}

}  // namespace

std::string key_of(const Assignment& assignment) {
  std::string out;
  out.reserve(assignment.size() * 10);
  for (const nlohmann::json& value : assignment) append_bytes(out, value);
  return out;
}

Space::Space(const Recognition& recognition, const Checkpoint& checkpoint,
             const std::map<std::string, std::string>& settings,
             const std::vector<Unknown>& unknowns)
    : recognition_(recognition),
      checkpoint_(checkpoint),
      settings_(settings),
      unknowns_(unknowns),
      reach_(reach_of_settings(*recognition.recipe)) {
  trace();
}

std::vector<std::string> Space::reached_by(std::size_t unknown) const {
  std::vector<std::string> out;
  for (const auto& [path, by] : reach_.fields) {
    if (by.count(unknowns_[unknown].key) != 0) out.push_back(path);
  }
  return out;
}

bool Space::without_effect(std::size_t unknown) const {
  return unknowns_[unknown].setting && reach_.tensors.count(unknowns_[unknown].key) == 0 &&
         reached_by(unknown).empty();
}

// Sorts the unknowns into those that decide tensors and those that are constants of the
// arithmetic, and notes which constants settings decide.
void Space::trace() {
  std::map<std::string, std::size_t> setting;
  for (std::size_t u = 0; u < unknowns_.size(); ++u) {
    const std::string& key = unknowns_[u].key;
    bool shaping = shapes_tensors(key);
    if (unknowns_[u].setting) {
      setting[key] = u;
      const std::vector<std::string> fields = reached_by(u);
      shaping = reach_.tensors.count(key) != 0 || fields.empty() ||
                std::any_of(fields.begin(), fields.end(), shapes_tensors);
    } else if (!shaping) {
      constants_.emplace_back(u, field_number(key));
    }
    structural_.push_back(shaping);
    if (shaping) shaping_.push_back(u);
  }
  auto unknowns_among = [&](const std::set<std::string>& names) {
    std::vector<std::size_t> out;
    for (const auto& [key, u] : setting) {
      if (names.count(key) != 0) out.push_back(u);
    }
    return out;
  };
  auto any_constant = [&](const std::vector<std::size_t>& by) {
    return std::any_of(by.begin(), by.end(), [&](std::size_t u) { return !structural_[u]; });
  };
  for (const auto& [path, names] : reach_.fields) {
    KnownField field{{unknowns_among(names), {}}, field_number(path)};
    if (any_constant(field.by)) reached_.push_back(std::move(field));
  }
  for (const auto& [key, names] : reach_.limits) {
    Known limit{unknowns_among(names), {}};
    if (any_constant(limit.by)) limits_.push_back(std::move(limit));
  }
}

Overrides Space::overrides(const Assignment& assignment) const {
  Overrides out;
  for (std::size_t u = 0; u < unknowns_.size(); ++u) {
    (unknowns_[u].setting ? out.settings : out.fields)[unknowns_[u].key] = assignment[u];
  }
  return out;
}

std::string Space::key_of(const Assignment& assignment, const std::vector<std::size_t>& by) const {
  std::string out;
  out.reserve(by.size() * 10);
  for (std::size_t u : by) append_bytes(out, assignment[u]);
  return out;
}

ModelSpec Space::stated(const Assignment& assignment) const {
  try {
    return stated_spec(recognition_, checkpoint_, settings_, overrides(assignment));
  } catch (const Error& error) {
    if (!rules_out(error.code())) throw;
    return {};
  }
}

CanonicalModel Space::model(const Assignment& assignment) const {
  return apply(recognition_, checkpoint_, settings_, overrides(assignment));
}

Space::Applied Space::load(const Assignment& assignment) const {
  const CanonicalModel model = this->model(assignment);
  std::string tensors = fingerprint(model);
  std::uint64_t numbers = 0;
  for (const Loaded& known : loaded_) {
    if (known.tensors == tensors) {
      return {std::make_shared<const Decoder>(known.decoder->with_spec(model.spec)),
              known.number,
              "",
              {}};
    }
    numbers += known.decoder->parameters();
  }
  if (loaded_.size() >= kKeptSets && numbers >= kKeptNumbers) {
    loaded_.pop_front();
    applied_.clear();
  }
  loaded_.push_back({std::move(tensors), std::make_shared<const Decoder>(model), ++sets_});
  return {loaded_.back().decoder, sets_, "", {}};
}

Space::Applied Space::applied(const Assignment& assignment) const {
  const std::string key = key_of(assignment, shaping_);
  auto it = applied_.find(key);
  if (it != applied_.end()) return it->second;
  Applied out;
  try {
    out = load(assignment);
  } catch (const Error& error) {
    if (!rules_out(error.code())) throw;
    out.impossible = error.sentence();
    out.code = error.code();
    if (!about_tensors(out.code)) return out;
  }
  if (applied_.size() >= kKeptReadings) applied_.clear();
  return applied_[key] = out;
}

// Every constant that an unknown gives, by way of a setting or itself.
void Space::set_constants(ModelSpec& spec, const Assignment& assignment) const {
  std::lock_guard lock(mutex_);
  bool known = true;
  for (const Known& limit : limits_) {
    known = known && limit.values.count(key_of(assignment, limit.by)) != 0;
  }
  for (const KnownField& field : reached_) {
    if (!known) break;
    auto it = field.values.find(key_of(assignment, field.by));
    known = it != field.values.end();
    if (known) set_field(spec, field.number, it->second);
  }
  if (!known) {
    const ModelSpec stated =
        stated_spec(recognition_, checkpoint_, settings_, overrides(assignment));
    for (Known& limit : limits_) limit.values[key_of(assignment, limit.by)] = nullptr;
    for (KnownField& field : reached_) {
      if (field.values.size() >= kKeptReadings) field.values.clear();
      nlohmann::json value = field_value(stated, field.number);
      set_field(spec, field.number, value);
      field.values[key_of(assignment, field.by)] = std::move(value);
    }
  }
  for (const auto& [unknown, number] : constants_) set_field(spec, number, assignment[unknown]);
}

Reading Space::read(const Assignment& assignment) const {
  Applied base;
  {
    std::lock_guard lock(mutex_);
    base = applied(assignment);
  }
  if (base.decoder == nullptr) return {"", nullptr, base.impossible, base.code};
  try {
    ModelSpec spec = base.decoder->spec();
    set_constants(spec, assignment);
    return {effect_of(base.tensors, spec),
            std::make_shared<const Decoder>(base.decoder->with_spec(spec)),
            "",
            {}};
  } catch (const Error& error) {
    if (!rules_out(error.code())) throw;
    return {"", nullptr, error.sentence(), error.code()};
  }
}

}  // namespace wb
