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
// y[i] += x[i].
void simd_add_to(float* y, const float* x, std::size_t n);

// Sums and products in f64, rounded to f32 where they are written: the sum of a[i] b[i]; of x[i];
// of (x[i] - mean)^2.
double simd_wide_dot(const float* a, const float* b, std::size_t n);
double simd_wide_sum(const float* x, std::size_t n);
double simd_wide_squares(const float* x, std::size_t n, double mean);
// y[i] = (x[i] - mean) * factor * w[i] + bias[i]; bias may be null, y may be x.
void simd_wide_scale(const float* x, double mean, double factor, const float* w, const float* bias,
                     float* y, std::size_t n);
// y[i] = the sum of weights[r] * rows[r][i], in the order of rows.
void simd_wide_mix(const float* const* rows, const double* weights, std::size_t count, float* y,
                   std::size_t n);

}  // namespace wb::ops
