// What a conversion comes to, in numbers and as JSON: what --json prints, weightbridge.json keeps
// and the model card says.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "model/canonical.h"
#include "target/target.h"

namespace wb {

struct Sums {
  std::size_t source_entries = 0;
  std::uint64_t mapped = 0, made_up = 0;  // weights counted one by one
  std::size_t tensors = 0;                // in the file, experts stacked
  std::uint64_t bytes = 0;                // of those tensors
  std::uint64_t parameters = 0;
  std::size_t lossy = 0;  // tensors that are not exact
  double percent = 0;     // mapped, of the source entries
};
Sums sums_of(const LoweredModel& model);

// "291 mapped, 45.6 %, 16 made up, 540.0 MiB"
std::string sums_text(const Sums& sums);

nlohmann::ordered_json sums_json(const Sums& sums);
nlohmann::ordered_json losses_json(const LoweredModel& model);
nlohmann::ordered_json settings_json(const CanonicalModel& model);
nlohmann::ordered_json dims_json(const CanonicalModel& model);

}  // namespace wb
