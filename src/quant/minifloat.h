// The small floats of MLX's quantised formats: e4m3 and e2m1 elements, e8m0 and e4m3 scales.
// Plain, one value at a time; these definitions are what the vector code is held to.
// MLX's e4m3 has no NaN: codes 0x7f and 0xff read as +-480 (tensor/element.h has PyTorch's).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace wb {

// To nearest, ties to even, 3 bits of mantissa; the sign is kept, on zeros too. From 448 on,
// and for infinities and NaN, +-448: 0x7f is never made.
inline std::uint8_t f32_to_mlx_e4m3(float x) {
  const std::uint32_t b = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = (b >> 24) & 0x80u, magnitude = b & 0x7fffffffu;
  if (magnitude >= 0x43e00000u) return static_cast<std::uint8_t>(sign | 0x7eu);  // 448
  if (magnitude < 0x3c800000u) {  // below 2^-6: steps of 2^-9
    const float steps = std::nearbyintf(std::bit_cast<float>(magnitude) * 512.0f);
    return static_cast<std::uint8_t>(sign | static_cast<std::uint32_t>(steps));
  }
  const std::uint32_t rounded = magnitude + 0x7ffffu + ((magnitude >> 20) & 1u);
  return static_cast<std::uint8_t>(sign | ((rounded - 0x3c000000u) >> 20));
}

inline float mlx_e4m3_to_f32(std::uint8_t code) {
  const int exponent = (code >> 3) & 15;
  const float mantissa = static_cast<float>(code & 7);
  const float x =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8.0f + mantissa, exponent - 10);
  return (code & 0x80u) != 0 ? -x : x;
}

inline constexpr float kE2m1[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                    -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

// 2^(code - 127): 2^-127 for 0, infinity for 255.
inline float e8m0_to_f32(std::uint8_t code) {
  return code == 255 ? HUGE_VALF : std::ldexp(1.0f, static_cast<int>(code) - 127);
}

}  // namespace wb
