// What plan says of the folder as files: how many, which rank would write which, and
// what it will take (--estimate). Prints; the arithmetic is convert's.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "cli/output.h"
#include "convert/estimate.h"
#include "target/target.h"

namespace wb::cli {

struct ForecastFlags {
  std::string shard_size = "5GiB";
  unsigned ranks = 1;
  bool estimate = false;
};
void add_forecast_flags(CLI::App& command, ForecastFlags& flags);

struct Forecast {
  FolderLayout layout;
  std::vector<unsigned> ranks;  // by layout.files
  unsigned rank_count = 1;
  std::optional<Estimate> estimate;
  std::uint64_t resident = 0;  // anonymous bytes that this plan holds now; 0 where unknown
};
// Throws Code::usage for a size that is none, and what lay_out() and reading throw.
Forecast forecast(const ForecastFlags& flags, const LoweredModel& model);

std::string forecast_text(const Forecast& forecast);
Json forecast_json(const Forecast& forecast);

}  // namespace wb::cli
