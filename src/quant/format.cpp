// The table of modes; see format.h.
#include "quant/format.h"

#include <array>
#include <string>

#include "base/error.h"

namespace wb {

namespace {
struct Mode {
  std::string_view name;
  QuantFormat fallback;
};
const std::array<Mode, 4>& modes() {
  static const std::array<Mode, 4> table = {{{"affine", {QuantMode::affine, 4, 64}},
                                             {"mxfp4", {QuantMode::mxfp4, 4, 32}},
                                             {"mxfp8", {QuantMode::mxfp8, 8, 32}},
                                             {"nvfp4", {QuantMode::nvfp4, 4, 16}}}};
  return table;
}
}  // namespace

std::string_view name(QuantMode mode) { return modes()[static_cast<std::size_t>(mode)].name; }

std::optional<QuantMode> quant_mode_from_name(std::string_view text) {
  for (const Mode& m : modes()) {
    if (m.name == text) return m.fallback.mode;
  }
  return std::nullopt;
}

QuantFormat default_format(QuantMode mode) {
  return modes()[static_cast<std::size_t>(mode)].fallback;
}

void check_format(const QuantFormat& f) {
  std::string wanted = "bits 2, 3, 4, 5, 6 or 8 and group_size 32, 64 or 128";
  bool known = f.bits >= 2 && f.bits <= 8 && f.bits != 7 &&
               (f.group_size == 32 || f.group_size == 64 || f.group_size == 128);
  if (f.mode != QuantMode::affine) {
    const QuantFormat only = default_format(f.mode);
    known = f == only;
    wanted =
        "bits " + std::to_string(only.bits) + " and group_size " + std::to_string(only.group_size);
  }
  if (known) return;
  throw Error(Code::config_invalid, std::string(name(f.mode)) + " quantisation has no such format")
      .expected(wanted)
      .actual("bits " + std::to_string(f.bits) + ", group_size " + std::to_string(f.group_size))
      .advice("Choose one of the formats that MLX has; leave group_size out for its default.");
}

QuantFormat asked_format(std::string_view mode, unsigned bits, std::uint64_t group_size) {
  const auto known = quant_mode_from_name(mode.empty() ? "affine" : mode);
  if (!known) {
    throw Error(Code::usage, "no quantisation mode has this name")
        .expected("affine, mxfp4, mxfp8 or nvfp4")
        .actual("\"" + std::string(mode) + "\"")
        .advice("Leave the mode out for affine.");
  }
  QuantFormat format = default_format(*known);
  if (bits != 0) format.bits = bits;
  if (group_size != 0) format.group_size = group_size;
  try {
    check_format(format);
  } catch (const Error& e) {
    throw Error(Code::usage, "bits, group size and mode name no format that MLX has")
        .expected(e.expected())
        .actual(e.actual())
        .advice("Give the mode alone for its default format.");
  }
  return format;
}

}  // namespace wb
