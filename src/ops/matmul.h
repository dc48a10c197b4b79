// Matrix products. Owns the plain form (every sum in f64, rounded once) and the
// fast one (f32, blocked, vectorised; BLAS above a measured size), side by side with
// one signature. Products are cut into tiles whose size depends on the shapes only,
// so that results do not change with the number of threads. Refuses nothing:
// shapes are the caller's promise.
#pragma once

#include <cstddef>

namespace wb::ops {

// Which form runs. Both compute the same function; matmul_test.cpp bounds their difference
// by k * 2^-24 * |a|.|b|, the classical bound on any order of an f32 dot product.
enum class Kernels { plain, fast };

// c[m, n] = a[m, k] b[n, k]^T. Row-major; lda, ldb, ldc are row strides in elements.
// c does not overlap a or b.
void gemm_nt(Kernels kernels, std::size_t m, std::size_t n, std::size_t k, const float* a,
             std::size_t lda, const float* b, std::size_t ldb, float* c, std::size_t ldc);
// c[m, n] = a[m, k] b[k, n].
void gemm_nn(Kernels kernels, std::size_t m, std::size_t n, std::size_t k, const float* a,
             std::size_t lda, const float* b, std::size_t ldb, float* c, std::size_t ldc);

// A linear layer's weights, borrowed: w [out, in] row-major, bias [out] or null.
struct Linear {
  const float* w = nullptr;
  const float* bias = nullptr;
  std::size_t out = 0, in = 0;
};
// y[rows, out] = x[rows, in] w^T + bias, on `threads` threads (0 = all cores).
void linear(Kernels kernels, const float* x, std::size_t rows, const Linear& layer, float* y,
            unsigned threads);

}  // namespace wb::ops
