// `weightbridge plan SRC`: what convert would write, tensor by tensor, and what it
// would leave out. Writes nothing.
#include <memory>

#include "base/progress.h"
#include "cli/account.h"
#include "cli/calibration.h"
#include "cli/cli.h"
#include "cli/forecast.h"
#include "cli/quantise_flags.h"
#include "cli/source.h"

namespace wb::cli {

namespace {

const char* mark(const TargetTensor& t) {
  return t.made_up ? "made up" : t.exact ? "exact" : "lossy";
}

// A stack of 256 experts need not be read in full; --json has all of it.
std::string shortened(const std::string& steps) {
  constexpr std::size_t kHead = 150, kTail = 60;
  if (steps.size() <= kHead + kTail + 20) return steps;
  std::size_t head = steps.rfind(' ', kHead), tail = steps.find(' ', steps.size() - kTail);
  if (head == steps.npos) head = kHead;
  if (tail == steps.npos) tail = steps.size() - kTail;
  return fmt::format("{} ... {}", steps.substr(0, head), steps.substr(tail + 1));
}

std::string tensors_text(const std::vector<TargetTensor>& tensors) {
  std::string out;
  for (const TargetTensor& t : tensors) {
    const std::string kind = t.made_up || !t.exact ? yellow(mark(t)) : mark(t);
    out += fmt::format("  {}  {} {}  {}\n", printable(t.name), name(t.tensor.dtype()),
                       to_string(t.tensor.shape()), kind);
    out +=
        dim(fmt::format("      {}", wrapped(printable(shortened(t.tensor.describe())), 8))) + "\n";
    if (!t.note.empty()) out += fmt::format("      {}\n", wrapped(printable(t.note), 8));
  }
  return out;
}

Json tensors_json(const std::vector<TargetTensor>& tensors) {
  Json out = Json::array();
  for (const TargetTensor& t : tensors) {
    out.push_back({{"name", t.name},
                   {"dtype", name(t.tensor.dtype())},
                   {"shape", t.tensor.shape()},
                   {"bytes", t.tensor.nbytes()},
                   {"kind", mark(t)},
                   {"entries", t.entries},
                   {"sources", t.tensor.sources()},
                   {"steps", t.tensor.describe()},
                   {"moved_unchanged", t.tensor.is_movement()},
                   {"note", t.note}});
  }
  return out;
}

std::string text(const Checkpoint& checkpoint, const CanonicalModel& model,
                 const LoweredModel& lowered, const std::optional<QuantSummary>& quant,
                 const Forecast& files) {
  std::string out =
      bold(fmt::format("{} -> {}", printable(checkpoint.path), lowered.target)) + "\n";
  out +=
      fmt::format("  recipe {}, prefix {}\n", printable(model.recipe), prefix_text(model.prefix));
  out += reasons_text(lowered);
  if (!model.settings.empty()) out += bold("settings") + "\n" + settings_text(model);
  out += bold("tensors, and what each is made of") + "\n" + tensors_text(lowered.tensors);
  if (!lowered.extra.empty()) out += bold("mtp.safetensors") + "\n" + tensors_text(lowered.extra);
  return out + account_text(lowered) + losses_text(lowered) + quant_text(quant) +
         forecast_text(files) + "Nothing has been written.\n";
}

int plan(const SourceFlags& source, const TargetFlags& target, const CalibrationFlags& calibrate,
         const QuantFlags& quant_flags, const ForecastFlags& forecast_flags, bool json) {
  check_quant_flags(quant_flags);
  const Checkpoint checkpoint = open_source(source);
  const CanonicalModel model =
      apply_source(source, recognise_source(source, checkpoint), checkpoint);
  std::vector<std::string> remarks;
  const bool choosing = quant_flags.bits == "auto";
  const auto calibration =
      run_calibration(calibrate, source, target, "", model, 0, choosing, remarks);
  LoweredModel lowered = lower_source(target, model, values_of(calibration));
  lowered.reasons.insert(lowered.reasons.end(), remarks.begin(), remarks.end());
  std::vector<std::vector<std::uint32_t>> windows;
  if (choosing) windows = calibration_windows(calibrate, source, "", model.spec);
  const auto quant = quantise(quant_flags, lowered, 0, windows);
  const Forecast files = forecast(forecast_flags, lowered);
  if (!json) {
    print(text(checkpoint, model, lowered, quant, files));
    return kDone;
  }
  print_json(Json{{"source", checkpoint.path},
                  {"recipe", model.recipe},
                  {"prefix", model.prefix},
                  {"target", lowered.target},
                  {"reasons", lowered.reasons},
                  {"settings", settings_json(model)},
                  {"dims", dims_json(model)},
                  {"sums", sums_json(sums_of(lowered))},
                  {"tensors", tensors_json(lowered.tensors)},
                  {"extra", tensors_json(lowered.extra)},
                  {"account", account_json(lowered)},
                  {"losses", losses_json(lowered)},
                  {"quantization", quant_json(quant)},
                  {"forecast", forecast_json(files)},
                  {"config", lowered.config}});
  return kDone;
}

}  // namespace

void add_plan(CLI::App& app, Session& session) {
  struct Flags {
    SourceFlags source;
    TargetFlags target;
    CalibrationFlags calibration;
    QuantFlags quant;
    ForecastFlags forecast;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "plan",
      "Say what convert would write: every tensor, from what, by which steps, what is lost");
  add_source_flags(*command, flags->source);
  add_target_flags(*command, flags->target);
  add_calibration_flags(*command, flags->calibration);
  add_quant_flags(*command, flags->quant);
  add_forecast_flags(*command, flags->forecast);
  add_json_flag(*command, session);
  command->callback([&session, flags] {
    session.run = [&session, flags] {
      return plan(flags->source, flags->target, flags->calibration, flags->quant, flags->forecast,
                  session.json);
    };
  });
}

}  // namespace wb::cli
