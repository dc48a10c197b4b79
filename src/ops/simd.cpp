// Highway kernels, compiled once per instruction set; see simd.h. Products and sums
// are kept apart (Add of Mul, never MulAdd) so that every instruction set rounds alike.
#include "ops/simd.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/simd.cpp"
#include <hwy/foreach_target.h>
// Below the line above, the file is compiled again for each target.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace wb::ops {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// Four dot products of `a` with rows b, b + ldb, ... at once: loads of `a` are shared, and
// each sum has two accumulators.
HWY_INLINE void dot4(const float* a, const float* b, std::size_t ldb, std::size_t k, float* out) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0, t0 = s0, t1 = s0, t2 = s0, t3 = s0;
  std::size_t p = 0;
  for (; p + 2 * lanes <= k; p += 2 * lanes) {
    const V x = hn::LoadU(d, a + p), y = hn::LoadU(d, a + p + lanes);
    const float* q = b + p;
    s0 = hn::Add(s0, hn::Mul(x, hn::LoadU(d, q)));
    t0 = hn::Add(t0, hn::Mul(y, hn::LoadU(d, q + lanes)));
    q += ldb;
    s1 = hn::Add(s1, hn::Mul(x, hn::LoadU(d, q)));
    t1 = hn::Add(t1, hn::Mul(y, hn::LoadU(d, q + lanes)));
    q += ldb;
    s2 = hn::Add(s2, hn::Mul(x, hn::LoadU(d, q)));
    t2 = hn::Add(t2, hn::Mul(y, hn::LoadU(d, q + lanes)));
    q += ldb;
    s3 = hn::Add(s3, hn::Mul(x, hn::LoadU(d, q)));
    t3 = hn::Add(t3, hn::Mul(y, hn::LoadU(d, q + lanes)));
  }
  out[0] = hn::GetLane(hn::SumOfLanes(d, hn::Add(s0, t0)));
  out[1] = hn::GetLane(hn::SumOfLanes(d, hn::Add(s1, t1)));
  out[2] = hn::GetLane(hn::SumOfLanes(d, hn::Add(s2, t2)));
  out[3] = hn::GetLane(hn::SumOfLanes(d, hn::Add(s3, t3)));
  for (; p < k; ++p) {
    for (std::size_t j = 0; j < 4; ++j) out[j] += a[p] * b[j * ldb + p];
  }
}

HWY_INLINE float dot1(const float* a, const float* b, std::size_t k) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  V s = hn::Zero(d), t = s;
  std::size_t p = 0;
  for (; p + 2 * lanes <= k; p += 2 * lanes) {
    s = hn::Add(s, hn::Mul(hn::LoadU(d, a + p), hn::LoadU(d, b + p)));
    t = hn::Add(t, hn::Mul(hn::LoadU(d, a + p + lanes), hn::LoadU(d, b + p + lanes)));
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(s, t)));
  for (; p < k; ++p) sum += a[p] * b[p];
  return sum;
}

void GemmNt(std::size_t m, std::size_t n, std::size_t k, const float* a, std::size_t lda,
            const float* b, std::size_t ldb, float* c, std::size_t ldc) {
  // Rows of b outermost: they are the larger operand (weights), read from memory once.
  std::size_t j = 0;
  for (; j + 4 <= n; j += 4) {
    for (std::size_t i = 0; i < m; ++i) {
      dot4(a + i * lda, b + j * ldb, ldb, k, c + i * ldc + j);
    }
  }
  for (; j < n; ++j) {
    for (std::size_t i = 0; i < m; ++i) c[i * ldc + j] = dot1(a + i * lda, b + j * ldb, k);
  }
}

