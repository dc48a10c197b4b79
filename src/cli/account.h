// The account: what became of every source entry, what the output is made of, and
// what is lost. plan and convert print the same one.
#pragma once

#include <string>

#include "cli/output.h"
#include "target/target.h"

namespace wb::cli {

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
// Why this target, and how it differs from the source's model; empty when nothing is to be said.
std::string reasons_text(const LoweredModel& model);
// Source entries by fate, with counts and reasons, names grouped by pattern.
std::string account_text(const LoweredModel& model);
// Every loss in words with the tensors that it concerns; empty when there is none.
std::string losses_text(const LoweredModel& model);

Json sums_json(const Sums& sums);
Json account_json(const LoweredModel& model);  // every line, ungrouped
Json losses_json(const LoweredModel& model);

}  // namespace wb::cli
