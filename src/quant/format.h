// Which quantised layout: MLX's mode, bits per code and elements per group. Owns what follows
// from that alone (sizes, element types, defaults); refuses combinations that MLX has not
// (Code::config_invalid).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "tensor/shape.h"

namespace wb {

// affine: codes times a scale plus a bias. The others are floats of 4 or 8 bits with one small
// scale per group and no bias: mxfp4 (e2m1, e8m0 scales), mxfp8 (e4m3, e8m0), nvfp4 (e2m1, e4m3).
enum class QuantMode : std::uint8_t { affine, mxfp4, mxfp8, nvfp4 };
std::string_view name(QuantMode mode);  // as in config.json
std::optional<QuantMode> quant_mode_from_name(std::string_view name);

struct QuantFormat {
  QuantMode mode = QuantMode::affine;
  unsigned bits = 4;
  std::uint64_t group_size = 64;
  bool operator==(const QuantFormat&) const = default;
};
// What MLX takes when only the mode is given.
QuantFormat default_format(QuantMode mode);
// Throws Code::config_invalid unless MLX has the format: affine has bits 2, 3, 4, 5, 6 or 8 and
// groups of 32, 64 or 128; every other mode exactly one of each.
void check_format(const QuantFormat& format);
// The format that a user asks for: no mode is affine, no bits and no group size are the mode's own.
// Throws Code::usage where MLX has none.
QuantFormat asked_format(std::string_view mode, unsigned bits, std::uint64_t group_size);

inline bool has_biases(const QuantFormat& f) { return f.mode == QuantMode::affine; }
// U32 words that one group packs into; groups never share a word.
inline std::uint64_t words_per_group(const QuantFormat& f) { return f.group_size * f.bits / 32; }
// The scales' element type, for weights of `values`: theirs, or U8 codes.
inline DType scales_dtype(const QuantFormat& f, DType values) {
  return has_biases(f) ? values : DType::U8;
}
// F32, F16 and BF16 can be quantised.
inline bool is_quantizable(DType d) {
  return d == DType::F32 || d == DType::F16 || d == DType::BF16;
}

}  // namespace wb
