// See calibration.h.
#include "cli/calibration.h"

#include <filesystem>
#include <limits>

#include "cli/model.h"
#include "verify/verify.h"

namespace wb::cli {

namespace {

// Tokens of the file: a text, or ids as --tokens takes them elsewhere.
std::vector<std::vector<std::uint32_t>> windows_of(const std::string& path,
                                                   const SourceFlags& source,
                                                   const std::string& tokenizer,
                                                   const ModelSpec& spec) {
  const bool ids =
      path.ends_with(".u16") || path.ends_with(".u32") || path.ends_with(".safetensors");
  const std::vector<std::uint32_t> tokens =
      ids ? parse_tokens(path, spec.vocab_size)
          : require_tokenizer(tokenizer, source.path).encode(read_text_file(path));
  return cut_windows(tokens, default_window(spec), std::numeric_limits<std::uint64_t>::max())
      .tokens;
}

}  // namespace

void add_calibration_flags(CLI::App& command, CalibrationFlags& flags) {
  command
      .add_option("--calibrate", flags.text,
                  "Text to fit the stock target on, so that it comes closer to the source")
      ->check(not_a_flag)
      ->option_text("FILE");
  command
      .add_option("--calibrate-steps", flags.steps,
                  "Which fits to make: biases,router,positions,spare")
      ->option_text("NAMES [all]");
}

std::optional<CalibrationResult> run_calibration(const CalibrationFlags& flags,
                                                 const SourceFlags& source,
                                                 const TargetFlags& target,
                                                 const std::string& tokenizer,
                                                 const CanonicalModel& model, unsigned threads,
                                                 std::vector<std::string>& remarks) {
  if (flags.text.empty()) return std::nullopt;
  if (target_from_name(target.target) != TargetKind::stock) {
    throw Error(Code::usage, "--calibrate is for --target stock")
        .actual("--target " + target.target)
        .advice("The exact target loses nothing that a calibration could give back.");
  }
  CalibrationResult result =
      calibrate_stock(model, windows_of(flags.text, source, tokenizer, model.spec),
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