void GemmNn(std::size_t m, std::size_t n, std::size_t k, const float* a, std::size_t lda,
            const float* b, std::size_t ldb, float* c, std::size_t ldc) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  for (std::size_t i = 0; i < m; ++i) {
    const float* x = a + i * lda;
    float* row = c + i * ldc;
    std::size_t j = 0;
    for (; j + lanes <= n; j += lanes) {
      V even = hn::Zero(d), odd = even;
      std::size_t p = 0;
      for (; p + 2 <= k; p += 2) {
        even = hn::Add(even, hn::Mul(hn::Set(d, x[p]), hn::LoadU(d, b + p * ldb + j)));
        odd = hn::Add(odd, hn::Mul(hn::Set(d, x[p + 1]), hn::LoadU(d, b + (p + 1) * ldb + j)));
      }
      if (p < k) even = hn::Add(even, hn::Mul(hn::Set(d, x[p]), hn::LoadU(d, b + p * ldb + j)));
      hn::StoreU(hn::Add(even, odd), d, row + j);
    }
    for (; j < n; ++j) {
      float sum = 0;
      for (std::size_t p = 0; p < k; ++p) sum += x[p] * b[p * ldb + j];
      row[j] = sum;
    }
  }
}

void Mix(std::size_t m, std::size_t n, std::size_t k, const float* a, std::size_t lda,
         const float* b, std::size_t ldb, float* c, std::size_t ldc) {
  constexpr std::size_t kRows = 32;  // of b: they stay in the first cache for all rows of a
  for (std::size_t i = 0; i < m; ++i) std::fill(c + i * ldc, c + i * ldc + n, 0.0f);
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  for (std::size_t p0 = 0; p0 < k; p0 += kRows) {
    const std::size_t p1 = std::min(p0 + kRows, k);
    for (std::size_t i = 0; i < m; ++i) {
      const float* x = a + i * lda;
      float* row = c + i * ldc;
      std::size_t j = 0;
      for (; j + 4 * lanes <= n; j += 4 * lanes) {
        V s0 = hn::LoadU(d, row + j), s1 = hn::LoadU(d, row + j + lanes);
        V s2 = hn::LoadU(d, row + j + 2 * lanes), s3 = hn::LoadU(d, row + j + 3 * lanes);
        for (std::size_t p = p0; p < p1; ++p) {
          const V w = hn::Set(d, x[p]);
          const float* from = b + p * ldb + j;
          s0 = hn::Add(s0, hn::Mul(w, hn::LoadU(d, from)));
          s1 = hn::Add(s1, hn::Mul(w, hn::LoadU(d, from + lanes)));
          s2 = hn::Add(s2, hn::Mul(w, hn::LoadU(d, from + 2 * lanes)));
          s3 = hn::Add(s3, hn::Mul(w, hn::LoadU(d, from + 3 * lanes)));
        }
        hn::StoreU(s0, d, row + j);
        hn::StoreU(s1, d, row + j + lanes);
        hn::StoreU(s2, d, row + j + 2 * lanes);
        hn::StoreU(s3, d, row + j + 3 * lanes);
      }
      for (; j < n; ++j) {
        float sum = row[j];
        for (std::size_t p = p0; p < p1; ++p) sum += x[p] * b[p * ldb + j];
        row[j] = sum;
      }
    }
  }
}

HWY_INLINE V silu(const D d, V x) {
  // x / (1 + e^-x); e^-x overflows to infinity for large negative x, which gives -0: the limit.
  const V e = hn::Exp(d, hn::Min(hn::Neg(x), hn::Set(d, 88.0f)));
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), e));
}

void SiluMul(const float* gate, const float* up, float* out, std::size_t n) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  HWY_ALIGN float g[HWY_MAX_BYTES / sizeof(float)];
  for (std::size_t i = 0; i < n; i += lanes) {
    const std::size_t left = std::min(lanes, n - i);
    if (left == lanes) {
      V y = silu(d, hn::LoadU(d, gate + i));
      if (up != nullptr) y = hn::Mul(y, hn::LoadU(d, up + i));
      hn::StoreU(y, d, out + i);
    } else {
      std::fill(g, g + lanes, 0.0f);
      std::copy(gate + i, gate + n, g);
      hn::Store(silu(d, hn::Load(d, g)), d, g);
      for (std::size_t j = 0; j < left; ++j) out[i + j] = up != nullptr ? g[j] * up[i + j] : g[j];
    }
  }
}

