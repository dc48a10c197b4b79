// The tiling and the choice of kernel; see matmul.h.
#include "ops/matmul.h"

#include <algorithm>

#include "base/threads.h"
#include "ops/blas.h"
#include "ops/simd.h"

namespace wb::ops {

namespace {

// Rows below which our own dot kernel is used: packing for BLAS pays for itself only beyond.
constexpr std::size_t kBlasRows = 6;
// Multiplications below which starting a thread costs more than it saves.
constexpr std::size_t kThreadWork = std::size_t{1} << 21;

void plain_nt(std::size_t m, std::size_t n, std::size_t k, const float* a, std::size_t lda,
              const float* b, std::size_t ldb, float* c, std::size_t ldc) {
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::size_t p = 0; p < k; ++p) {
        sum += static_cast<double>(a[i * lda + p]) * static_cast<double>(b[j * ldb + p]);
      }
      c[i * ldc + j] = static_cast<float>(sum);
    }
  }
}

void plain_nn(std::size_t m, std::size_t n, std::size_t k, const float* a, std::size_t lda,
              const float* b, std::size_t ldb, float* c, std::size_t ldc) {
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::size_t p = 0; p < k; ++p) {
        sum += static_cast<double>(a[i * lda + p]) * static_cast<double>(b[p * ldb + j]);
      }
      c[i * ldc + j] = static_cast<float>(sum);
    }
  }
}

}  // namespace

void gemm_nt(Kernels kernels, std::size_t m, std::size_t n, std::size_t k, const float* a,
             std::size_t lda, const float* b, std::size_t ldb, float* c, std::size_t ldc) {
  if (m == 0 || n == 0) return;
  if (kernels == Kernels::plain || k == 0) return plain_nt(m, n, k, a, lda, b, ldb, c, ldc);
  if (m >= kBlasRows && has_blas()) return blas_gemm(true, m, n, k, a, lda, b, ldb, c, ldc);
  simd_gemm_nt(m, n, k, a, lda, b, ldb, c, ldc);
}

void gemm_nn(Kernels kernels, std::size_t m, std::size_t n, std::size_t k, const float* a,
             std::size_t lda, const float* b, std::size_t ldb, float* c, std::size_t ldc) {
  if (m == 0 || n == 0) return;
  if (kernels == Kernels::plain || k == 0) return plain_nn(m, n, k, a, lda, b, ldb, c, ldc);
  if (m >= kBlasRows && has_blas()) return blas_gemm(false, m, n, k, a, lda, b, ldb, c, ldc);
  simd_gemm_nn(m, n, k, a, lda, b, ldb, c, ldc);
}

void linear(Kernels kernels, const float* x, std::size_t rows, const Linear& layer, float* y,
            unsigned threads) {
  const std::size_t out = layer.out, in = layer.in;
  if (rows == 0 || out == 0) return;
  // Tiles depend on the shapes alone. Wide outputs (vocabularies) take wider ones.
  const std::size_t tile_rows = 256, tile_cols = out >= 4096 ? 512 : 128;
  const std::size_t down = (rows + tile_rows - 1) / tile_rows;
  const std::size_t across = (out + tile_cols - 1) / tile_cols;
  auto body = [&](std::size_t tile, unsigned) {
    const std::size_t r0 = tile / across * tile_rows, c0 = tile % across * tile_cols;
    const std::size_t m = std::min(tile_rows, rows - r0), n = std::min(tile_cols, out - c0);
    gemm_nt(kernels, m, n, in, x + r0 * in, in, layer.w + c0 * in, in, y + r0 * out + c0, out);
    if (layer.bias == nullptr) return;
    for (std::size_t i = 0; i < m; ++i) {
      float* row = y + (r0 + i) * out + c0;
      for (std::size_t j = 0; j < n; ++j) row[j] += layer.bias[c0 + j];
    }
  };
  parallel_for(down * across, rows * out * in < kThreadWork ? 1 : threads, body);
}

}  // namespace wb::ops
