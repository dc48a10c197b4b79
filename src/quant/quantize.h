// Quantised layers as lazy tensors: coding (a weight's words, scales and biases, made together
// by tiles), and decoding. Refuses shapes that do not fit (Code::shape_mismatch), element types
// that are not quantised (Code::dtype_unsupported) and, when values are read, infinities and
// NaN (Code::not_finite, naming the tensor and the place).
#pragma once

#include <optional>
#include <string>

#include "quant/format.h"
#include "tensor/tensor.h"

namespace wb {

struct QuantizedTensors {
  Tensor weight;                 // [..., K * bits / 32] U32
  Tensor scales;                 // [..., K / group_size], F32, F16 or BF16 (affine) or U8
  std::optional<Tensor> biases;  // affine: like scales
};
// `values` [..., K], F32, F16 or BF16, K a multiple of the group size. `name` is the layer's
// path, for errors.
QuantizedTensors quantize(const std::string& name, const Tensor& values, const QuantFormat& format);

// [..., K] F32, decoded when it is first read, and kept. Throws Code::config_invalid too.
Tensor dequantize(const std::string& name, const QuantizedTensors& stored,
                  const QuantFormat& format);
// What a storage decodes that dequantize() made (its elements are those of the decoded tensor, row
// by row); nothing for any other. For programs that multiply with the packed form.
struct StoredCodes {
  QuantizedTensors stored;
  QuantFormat format;
};
std::optional<StoredCodes> stored_codes(const Storage& storage);
// What quantising `values` [..., K] as `dtype` and decoding again gives: for classes that
// requantise while they load. Same errors.
Tensor requantize(const std::string& name, const Tensor& values, const QuantFormat& format,
                  DType dtype);

}  // namespace wb
