// Element conversion: exact widening to f32, rounding to nearest even on the way
// down. One place for every bit trick of the half and 8-bit formats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace wb {

float f16_to_f32(std::uint16_t bits);
std::uint16_t f32_to_f16(float value);  // RNE; overflow to infinity; NaN stays NaN
float bf16_to_f32(std::uint16_t bits);
std::uint16_t f32_to_bf16(float value);  // RNE; NaN stays NaN (quiet)
float f8_e5m2_to_f32(std::uint8_t bits);
// e4m3fn with NaN at 0x7f and 0xff (PyTorch's reading; MLX decodes them as +-480).
float f8_e4m3_to_f32(std::uint8_t bits);

// `count` elements of `from` at `in` converted to `to` at `out`. `from` may be any
// float, integer or bool; `to` F32, F16, BF16 or F64. f64 -> f16/bf16 rounds once.
void convert_elements(DType from, const std::byte* in, DType to, std::byte* out, std::size_t count);
// Whether convert_elements takes this pair.
bool can_convert(DType from, DType to);

}  // namespace wb
