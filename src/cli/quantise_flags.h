// The flags that quantise, for plan and convert: from the command line and a file of rules to a
// plan, applied to a lowered model, and what it comes to in words.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/output.h"
#include "target/quantize.h"

namespace wb::cli {

struct QuantFlags {
  std::string bits, mode, mix, rules, size;
  std::uint64_t group_size = 0;  // 0: the mode's own
};
void add_quant_flags(CLI::App& command, QuantFlags& flags);

// Refuses flags that contradict each other. Code::usage; before any file is read.
void check_quant_flags(const QuantFlags& flags);
// Quantises the model as the flags say; nothing when they say nothing. Throws Code::usage,
// Code::config_invalid for a file of rules, and what quantize_model() and plan_for_size() throw.
// `sequences`: token windows to choose --bits auto's widths on; none: by the weights alone.
std::optional<QuantSummary> quantise(const QuantFlags& flags, LoweredModel& model, unsigned threads,
                                     std::span<const std::vector<std::uint32_t>> sequences = {});

// Bits per weight, sizes, what was left and why; "" without a summary.
std::string quant_text(const std::optional<QuantSummary>& summary);
Json quant_json(const std::optional<QuantSummary>& summary);  // null without one

}  // namespace wb::cli
