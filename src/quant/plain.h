// Steps that the plain and the fast version share, one group or value at a time. Internal.
#pragma once

#include <cstring>

#include "quant/groups.h"
#include "quant/minifloat.h"
#include "tensor/element.h"

namespace wb::quant {

inline float round_to(DType dtype, float v) {
  if (dtype == DType::F16) return f16_to_f32(f32_to_f16(v));
  if (dtype == DType::BF16) return bf16_to_f32(f32_to_bf16(v));
  return v;
}
template <class T>
T load(const std::byte* p, std::size_t i) {
  T v;
  std::memcpy(&v, p + i * sizeof(T), sizeof(T));
  return v;
}
inline float element(DType dtype, const std::byte* p, std::size_t i) {
  if (dtype == DType::F16) return f16_to_f32(load<std::uint16_t>(p, i));
  if (dtype == DType::BF16) return bf16_to_f32(load<std::uint16_t>(p, i));
  return load<float>(p, i);
}
// v is rounded to T.
inline void put(DType dtype, std::byte* p, std::size_t i, float v) {
  const std::uint16_t half = dtype == DType::F16    ? f32_to_f16(v)
                             : dtype == DType::BF16 ? f32_to_bf16(v)
                                                    : 0;
  if (dtype == DType::F32) {
    std::memcpy(p + i * 4, &v, 4);
  } else {
    std::memcpy(p + i * 2, &half, 2);
  }
}

// A float group's scale: the byte that is stored, and what values are divided by.
struct FloatScale {
  std::uint8_t code;
  float divisor;  // 2^n, or the decoded e4m3 scale, which may be 0
};
FloatScale float_scale(const QuantFormat& format, DType dtype, float amax);

// The codes of one group, unpacked.
void float_codes(const QuantFormat& format, DType dtype, const std::byte* values, std::size_t first,
                 float divisor, std::uint8_t* codes);
// One group's codes of `bits` into its words.
void pack_codes(const std::uint8_t* codes, std::size_t count, unsigned bits, std::uint32_t* words);

}  // namespace wb::quant
