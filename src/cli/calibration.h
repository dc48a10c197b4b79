// --calibrate, as plan and convert take it: the text, the steps, and the run of the
// source on it that fits what the stock target cannot state.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/calibrate.h"
#include "cli/source.h"

namespace wb::cli {

struct CalibrationFlags {
  std::string text, steps = "all";
};
void add_calibration_flags(CLI::App& command, CalibrationFlags& flags);

// The text in windows, each as long as the model is run on at once; none without --calibrate.
// `tokenizer`: --tokenizer, or empty to look beside the source.
std::vector<std::vector<std::uint32_t>> calibration_windows(const CalibrationFlags& flags,
                                                            const SourceFlags& source,
                                                            const std::string& tokenizer,
                                                            const ModelSpec& spec);
// Nothing without --calibrate, nor for another target than stock where the text is there to choose
// bits on (`choosing_bits`). What the fits found goes to `remarks`. Throws Code::usage when the
// target is not stock and the text is good for nothing.
std::optional<CalibrationResult> run_calibration(
    const CalibrationFlags& flags, const SourceFlags& source, const TargetFlags& target,
    const std::string& tokenizer, const CanonicalModel& model, unsigned threads, bool choosing_bits,
    std::vector<std::string>& remarks);
// What to hand to lower_source; null without a calibration.
inline const StockCalibration* values_of(const std::optional<CalibrationResult>& result) {
  return result ? &result->values : nullptr;
}

}  // namespace wb::cli
