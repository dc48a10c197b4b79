// See blas.h.
#include "ops/blas.h"

#include <dlfcn.h>

#include <cstdlib>

#include "base/error.h"

namespace wb::ops {

namespace {

// cblas_sgemm, with the 32-bit integers of the common build; 101, 111 and 112 are the CBLAS
// standard's row-major, no-transpose and transpose.
using Sgemm = void (*)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                       const float* a, int lda, const float* b, int ldb, float beta, float* c,
                       int ldc);

Sgemm load() {
  setenv("OPENBLAS_NUM_THREADS", "1", /*overwrite=*/1);
#ifdef __APPLE__
  const char* const names[] = {"/System/Library/Frameworks/Accelerate.framework/Accelerate"};
#else
  const char* const names[] = {"libopenblas.so.0"};
#endif
  for (const char* name : names) {
    if (void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
      if (void* found = dlsym(library, "cblas_sgemm")) return reinterpret_cast<Sgemm>(found);
    }
  }
  return nullptr;
}

Sgemm sgemm() {
  static const Sgemm loaded = load();
  return loaded;
}

}  // namespace

bool has_blas() { return sgemm() != nullptr; }

void blas_gemm(bool b_transposed, std::size_t m, std::size_t n, std::size_t k, const float* a,
               std::size_t lda, const float* b, std::size_t ldb, float* c, std::size_t ldc) {
  WB_CHECK(has_blas());
  auto i = [](std::size_t v) { return static_cast<int>(v); };
  sgemm()(101, 111, b_transposed ? 112 : 111, i(m), i(n), i(k), 1.0f, a, i(lda), b, i(ldb), 0.0f, c,
          i(ldc));
}

}  // namespace wb::ops