double ExpSum(float* x, std::size_t n, float max) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  const V shift = hn::Set(d, max);
  HWY_ALIGN float last[HWY_MAX_BYTES / sizeof(float)];
  for (std::size_t i = 0; i < n; i += lanes) {
    if (i + lanes <= n) {
      hn::StoreU(hn::Exp(d, hn::Sub(hn::LoadU(d, x + i), shift)), d, x + i);
    } else {
      std::fill(last, last + lanes, max);
      std::copy(x + i, x + n, last);
      hn::Store(hn::Exp(d, hn::Sub(hn::Load(d, last), shift)), d, last);
      std::copy(last, last + (n - i), x + i);
    }
  }
  double sums[4] = {0, 0, 0, 0};
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (std::size_t j = 0; j < 4; ++j) sums[j] += static_cast<double>(x[i + j]);
  }
  for (; i < n; ++i) sums[0] += static_cast<double>(x[i]);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

void Scale(float* x, std::size_t n, float factor) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor)), d, x + i);
  }
  for (; i < n; ++i) x[i] *= factor;
}

float Max(const float* x, std::size_t n) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  float best = x[0];
  std::size_t i = 0;
  if (n >= lanes) {
    V m = hn::LoadU(d, x);
    for (i = lanes; i + lanes <= n; i += lanes) m = hn::Max(m, hn::LoadU(d, x + i));
    best = hn::GetLane(hn::MaxOfLanes(d, m));
  }
  for (; i < n; ++i) best = std::max(best, x[i]);
  return best;
}

}  // namespace HWY_NAMESPACE
}  // namespace wb::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace wb::ops {

HWY_EXPORT(GemmNt);
HWY_EXPORT(GemmNn);
HWY_EXPORT(Mix);
HWY_EXPORT(SiluMul);
HWY_EXPORT(ExpSum);
HWY_EXPORT(Scale);
HWY_EXPORT(Max);

void simd_gemm_nt(std::size_t m, std::size_t n, std::size_t k, const float* a, std::size_t lda,
                  const float* b, std::size_t ldb, float* c, std::size_t ldc) {
  HWY_DYNAMIC_DISPATCH(GemmNt)(m, n, k, a, lda, b, ldb, c, ldc);
}
void simd_gemm_nn(std::size_t m, std::size_t n, std::size_t k, const float* a, std::size_t lda,
                  const float* b, std::size_t ldb, float* c, std::size_t ldc) {
  HWY_DYNAMIC_DISPATCH(GemmNn)(m, n, k, a, lda, b, ldb, c, ldc);
}
void simd_mix(std::size_t m, std::size_t n, std::size_t k, const float* a, std::size_t lda,
              const float* b, std::size_t ldb, float* c, std::size_t ldc) {
  HWY_DYNAMIC_DISPATCH(Mix)(m, n, k, a, lda, b, ldb, c, ldc);
}
void simd_silu_mul(const float* gate, const float* up, float* out, std::size_t n) {
  HWY_DYNAMIC_DISPATCH(SiluMul)(gate, up, out, n);
}
double simd_exp_sum(float* x, std::size_t n, float max) {
  return HWY_DYNAMIC_DISPATCH(ExpSum)(x, n, max);
}
void simd_scale(float* x, std::size_t n, float factor) {
  HWY_DYNAMIC_DISPATCH(Scale)(x, n, factor);
}
float simd_max(const float* x, std::size_t n) { return HWY_DYNAMIC_DISPATCH(Max)(x, n); }

}  // namespace wb::ops
#endif
