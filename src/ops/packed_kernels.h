// The vectorised kernels behind packed.h, for plain numbers and for groups of codes. Internal to
// ops/; refuses nothing.
#pragma once

#include "ops/packed.h"

namespace wb::ops {

void multiply_dense(const PackedMatrix& w, const float* x, std::size_t begin, std::size_t end,
                    float* y);
void sum_dense(const PackedMatrix& w, const float* q, std::size_t begin, std::size_t end, float* y);
void unpack_dense(const PackedMatrix& w, std::size_t begin, std::size_t end, float* out);

// Fills `permuted` and `sums`.
void prepare_grouped(const PackedMatrix& like, const float* x, PackedInput& input);
void multiply_grouped(const PackedMatrix& w, const PackedInput& x, std::size_t begin,
                      std::size_t end, float* y);
void sum_grouped(const PackedMatrix& w, const float* q, std::size_t begin, std::size_t end,
                 float* y);
void unpack_grouped(const PackedMatrix& w, std::size_t begin, std::size_t end, float* out);

// Products in whole numbers, for matrices that they serve on a processor that has them. The first
// fills `digits`, `units`, `sums` and `offsets`.
bool has_digits(const PackedMatrix& w);
void prepare_digits(const PackedMatrix& like, const float* x, PackedInput& input);
void multiply_digits(const PackedMatrix& w, const PackedInput& x, std::size_t begin,
                     std::size_t end, float* y);

}  // namespace wb::ops
