// See space.h.
#include "solve/space.h"

#include "base/error.h"

namespace wb {

namespace {

constexpr std::size_t kKeptSets = 4;       // sets of weights in memory at a time
constexpr std::size_t kKeptReadings = 64;  // structural readings; each holds a set

// What a wrong value of an unknown may lead to; anything else is the file's or machine's fault.
bool rules_out(Code code) {
  switch (code) {
    case Code::spec_invalid:
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

std::string fingerprint(const CanonicalModel& model) {
  std::string out;
  for (const auto& [name, tensor] : model.tensors) {
    out += name + to_string(tensor.shape()) + tensor.describe() + "\n";
  }
  return out;
}

}  // namespace

std::string key_of(const Assignment& assignment) { return nlohmann::json(assignment).dump(); }

Space::Space(const Recognition& recognition, const Checkpoint& checkpoint,
             const std::map<std::string, std::string>& settings,
             const std::vector<Unknown>& unknowns)
    : recognition_(recognition),
      checkpoint_(checkpoint),
      settings_(settings),
      unknowns_(unknowns) {}

Overrides Space::overrides(const Assignment& assignment) const {
  Overrides out;
  for (std::size_t u = 0; u < unknowns_.size(); ++u) {
    (unknowns_[u].setting ? out.settings : out.fields)[unknowns_[u].key] = assignment[u];
  }
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

std::shared_ptr<const Decoder> Space::load(const Assignment& assignment) const {
  const CanonicalModel applied = model(assignment);
  std::string tensors = fingerprint(applied);
  for (const Loaded& known : loaded_) {
    if (known.tensors == tensors) {
      return std::make_shared<const Decoder>(known.decoder->with_spec(applied.spec));
    }
  }
  if (loaded_.size() == kKeptSets) {
    loaded_.pop_front();
    applied_.clear();
  }
  loaded_.push_back({std::move(tensors), std::make_shared<const Decoder>(applied)});
  return loaded_.back().decoder;
}

Reading Space::read(const Assignment& assignment) const {
  Assignment structural;
  for (std::size_t u = 0; u < unknowns_.size(); ++u) {
    if (unknowns_[u].structural) structural.push_back(assignment[u]);
  }
  const std::string key = key_of(structural);
  try {
    std::shared_ptr<const Decoder> base;
    {
      std::lock_guard lock(mutex_);
      auto it = applied_.find(key);
      if (it != applied_.end()) {
        base = it->second;
      } else {
        base = load(assignment);
        if (applied_.size() >= kKeptReadings) applied_.clear();
        applied_[key] = base;
      }
    }
    ModelSpec spec = base->spec();
    for (std::size_t u = 0; u < unknowns_.size(); ++u) {
      if (!unknowns_[u].setting) set_field(spec, unknowns_[u].key, assignment[u]);
    }
    return {std::make_shared<const Decoder>(base->with_spec(spec)), "", {}};
  } catch (const Error& error) {
    if (!rules_out(error.code())) throw;
    return {nullptr, error.sentence(), error.code()};
  }
}

}  // namespace wb
