// The conversions that published checkpoints spend their time in, plain and fast side by side:
// casts between the halves and f32, 8-bit codes times one factor, numbers of 4 bits. The plain
// version is the oracle; the fast one (Highway, picked at run time, all processors alike) gives
// the same bits, for subnormals, infinities and NaN too. Knows nothing of tensors.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace wb {

// As convert_elements() of element.h, any pair that it takes.
void convert_elements_plain(DType from, const std::byte* in, DType to, std::byte* out,
                            std::size_t count);
// Whether convert_elements_fast() takes the pair: from F32, F16, BF16 or F8_E4M3 to another of
// F32, F16, BF16.
bool is_fast_pair(DType from, DType to);
void convert_elements_fast(DType from, const std::byte* in, DType to, std::byte* out,
                           std::size_t count);

// out[i] = in[i] * factor in f32, rounded once to `to`. `from` is of 8 bits (F8_E4M3 with
// PyTorch's NaN, F8_E5M2, I8, U8), `to` F32, F16 or BF16.
void scale_codes(DType from, const std::byte* in, float factor, DType to, std::byte* out,
                 std::size_t count);
void scale_codes_plain(DType from, const std::byte* in, float factor, DType to, std::byte* out,
                       std::size_t count);

// `count` bytes, lower half first, as 2 * count I8 numbers: each half less 8.
void unpack_nibbles(const std::byte* in, std::byte* out, std::size_t count);
void unpack_nibbles_plain(const std::byte* in, std::byte* out, std::size_t count);

// The instruction set that the fast versions run on here, as Highway calls it.
const char* kernels_target();

}  // namespace wb
