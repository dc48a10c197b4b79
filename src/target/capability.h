// What a class can compute, as data: one row per field of ModelSpec that it restricts.
// A model fits when every row holds; what does not hold is named with its value, so that
// refusals and the choice of a target explain themselves. Internal to target/.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "target/lowering.h"

namespace wb {

struct Capability {
  std::string_view path;  // the field that is named
  bool (*holds)(const ModelSpec& spec);
  std::string_view reason;  // what the class does instead
};

// "attention.q_norm.kind = \"none\": the class always norms the query latent", for each row
// that does not hold.
std::vector<std::string> differences(const ModelSpec& spec, const std::vector<Capability>& rows);

// Throws target_inexpressible with every row that does not hold.
void require(const ModelSpec& spec, const std::vector<Capability>& rows, std::string_view target);

// The mapping of docs/mappings.md 1: what it has no loss for it does not take.
const std::vector<Capability>& shape_match_capabilities();

}  // namespace wb
