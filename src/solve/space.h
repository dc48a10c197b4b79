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
#include <vector>

#include "base/error.h"
#include "recipe/recipe.h"
#include "runtime/decoder.h"
#include "solve/unknowns.h"

namespace wb {

using Assignment = std::vector<nlohmann::json>;  // by unknown
std::string key_of(const Assignment& assignment);

struct Reading {
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

 private:
  struct Loaded {
    std::string tensors;  // which tensors these are and what they are made of
    std::shared_ptr<const Decoder> decoder;
  };
  Overrides overrides(const Assignment& assignment) const;
  std::shared_ptr<const Decoder> load(const Assignment& assignment) const;

  const Recognition& recognition_;
  const Checkpoint& checkpoint_;
  const std::map<std::string, std::string>& settings_;
  const std::vector<Unknown>& unknowns_;
  mutable std::mutex mutex_;
  mutable std::deque<Loaded> loaded_;  // the latest sets of tensors
  mutable std::map<std::string, std::shared_ptr<const Decoder>> applied_;  // by structural values
};

}  // namespace wb
