// The oracle: each formula as it is written down, one value at a time; see groups.h.
#include "quant/plain.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"

namespace wb {

namespace quant {

FloatScale float_scale(const QuantFormat& format, DType dtype, float amax) {
  const float top = format.mode == QuantMode::mxfp8 ? 448.0f : 6.0f;
  const float scale = round_to(dtype, amax / top);
  if (format.mode == QuantMode::nvfp4) {
    const std::uint8_t code = f32_to_mlx_e4m3(scale);
    return {code, mlx_e4m3_to_f32(code)};
  }
  float n = 0.0f;
  if (scale != 0.0f) {
    const float log = static_cast<float>(std::log2(static_cast<double>(scale)));
    n = std::clamp(std::nearbyint(round_to(dtype, log)), -127.0f, 127.0f);
  }
  return {static_cast<std::uint8_t>(static_cast<int>(n) + 127),
          round_to(dtype, std::ldexp(1.0f, static_cast<int>(n)))};
}

void float_codes(const QuantFormat& format, DType dtype, const std::byte* values, std::size_t first,
                 float divisor, std::uint8_t* codes) {
  // nvfp4 measures distances in f32, mxfp4 in T.
  const DType distances = format.mode == QuantMode::nvfp4 ? DType::F32 : dtype;
  for (std::size_t i = 0; i < format.group_size; ++i) {
    const float v = round_to(dtype, element(dtype, values, first + i) / divisor);
    if (format.bits == 8) {
      codes[i] = f32_to_mlx_e4m3(v);
      continue;
    }
    // The first of the nearest: ties go to the smaller magnitude, and never to -0.
    std::uint8_t best = 0;
    float least = round_to(distances, std::fabs(v - kE2m1[0]));
    for (std::uint8_t c = 1; c < 16; ++c) {
      const float distance = round_to(distances, std::fabs(v - kE2m1[c]));
      if (distance < least) {
        least = distance;
        best = c;
      }
    }
    codes[i] = best;
  }
}

void pack_codes(const std::uint8_t* codes, std::size_t count, unsigned bits, std::uint32_t* words) {
  std::fill(words, words + count * bits / 32, 0u);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = i * bits;
    const std::uint64_t shifted = std::uint64_t{codes[i]} << (at % 32);
    words[at / 32] |= static_cast<std::uint32_t>(shifted);
    if (at % 32 + bits > 32) words[at / 32 + 1] |= static_cast<std::uint32_t>(shifted >> 32);
  }
}

}  // namespace quant

namespace {

using namespace quant;

// Codes, scale and bias of one group.
void affine_group(const float* w, std::size_t size, unsigned bits, std::uint8_t* codes,
                  float& scale, float& bias) {
  const float n = static_cast<float>((1u << bits) - 1);
  const float high = *std::max_element(w, w + size), low = *std::min_element(w, w + size);
  const bool low_is_edge = std::fabs(low) > std::fabs(high);
  scale = std::max((high - low) / n, 1e-7f);
  if (!low_is_edge) scale = -scale;
  const float edge = low_is_edge ? low : high;
  const float q0 = std::nearbyint(edge / scale);
  bias = 0.0f;
  if (q0 != 0.0f) {
    scale = edge / q0;
    bias = edge;
  }
  for (std::size_t i = 0; i < size; ++i) {
    const float q = std::nearbyint((w[i] - bias) / scale);
    // A constant group past 3e31 has scale 0, and 0 / 0 here: code 0.
    codes[i] = q > 0.0f ? static_cast<std::uint8_t>(std::min(q, n)) : std::uint8_t{0};
  }
}

}  // namespace

std::size_t quantize_groups_plain(const QuantFormat& format, DType dtype, const std::byte* values,
                                  std::size_t groups, const QuantizedGroups& out) {
  const std::size_t size = format.group_size;
  std::array<float, 128> w{};
  std::array<std::uint8_t, 128> codes{};
  for (std::size_t g = 0; g < groups; ++g) {
    float amax = 0.0f;
    for (std::size_t i = 0; i < size; ++i) {
      w[i] = element(dtype, values, g * size + i);
      if (!std::isfinite(w[i])) return g;
      amax = std::max(amax, std::fabs(w[i]));
    }
    if (format.mode == QuantMode::affine) {
      float scale = 0, bias = 0;
      affine_group(w.data(), size, format.bits, codes.data(), scale, bias);
      if (out.scales != nullptr) put(dtype, out.scales, g, scale);
      if (out.biases != nullptr) put(dtype, out.biases, g, bias);
    } else {
      const FloatScale scale = float_scale(format, dtype, amax);
      float_codes(format, dtype, values, g * size, scale.divisor, codes.data());
      if (out.scales != nullptr) out.scales[g] = std::byte{scale.code};
    }
    if (out.words != nullptr) {
      pack_codes(codes.data(), size, format.bits, out.words + g * words_per_group(format));
    }
  }
  return groups;
}

void dequantize_groups_plain(const QuantFormat& format, DType dtype, const QuantizedInput& in,
                             std::size_t groups, float* out) {
  const std::size_t size = format.group_size, bits = format.bits;
  const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
  for (std::size_t i = 0; i < groups * size; ++i) {
    const std::size_t at = i * bits, g = i / size;
    std::uint64_t window = in.words[at / 32];
    if (at % 32 + bits > 32) window |= std::uint64_t{in.words[at / 32 + 1]} << 32;
    const auto code = static_cast<std::uint8_t>((window >> (at % 32)) & mask);
    if (format.mode == QuantMode::affine) {
      const float scale = element(dtype, in.scales, g), bias = element(dtype, in.biases, g);
      out[i] = round_to(dtype, round_to(dtype, static_cast<float>(code) * scale) + bias);
      continue;
    }
    const auto raw = std::to_integer<std::uint8_t>(in.scales[g]);
    const float scale = format.mode == QuantMode::nvfp4 ? mlx_e4m3_to_f32(raw) : e8m0_to_f32(raw);
    const float x = bits == 8 ? mlx_e4m3_to_f32(code) : kE2m1[code];
    out[i] = round_to(dtype, x * round_to(dtype, scale));
  }
}

}  // namespace wb
