// MLX's affine quantisation (mode "affine"): codes of 2, 3, 4, 5, 6 or 8 bits, one
// scale and one bias per group of 32, 64 or 128 elements of a row. Bit for bit what
// MLX computes on a CPU. Owns packing and arithmetic; refuses other widths and
// shapes that do not fit (Code::config_invalid, Code::shape_mismatch).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace wb {

struct AffineFormat {
  unsigned bits = 4;
  std::uint64_t group_size = 64;
};
// Throws Code::config_invalid unless bits is 2, 3, 4, 5, 6 or 8 and group_size 32, 64 or 128.
void check_affine_format(const AffineFormat& format);

// One row: `words` is a little-endian bit stream, lowest bits first; element i is
// T(T(code * scale) + bias), T = dtype of the scales, given widened to f32.
void dequantize_affine_row(std::span<const std::uint32_t> words, std::span<const float> scales,
                           std::span<const float> biases, const AffineFormat& format, DType dtype,
                           std::span<float> out);
// The inverse, for one row of f32 values that T represents; scales and biases come out rounded
// to T. All arithmetic in f32.
void quantize_affine_row(std::span<const float> values, const AffineFormat& format, DType dtype,
                         std::span<std::uint32_t> words, std::span<float> scales,
                         std::span<float> biases);

// weight [..., K * bits / 32] U32, scales and biases [..., K / group_size] F32, F16 or BF16 ->
// [..., K] F32, decoded when it is first read. `name` is the layer's path, for errors and
// plans. Throws Code::shape_mismatch, Code::dtype_unsupported, Code::config_invalid.
Tensor dequantize_affine(const std::string& name, const Tensor& weight, const Tensor& scales,
                         const Tensor& biases, const AffineFormat& format);
// What quantising `values` [..., K] to T = dtype and decoding again gives: for classes that
// requantise while they load. Same errors.
Tensor requantize_affine(const std::string& name, const Tensor& values, const AffineFormat& format,
                         DType dtype);

}  // namespace wb
