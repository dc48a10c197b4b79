// What inspect, plan and convert have in common: the checkpoint on the command
// line, its recipe, and the flags that say what weights can't tell.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "cli/output.h"
#include "model/canonical.h"
#include "package/sums.h"
#include "recipe/recipe.h"
#include "target/target.h"

namespace wb::cli {

// For options that take a path: refuses what looks like a flag, which is a value forgotten.
std::string not_a_flag(const std::string& value);

struct SourceFlags {
  std::string path, recipe, prefix;
  std::vector<std::string> settings;  // key=value, as typed
  std::vector<std::string> limits;    // name=value, as typed
};
void add_source_flags(CLI::App& command, SourceFlags& flags);

struct TargetFlags {
  std::string target = "auto", dtype = "source", mtp = "drop", widths = "document";
};
void add_target_flags(CLI::App& command, TargetFlags& flags);

// `consumed`: shards that --consume has cut to their headers are taken too.
Checkpoint open_source(const SourceFlags& flags, bool consumed = false);
// Throws what recognise() does.
Recognition recognise_source(const SourceFlags& flags, const Checkpoint& checkpoint);
// The --set flags. Throws Code::usage for one that is not key=value or is given twice.
std::map<std::string, std::string> parse_settings(const SourceFlags& flags);
CanonicalModel apply_source(const SourceFlags& flags, const Recognition& recognition,
                            const Checkpoint& checkpoint);
// `calibration` is for stock; it may be null and must outlive the call.
LoweredModel lower_source(const TargetFlags& flags, const CanonicalModel& model,
                          const StockCalibration* calibration = nullptr);

// "experts_per_token = 2 (default; experts that ...; --set experts_per_token=VALUE changes it)"
std::string settings_text(const CanonicalModel& model);
std::string prefix_text(const std::string& prefix);

}  // namespace wb::cli
