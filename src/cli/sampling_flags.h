// The flags of the commands that make text: how tokens are chosen and where a text ends.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/sampler.h"

namespace wb::cli {

struct SamplingFlags {
  engine::SamplerOptions options;
  std::uint64_t max_tokens = 40;
  std::vector<std::string> stop;
  bool no_speculation = false;
};
// What `flags` hold are the defaults.
void add_sampling_flags(CLI::App& command, SamplingFlags& flags);

}  // namespace wb::cli
