// Flags and words; see quantise_flags.h.
#include "cli/quantise_flags.h"

#include <charconv>
#include <map>

#include "base/progress.h"
#include "calibrate/widths.h"
#include "cli/quantise_rules.h"
#include "cli/size.h"
#include "cli/source.h"
#include "package/texts.h"
#include "recipe/document.h"

namespace wb::cli {

namespace {

Error flags_error(const std::string& sentence, const std::string& advice) {
  return Error(Code::usage, sentence).advice(advice);
}

// 0: the mode's own.
unsigned bits_of(const QuantFlags& flags) {
  if (flags.bits.empty() || flags.bits == "auto") return 0;
  unsigned bits = 0;
  const char* end = flags.bits.data() + flags.bits.size();
  const auto [at, error] = std::from_chars(flags.bits.data(), end, bits);
  if (error != std::errc() || at != end) {
    throw Error(Code::usage, "--bits takes a number or auto")
        .actual("\"" + flags.bits + "\"")
        .advice("For example --bits 4, or --bits auto --size 4GB.");
  }
  return bits;
}

// The format that --bits, --group-size and --mode name together.
QuantFormat format_of(const QuantFlags& flags) {
  return asked_format(flags.mode, bits_of(flags), flags.group_size);
}

std::vector<QuantRule> read_rules(const std::string& file, const QuantFormat& base) {
  if (file.empty()) return {};
  return parse_quant_rules(read_document(file), file, base);
}

// "affine 4 bits, groups of 64"
std::string words(const QuantFormat& f) {
  return fmt::format("{} {} bits, groups of {}", name(f.mode), f.bits, f.group_size);
}

}  // namespace

void add_quant_flags(CLI::App& command, QuantFlags& flags) {
  command
      .add_option("--bits", flags.bits,
                  "Quantise to 2, 3, 4, 5, 6 or 8 bits, or auto (needs --size)")
      ->option_text("N");
  command
      .add_option("--group-size", flags.group_size,
                  "Weights that share a scale (default: the mode's own)")
      ->option_text("N");
  command.add_option("--mode", flags.mode, "affine (default), mxfp4, mxfp8 or nvfp4")
      ->option_text("MODE");
  command
      .add_option("--mix", flags.mix, "mixed_2_6, mixed_3_4, mixed_3_6 or mixed_4_6, as in mlx-lm")
      ->option_text("NAME");
  command
      .add_option("--quant-rules", flags.rules,
                  "TOML file of layers and their formats; the first pattern that matches wins")
      ->check(not_a_flag)
      ->option_text("FILE");
  command.add_option("--size", flags.size, "With --bits auto: most bytes of all weights")
      ->option_text("SIZE");
}

void check_quant_flags(const QuantFlags& flags) {
  const bool automatic = flags.bits == "auto";
  const std::string size_advice = "For example --bits auto --size 4GB.";
  if (automatic && flags.size.empty()) throw flags_error("--bits auto needs --size", size_advice);
  if (!automatic && !flags.size.empty()) {
    throw flags_error("--size is for --bits auto only", size_advice);
  }
  if (!flags.size.empty()) parse_size("--size", flags.size, size_advice);
  const QuantFormat format = format_of(flags);
  if (!flags.mix.empty() && (!flags.bits.empty() || !flags.mode.empty())) {
    throw flags_error("--mix chooses bits and mode itself", "Leave --bits and --mode out.");
  }
  if (automatic && format.mode != QuantMode::affine) {
    throw flags_error("--bits auto chooses among the widths of mode affine", "Leave --mode out.");
  }
}

std::optional<QuantSummary> quantise(const QuantFlags& flags, LoweredModel& model, unsigned threads,
                                     std::span<const std::vector<std::uint32_t>> sequences) {
  check_quant_flags(flags);
  const bool uniform = !flags.bits.empty() || !flags.mode.empty() || flags.group_size != 0;
  if (!uniform && flags.mix.empty() && flags.rules.empty()) return std::nullopt;
  const QuantFormat base = format_of(flags);
  QuantPlan plan{read_rules(flags.rules, base), std::nullopt};
  if (!flags.mix.empty()) {
    QuantPlan mix = mixed_plan(flags.mix, base.group_size, model);
    plan.rules.insert(plan.rules.end(), mix.rules.begin(), mix.rules.end());
    plan.base = mix.base;
  } else if (flags.bits == "auto") {
    plan = plan_for_size(model, plan.rules, base.group_size, parse_size("--size", flags.size, ""),
                         threads, sequences);
  } else if (uniform) {
    plan.base = base;
  }
  return quantize_model(model, plan);
}

std::string quant_text(const std::optional<QuantSummary>& summary) {
  if (!summary) return "";
  std::map<std::string, std::vector<std::string>> chosen, left;
  std::map<std::string, std::uint64_t> weights, bytes;
  for (const QuantizedLayer& layer : summary->layers) {
    if (!layer.format) {
      left[layer.reason].push_back(layer.path);
      continue;
    }
    const std::string format = words(*layer.format);
    chosen[format].push_back(layer.path);
    weights[format] += layer.weights;
    bytes[format] += layer.bytes;
  }
  std::string out = bold(fmt::format("quantised: {:.3f} bits per weight, {} in all",
                                     summary->bits_per_weight, human_bytes(summary->bytes))) +
                    "\n";
  for (const auto& [format, paths] : chosen) {
    out += fmt::format("  {}: {}, {:.3f} bits per weight, {}\n", format,
                       counted(paths.size(), "layer"),
                       8.0 * static_cast<double>(bytes[format]) /
                           static_cast<double>(std::max<std::uint64_t>(1, weights[format])),
                       human_bytes(bytes[format]));
    if (chosen.size() > 1) out += fmt::format("    {}\n", wrapped(group_text(paths), 6));
  }
  for (const auto& [reason, paths] : left) {
    out += fmt::format("  left as they are ({}): {}\n", wrapped(printable(reason), 4),
                       wrapped(group_text(paths), 4));
  }
  for (const std::string& pattern : summary->unused) {
    out += yellow(fmt::format("  no layer is the rule \"{}\"'s\n", printable(pattern)));
  }
  return out;
}

Json quant_json(const std::optional<QuantSummary>& summary) {
  if (!summary) return nullptr;
  Json layers = Json::array();
  for (const QuantizedLayer& layer : summary->layers) {
    Json entry{{"path", layer.path}, {"weights", layer.weights}, {"bytes", layer.bytes}};
    if (layer.format) {
      entry["mode"] = name(layer.format->mode);
      entry["bits"] = layer.format->bits;
      entry["group_size"] = layer.format->group_size;
    } else {
      entry["left"] = layer.reason;
    }
    layers.push_back(entry);
  }
  return Json{{"bits_per_weight", summary->bits_per_weight},
              {"bytes", summary->bytes},
              {"unused_rules", summary->unused},
              {"layers", layers}};
}

}  // namespace wb::cli
