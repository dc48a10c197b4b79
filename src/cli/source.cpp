// See source.h.
#include "cli/source.h"

#include <algorithm>

#include "cli/size.h"
#include "package/job.h"

namespace wb::cli {

std::string not_a_flag(const std::string& value) {
  if (!value.starts_with('-')) return "";
  return fmt::format("a path is missing before {}; for a file of that name give ./{}", value,
                     value);
}

void add_source_flags(CLI::App& command, SourceFlags& flags) {
  command
      .add_option("SRC", flags.path,
                  "Checkpoint file, or a folder with safetensors files or one checkpoint file")
      ->required()
      ->option_text(" ");
  command
      .add_option("--recipe", flags.recipe,
                  "Recipe file of your own, or the name of a shipped one (default: recognised)")
      ->check(not_a_flag)
      ->option_text("FILE");
  command
      .add_option("--prefix", flags.prefix,
                  "What tensor names begin with, e.g. model_state_dict. (default: found)")
      ->option_text("PREFIX");
  command
      .add_option("--set", flags.settings,
                  "Set what weights can't tell, e.g. experts_per_token=3; may be repeated")
      ->allow_extra_args(false)
      ->option_text("KEY=VALUE");
  command
      .add_option("--limit", flags.limits,
                  "Raise or lower a limit on the checkpoint, e.g. total-bytes=20000GB; may be "
                  "repeated (docs/security.md lists them)")
      ->allow_extra_args(false)
      ->option_text("NAME=VALUE");
}

namespace {
// Sets the limits that --limit names.
void set_limits(const SourceFlags& flags, OpenOptions& options) {
  for (const std::string& text : flags.limits) {
    const std::size_t equals = text.find('=');
    const std::string name = text.substr(0, equals);
    const auto rows = limit_rows();
    const auto row =
        std::find_if(rows.begin(), rows.end(), [&](const LimitRow& r) { return r.name == name; });
    if (equals == text.npos || row == rows.end()) {
      std::string names;
      for (const LimitRow& r : rows) {
        names += (names.empty() ? "" : ", ") + std::string(r.name) + " (" +
                 std::to_string(options.*r.value) + ")";
      }
      throw Error(Code::usage, "--limit takes NAME=VALUE")
          .expected(names)
          .actual("\"" + printable(text) + "\"")
          .advice("For example --limit total-bytes=20000GB; docs/security.md explains them.");
    }
    options.*row->value = parse_size("--limit " + name, text.substr(equals + 1),
                                     "For example --limit " + name + "=1GiB, or a plain number.");
  }
}
}  // namespace

void add_target_flags(CLI::App& command, TargetFlags& flags) {
  command
      .add_option(
          "--target", flags.target,
          "auto (stock where it computes the same, else exact), exact, stock or shape-match")
      ->option_text("TARGET [auto]");
  command
      .add_option("--dtype", flags.dtype,
                  "Element type of the output: f32, f16, bf16, or source to keep each tensor's own")
      ->option_text("TYPE [source]");
  command.add_option("--mtp", flags.mtp, "Multi-token heads: drop, or keep (in mtp.safetensors)")
      ->check(CLI::IsMember({"drop", "keep"}))
      ->option_text("drop|keep [drop]");
  command
      .add_option(
          "--expert-widths", flags.widths,
          "shape-match: pad experts as the mapping document does, or smart: by the fewest bytes")
      ->check(CLI::IsMember({"document", "smart"}))
      ->option_text("document|smart [document]");
}

Checkpoint open_source(const SourceFlags& flags, bool consumed) {
  OpenOptions options;
  options.allow_consumed = consumed;
  set_limits(flags, options);
  return open_checkpoint(flags.path, options);
}

Recognition recognise_source(const SourceFlags& flags, const Checkpoint& checkpoint) {
  return recognise(checkpoint, recipe_from(flags.recipe), flags.prefix);
}

std::map<std::string, std::string> parse_settings(const SourceFlags& flags) {
  std::map<std::string, std::string> settings;
  for (const std::string& text : flags.settings) {
    const std::size_t equals = text.find('=');
    if (equals == 0 || equals == text.npos) {
      throw Error(Code::usage, "--set takes key=value")
          .actual("\"" + text + "\"")
          .advice("For example --set experts_per_token=3; inspect lists the keys.");
    }
    const std::string key = text.substr(0, equals);
    if (!settings.emplace(key, text.substr(equals + 1)).second) {
      throw Error(Code::usage, "--set gives " + key + " twice")
          .advice("Give one of the two values.");
    }
  }
  return settings;
}

CanonicalModel apply_source(const SourceFlags& flags, const Recognition& recognition,
                            const Checkpoint& checkpoint) {
  return apply(recognition, checkpoint, parse_settings(flags));
}

LoweredModel lower_source(const TargetFlags& flags, const CanonicalModel& model,
                          const StockCalibration* calibration) {
  const TargetKind kind = target_from_name(flags.target);
  LowerOptions options;
  options.dtype = output_dtype(flags.dtype);
  options.keep_mtp = flags.mtp == "keep";
  options.smart_expert_widths = flags.widths == "smart";
  options.calibration = calibration;
  return lower(model, kind, options);
}

std::string settings_text(const CanonicalModel& model) {
  std::string out;
  for (const SettingUsed& s : model.settings) {
    const std::string first = fmt::format("  {} = {}", printable(s.key), plain(s.value));
    out += fmt::format("{} {}\n", first, dim("(" + printable(s.origin) + ")"));
    out +=
        fmt::format("    {}; change it with --set {}=VALUE\n", printable(s.help), printable(s.key));
  }
  return out;
}

std::string prefix_text(const std::string& prefix) {
  return prefix.empty() ? "none" : printable(prefix);
}

}  // namespace wb::cli
