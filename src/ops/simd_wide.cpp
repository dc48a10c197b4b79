// Highway kernels on f32 vectors that sum in f64, compiled once per instruction set; see simd.h.
// Products and sums are kept apart, as in simd.cpp.
#include <algorithm>

#include "ops/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/simd_wide.cpp"
#include <hwy/foreach_target.h>
// Below the line above, the file is compiled again for each target.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace wb::ops {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<double>;
using DF = hn::Rebind<float, D>;
using V = hn::Vec<D>;

HWY_INLINE V Wide(const float* x) { return hn::PromoteTo(D(), hn::LoadU(DF(), x)); }
HWY_INLINE void Store(V v, float* to) { hn::StoreU(hn::DemoteTo(DF(), v), DF(), to); }

// The sum of term(i, lanes) over whole vectors, in four sums, and of rest(i) behind them.
template <class Term, class Rest>
HWY_INLINE double Sum(std::size_t n, Term term, Rest rest) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  std::size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    s0 = hn::Add(s0, term(i));
    s1 = hn::Add(s1, term(i + lanes));
    s2 = hn::Add(s2, term(i + 2 * lanes));
    s3 = hn::Add(s3, term(i + 3 * lanes));
  }
  for (; i + lanes <= n; i += lanes) s0 = hn::Add(s0, term(i));
  double sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
  for (; i < n; ++i) sum += rest(i);
  return sum;
}

double WideDot(const float* a, const float* b, std::size_t n) {
  return Sum(
      n, [&](std::size_t i) HWY_ATTR { return hn::Mul(Wide(a + i), Wide(b + i)); },
      [&](std::size_t i) { return static_cast<double>(a[i]) * static_cast<double>(b[i]); });
}

double WideSum(const float* x, std::size_t n) {
  return Sum(
      n, [&](std::size_t i) HWY_ATTR { return Wide(x + i); },
      [&](std::size_t i) { return static_cast<double>(x[i]); });
}

double WideSquares(const float* x, std::size_t n, double mean) {
  const V off = hn::Set(D(), mean);
  return Sum(
      n,
      [&](std::size_t i) HWY_ATTR {
        const V v = hn::Sub(Wide(x + i), off);
        return hn::Mul(v, v);
      },
      [&](std::size_t i) {
        const double v = static_cast<double>(x[i]) - mean;
        return v * v;
      });
}

void WideScale(const float* x, double mean, double factor, const float* w, const float* bias,
               float* y, std::size_t n) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    V v = hn::Mul(hn::Sub(Wide(x + i), hn::Set(d, mean)), hn::Set(d, factor));
    v = hn::Mul(v, Wide(w + i));
    if (bias != nullptr) v = hn::Add(v, Wide(bias + i));
    Store(v, y + i);
  }
  for (; i < n; ++i) {
    double v = (static_cast<double>(x[i]) - mean) * factor * static_cast<double>(w[i]);
    if (bias != nullptr) v += static_cast<double>(bias[i]);
    y[i] = static_cast<float>(v);
  }
}

void WideMix(const float* const* rows, const double* weights, std::size_t count, float* y,
             std::size_t n) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    V sum = hn::Zero(d);
    for (std::size_t r = 0; r < count; ++r) {
      sum = hn::Add(sum, hn::Mul(hn::Set(d, weights[r]), Wide(rows[r] + i)));
    }
    Store(sum, y + i);
  }
  for (; i < n; ++i) {
    double sum = 0;
    for (std::size_t r = 0; r < count; ++r) sum += weights[r] * static_cast<double>(rows[r][i]);
    y[i] = static_cast<float>(sum);
  }
}

void AddTo(float* y, const float* x, std::size_t n) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(hn::Add(hn::LoadU(d, y + i), hn::LoadU(d, x + i)), d, y + i);
  }
  for (; i < n; ++i) y[i] += x[i];
}

}  // namespace HWY_NAMESPACE
}  // namespace wb::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace wb::ops {

HWY_EXPORT(WideDot);
HWY_EXPORT(WideSum);
HWY_EXPORT(WideSquares);
HWY_EXPORT(WideScale);
HWY_EXPORT(WideMix);
HWY_EXPORT(AddTo);

double simd_wide_dot(const float* a, const float* b, std::size_t n) {
  return HWY_DYNAMIC_DISPATCH(WideDot)(a, b, n);
}
double simd_wide_sum(const float* x, std::size_t n) { return HWY_DYNAMIC_DISPATCH(WideSum)(x, n); }
double simd_wide_squares(const float* x, std::size_t n, double mean) {
  return HWY_DYNAMIC_DISPATCH(WideSquares)(x, n, mean);
}
void simd_wide_scale(const float* x, double mean, double factor, const float* w, const float* bias,
                     float* y, std::size_t n) {
  HWY_DYNAMIC_DISPATCH(WideScale)(x, mean, factor, w, bias, y, n);
}
void simd_wide_mix(const float* const* rows, const double* weights, std::size_t count, float* y,
                   std::size_t n) {
  HWY_DYNAMIC_DISPATCH(WideMix)(rows, weights, count, y, n);
}
void simd_add_to(float* y, const float* x, std::size_t n) { HWY_DYNAMIC_DISPATCH(AddTo)(y, x, n); }

}  // namespace wb::ops
#endif
