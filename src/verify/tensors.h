// Two models tensor by tensor, in the canonical names: what is there on either side,
// with which type and shape, and whether the values are the same. Reads every value
// of both once, in pieces. A logit may not show what happened to one weight; this does.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/canonical.h"

namespace wb {

// From best to worst, as far as a source tensor is concerned.
enum class TensorOutcome {
  equal,        // same type, same bits
  equal_value,  // another type, or another sign of zero, with the same values
  rounded,      // every value within the unit roundoff of the narrower type
  reshaped,     // other shape: the class keeps it in another form
  changed,      // other values
  only_source,  // the folder has no such tensor
  only_folder,
};
std::string_view name(TensorOutcome outcome);  // in words

// Tensors that differ only in their indices and are alike in everything else.
struct TensorRow {
  std::string pattern;         // "layers.{}.attn.q_nope.weight"
  std::uint64_t count = 0;     // tensors
  std::string source, folder;  // "F32 [4, 32, 64]"; empty where there is none
  TensorOutcome outcome = TensorOutcome::equal;
  double relative = 0;  // largest ||source - folder|| / ||source|| among them; changed, rounded
};
struct TensorComparison {
  std::vector<TensorRow> rows;                    // by pattern
  std::map<std::string, TensorOutcome> outcomes;  // of every canonical tensor
  std::uint64_t count(TensorOutcome outcome) const;
};
// threads: 0 = all cores. Tensors of a type that has no value here (packed ones) must have been
// decoded. Throws what reading throws.
TensorComparison compare_tensors(const CanonicalModel& source, const CanonicalModel& folder,
                                 unsigned threads);

// What became of each source tensor that a canonical one is made of: the worst of what these
// came to. By name in the checkpoint.
std::map<std::string, TensorOutcome> source_outcomes(const CanonicalModel& source,
                                                     const TensorComparison& comparison);

nlohmann::ordered_json to_json(const TensorComparison& comparison);

}  // namespace wb
