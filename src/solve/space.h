// The readings of one checkpoint: an assignment of a value to every unknown becomes a
// decoder, or a sentence that says why the weights rule it out. Owns what is shared
// between readings (weights are read once for each set of tensors) and what is
// remembered; judges nothing.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "recipe/reach.h"
#include "recipe/recipe.h"
#include "runtime/decoder.h"
#include "solve/unknowns.h"

namespace wb {

using Assignment = std::vector<nlohmann::json>;  // by unknown
// Bytes that differ where assignments do.
std::string key_of(const Assignment& assignment);

struct Reading {
  // Bytes that are equal only where two readings compute the same: of the tensors and the
  // description, with what rope fields and scales come to in place of themselves.
  std::string effect;
  std::shared_ptr<const Decoder> decoder;  // null when impossible
  std::string impossible;                  // one sentence
  Code code = Code::spec_invalid;          // of that sentence
};

class Space {
 public:
  // Keeps references to all of it.
  Space(const Recognition& recognition, const Checkpoint& checkpoint,
        const std::map<std::string, std::string>& settings, const std::vector<Unknown>& unknowns);

  // Safe from many threads. An error that the machine is to blame for is thrown on.
  Reading read(const Assignment& assignment) const;
  // The description alone, not validated; the defaults where the values contradict the checkpoint.
  ModelSpec stated(const Assignment& assignment) const;
  // As apply() gives it; throws.
  CanonicalModel model(const Assignment& assignment) const;
  const std::vector<Unknown>& unknowns() const { return unknowns_; }
  // Fields of [model] that a setting reaches, and whether it reaches tensors too.
  std::vector<std::string> reached_by(std::size_t unknown) const;
  // Whether it is a setting that no field, tensor or condition of the recipe depends on.
  bool without_effect(std::size_t unknown) const;
  // Whether another value of it may call for other tensors, so that the recipe is applied again.
  bool structural(std::size_t unknown) const { return structural_[unknown]; }

 private:
  struct Loaded {
    std::string tensors;  // which tensors these are and what they are made of
    std::shared_ptr<const Decoder> decoder;
    std::uint64_t number = 0;
  };
  // What the recipe was applied to give for one choice of structural values.
  struct Applied {
    std::shared_ptr<const Decoder> decoder;  // null: these values do not fit the weights
    std::uint64_t tensors = 0;               // number of the set
    std::string impossible;
    Code code = Code::spec_invalid;
  };
  // Something of the recipe that some of the unknowns decide, remembered by their values.
  struct Known {
    std::vector<std::size_t> by;  // unknowns
    std::unordered_map<std::string, nlohmann::json> values;
  };
  struct KnownField : Known {
    std::size_t number;  // of the field
  };

  Overrides overrides(const Assignment& assignment) const;
  std::string key_of(const Assignment& assignment, const std::vector<std::size_t>& by) const;
  void trace();
  Applied applied(const Assignment& assignment) const;
  Applied load(const Assignment& assignment) const;
  void set_constants(ModelSpec& spec, const Assignment& assignment) const;

  const Recognition& recognition_;
  const Checkpoint& checkpoint_;
  const std::map<std::string, std::string>& settings_;
  const std::vector<Unknown>& unknowns_;
  const Reach reach_;
  std::vector<bool> structural_;                                // by unknown
  std::vector<std::size_t> shaping_;                            // the structural unknowns
  std::vector<std::pair<std::size_t, std::size_t>> constants_;  // unknown, field's number
  mutable std::mutex mutex_;
  mutable std::deque<Loaded> loaded_;                         // the latest sets of tensors
  mutable std::uint64_t sets_ = 0;                            // loaded so far
  mutable std::unordered_map<std::string, Applied> applied_;  // by structural values
  mutable std::vector<KnownField> reached_;                   // constants that settings give
  mutable std::vector<Known> limits_;                         // of settings that give constants
};

}  // namespace wb
