// The account: what became of every source entry, what the output is made of, and
// what is lost. plan and convert print the same one.
#pragma once

#include <string>

#include "cli/output.h"
#include "package/sums.h"
#include "target/target.h"

namespace wb::cli {

// Why this target, and how it differs from the source's model; empty when nothing is to be said.
std::string reasons_text(const LoweredModel& model);
// Source entries by fate, with counts and reasons, names grouped by pattern.
std::string account_text(const LoweredModel& model);
// Every loss in words with the tensors that it concerns; empty when there is none.
std::string losses_text(const LoweredModel& model);

Json account_json(const LoweredModel& model);  // every line, ungrouped

}  // namespace wb::cli
