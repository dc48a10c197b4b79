// The canonical table with its rules: which row a spec calls for, where, and in what
// shape. Internal to model/; canonical.h shows the words.
#pragma once

#include <vector>

#include "model/canonical.h"

namespace wb {

// Where a row occurs: once, in every block, in dense or mixture blocks, once per expert of a
// mixture block, once per multi-token head.
enum class CanonicalScope { model, block, dense_block, moe_block, expert, mtp };

struct CanonicalRule {
  CanonicalScope scope;
  CanonicalRow text;
  bool (*when)(const ModelSpec&);
  Shape (*shape)(const ModelSpec&);
};

const std::vector<CanonicalRule>& canonical_rules();

}  // namespace wb
