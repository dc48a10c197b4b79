// See calibration.h.
#include "cli/calibration.h"

#include <filesystem>
#include <limits>

#include "cli/model.h"
#include "verify/verify.h"

namespace wb::cli {

std::vector<std::vector<std::uint32_t>> calibration_windows(const CalibrationFlags& flags,
                                                            const SourceFlags& source,
                                                            const std::string& tokenizer,
                                                            const ModelSpec& spec) {
  const std::string& path = flags.text;
  if (path.empty()) return {};
  const bool ids =
      path.ends_with(".u16") || path.ends_with(".u32") || path.ends_with(".safetensors");
  const std::vector<std::uint32_t> tokens =
      ids ? parse_tokens(path, spec.vocab_size)
          : require_tokenizer(tokenizer, source.path).encode(read_text_file(path));
  return cut_windows(tokens, default_window(spec), std::numeric_limits<std::uint64_t>::max())
      .tokens;
}

void add_calibration_flags(CLI::App& command, CalibrationFlags& flags) {
  command
      .add_option("--calibrate", flags.text,
                  "Text to fit the stock target on, so that it comes closer to the source; with "
                  "--bits auto also the text to choose bits on")
      ->check(not_a_flag)
      ->option_text("FILE");
  command
      .add_option("--calibrate-steps", flags.steps,
                  "Which fits to make: biases,router,positions,spare")
      ->option_text("NAMES [all]");
}

std::optional<CalibrationResult> run_calibration(
    const CalibrationFlags& flags, const SourceFlags& source, const TargetFlags& target,
    const std::string& tokenizer, const CanonicalModel& model, unsigned threads, bool choosing_bits,
    std::vector<std::string>& remarks) {
  if (flags.text.empty()) return std::nullopt;
  if (target_from_name(target.target) != TargetKind::stock) {
    if (choosing_bits) return std::nullopt;
    throw Error(Code::usage, "--calibrate is for --target stock, or for --bits auto")
        .actual("--target " + target.target)
        .advice("The exact target loses nothing that a calibration could give back.");
  }
  CalibrationResult result =
      calibrate_stock(model, calibration_windows(flags, source, tokenizer, model.spec),
                      steps_from_names(flags.steps), threads);
  std::string errors;
  for (const double e : result.fit_error) {
    errors += fmt::format("{}{:.3f}", errors.empty() ? "" : ", ", e);
  }
  remarks.push_back(fmt::format(
      "Calibrated ({}) on {} tokens of {}; the direction that stands for 1 errs by {} (root mean "
      "square, by layer). verify measures what it is worth.",
      flags.steps, grouped(result.tokens), std::filesystem::path(flags.text).filename().string(),
      errors));
  return result;
}

}  // namespace wb::cli
