// A BLAS for large products, found at run time. OpenBLAS starts a pool of threads in
// every process that links it, before main; so it is loaded when a product first asks for it,
// told to stay single-threaded (our own threads share out the tiles, and results must not
// depend on their number), and done without where it is missing. Its serial build is no
// alternative: it may not be called from several threads at once.
#pragma once

#include <cstddef>

namespace wb::ops {

// Whether there is one; loads it. Safe from many threads.
bool has_blas();
// c[m, n] = a[m, k] b, b being [k, n], or [n, k] when `b_transposed`; row-major with the given
// leading dimensions, f32. Only when has_blas().
void blas_gemm(bool b_transposed, std::size_t m, std::size_t n, std::size_t k, const float* a,
               std::size_t lda, const float* b, std::size_t ldb, float* c, std::size_t ldc);

}  // namespace wb::ops
