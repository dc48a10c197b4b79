// Quantising and decoding runs of whole groups, the arithmetic of MLX on a CPU, bit for bit.
// A group never crosses a row and packs into whole words, so that a tensor of any rank whose
// rows divide is one flat run. The plain version is the oracle; the fast one (Highway, picked
// at run time, all processors alike) gives the same bits. Owns arithmetic and packing; knows
// nothing of tensors.
//
// affine (docs/quantisation.md has the formulas): all arithmetic is f32, codes are made with
// the scale before it is rounded to T. The float modes round each step to T, the type of the
// values, as MLX does; the exponent of an mx scale is clamped to what its byte can say.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/format.h"

namespace wb {

// Where results go; a null pointer asks for no such result.
struct QuantizedGroups {
  std::uint32_t* words = nullptr;  // [groups * words_per_group]
  std::byte* scales = nullptr;     // [groups] of scales_dtype
  std::byte* biases = nullptr;     // [groups] of T; affine only
};

// `values`: groups * group_size elements of T = F32, F16 or BF16. Returns `groups`, or the
// first group that holds an infinity or NaN: what comes from there on is not written in full.
std::size_t quantize_groups(const QuantFormat& format, DType dtype, const std::byte* values,
                            std::size_t groups, const QuantizedGroups& out);
std::size_t quantize_groups_plain(const QuantFormat& format, DType dtype, const std::byte* values,
                                  std::size_t groups, const QuantizedGroups& out);

struct QuantizedInput {
  const std::uint32_t* words;
  const std::byte* scales;
  const std::byte* biases;  // null but for affine
};
// groups * group_size values, each one that T represents (T: affine: of the scales; else any of
// F32, F16, BF16). affine: T(T(code * scale) + bias); else T(element * T(scale)).
void dequantize_groups(const QuantFormat& format, DType dtype, const QuantizedInput& in,
                       std::size_t groups, float* out);
void dequantize_groups_plain(const QuantFormat& format, DType dtype, const QuantizedInput& in,
                             std::size_t groups, float* out);

// The instruction set that the fast version runs on here, as Highway calls it.
const char* quantize_target();

}  // namespace wb
