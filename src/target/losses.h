// The losses of docs/mappings.md as a table: when each applies, which canonical
// tensors it concerns, and what both sides compute, in words. Internal to target/.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "target/lowering.h"

namespace wb {

struct LossRow {
  int number;
  bool (*applies)(const ModelSpec& spec);
  std::vector<std::string_view> concerns;  // rows of the canonical table, by pattern
  // Sentences; {heads}, {other_heads}, {nope}, {rope}, {left} (nope - rope), {k}, {eps},
  // {scale}, {target_scale} are filled in.
  std::string_view source_computes, target_makes;
};

// Rows 1 to 11, for the shape-match mapping.
const std::vector<LossRow>& shape_match_losses();

// The rows of `table` that apply to the model, with every source name that they concern.
std::vector<Loss> losses_of(const Lowering& source, const std::vector<LossRow>& table);

// Marks each tensor that draws on a tensor of a loss: exact = false, and a note with the numbers.
void mark_lossy(const std::vector<Loss>& losses, std::vector<TargetTensor>& tensors);

}  // namespace wb
