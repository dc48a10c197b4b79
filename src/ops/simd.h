// The vectorised kernels behind the fast forms (Highway: SSE, AVX2, AVX-512 or NEON,
// picked when the program starts). Called through matmul.h, softmax.h and
// activation.h, which hold the plain forms; refuses nothing.
#pragma once

#include <cstddef>

namespace wb::ops {

// c[m, n] = a[m, k] b[n, k]^T, several f32 accumulators per sum.
void simd_gemm_nt(std::size_t m, std::size_t n, std::size_t k, const float* a, std::size_t lda,
                  const float* b, std::size_t ldb, float* c, std::size_t ldc);
// c[m, n] = a[m, k] b[k, n].
void simd_gemm_nn(std::size_t m, std::size_t n, std::size_t k, const float* a, std::size_t lda,
                  const float* b, std::size_t ldb, float* c, std::size_t ldc);
// c[m, n] = a[m, k] b[k, n], for few rows of `a` and a long `b`, which is read once for all of
// them.
void simd_mix(std::size_t m, std::size_t n, std::size_t k, const float* a, std::size_t lda,
              const float* b, std::size_t ldb, float* c, std::size_t ldc);
// out[i] = silu(gate[i]) * up[i]; up null = without the factor. out may be gate or up.
void simd_silu_mul(const float* gate, const float* up, float* out, std::size_t n);
// x[i] = exp(x[i] - max); returns their sum, taken in f64.
double simd_exp_sum(float* x, std::size_t n, float max);
void simd_scale(float* x, std::size_t n, float factor);
float simd_max(const float* x, std::size_t n);

}  // namespace wb::ops
