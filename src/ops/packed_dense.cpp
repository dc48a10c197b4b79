// Highway kernels for rows of plain numbers (f32, f16, bf16), compiled once per instruction set;
// see packed.h.
#include <algorithm>
#include <cstring>

#include "ops/packed_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/packed_dense.cpp"
#include <hwy/foreach_target.h>
// Below the line above, the file is compiled again for each target.
#include <hwy/highway.h>

#include "ops/packed-inl.h"

HWY_BEFORE_NAMESPACE();
namespace wb::ops {
namespace HWY_NAMESPACE {

// One row after the other, so that memory is read as one stream, which is what bounds this; with
// rows side by side half the speed was measured. Four accumulators hide the latency of adding.
template <class Row>
void Dense(const PackedMatrix& w, const float* x, std::size_t r, std::size_t end, float* y) {
  const D d;
  const std::size_t lanes = hn::Lanes(d), k = w.in;
  for (; r < end; ++r) {
    const auto* p = reinterpret_cast<const typename Row::T*>(w.row(r));
    V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    std::size_t at = 0;
    for (; at + 4 * lanes <= k; at += 4 * lanes) {
      s0 = hn::MulAdd(Row::Load(d, p + at), hn::LoadU(d, x + at), s0);
      s1 = hn::MulAdd(Row::Load(d, p + at + lanes), hn::LoadU(d, x + at + lanes), s1);
      s2 = hn::MulAdd(Row::Load(d, p + at + 2 * lanes), hn::LoadU(d, x + at + 2 * lanes), s2);
      s3 = hn::MulAdd(Row::Load(d, p + at + 3 * lanes), hn::LoadU(d, x + at + 3 * lanes), s3);
    }
    for (; at < k; at += lanes) {
      const std::size_t n = std::min(lanes, k - at);
      s0 = hn::MulAdd(Row::First(d, p + at, n), LoadN(d, x + at, n), s0);
    }
    const V sum = hn::Add(hn::Add(s0, s1), hn::Add(s2, s3));
    y[r] = hn::GetLane(hn::SumOfLanes(d, sum)) + (w.bias != nullptr ? w.bias[r] : 0.0f);
  }
}

template <class Row>
void UnpackDense(const PackedMatrix& w, std::size_t r, float* out) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  const auto* p = reinterpret_cast<const typename Row::T*>(w.row(r));
  std::size_t at = 0;
  for (; at + lanes <= w.in; at += lanes) hn::StoreU(Row::Load(d, p + at), d, out + at);
  HWY_ALIGN float rest[16];
  if (at == w.in) return;
  hn::Store(Row::First(d, p + at, w.in - at), d, rest);
  std::copy(rest, rest + (w.in - at), out + at);
}

template <class Row>
void SumRowsDense(const PackedMatrix& w, const float* q, std::size_t begin, std::size_t end,
                  float* y) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t at = 0;
  for (; at + 2 * lanes <= w.in; at += 2 * lanes) {
    V s0 = hn::Zero(d), s1 = s0;
    for (std::size_t r = begin; r < end; ++r) {
      const auto* p = reinterpret_cast<const typename Row::T*>(w.row(r)) + at;
      const V factor = hn::Set(d, q[r - begin]);
      s0 = hn::MulAdd(factor, Row::Load(d, p), s0);
      s1 = hn::MulAdd(factor, Row::Load(d, p + lanes), s1);
    }
    hn::StoreU(s0, d, y + at);
    hn::StoreU(s1, d, y + at + lanes);
  }
  for (; at < w.in; at += lanes) {
    const std::size_t n = std::min(lanes, w.in - at);
    V sum = hn::Zero(d);
    for (std::size_t r = begin; r < end; ++r) {
      const auto* p = reinterpret_cast<const typename Row::T*>(w.row(r)) + at;
      sum = hn::MulAdd(hn::Set(d, q[r - begin]), Row::First(d, p, n), sum);
    }
    HWY_ALIGN float rest[16];
    hn::Store(sum, d, rest);
    std::copy(rest, rest + n, y + at);
  }
}

void MultiplyDense(const PackedMatrix& w, const float* x, std::size_t begin, std::size_t end,
                   float* y) {
  if (w.packing == Packing::f32) return Dense<F32Row>(w, x, begin, end, y);
  if (w.packing == Packing::f16) return Dense<F16Row>(w, x, begin, end, y);
  Dense<Bf16Row>(w, x, begin, end, y);
}

void SumDense(const PackedMatrix& w, const float* q, std::size_t begin, std::size_t end, float* y) {
  if (w.packing == Packing::f32) return SumRowsDense<F32Row>(w, q, begin, end, y);
  if (w.packing == Packing::f16) return SumRowsDense<F16Row>(w, q, begin, end, y);
  SumRowsDense<Bf16Row>(w, q, begin, end, y);
}

void UnpackDenseRows(const PackedMatrix& w, std::size_t begin, std::size_t end, float* out) {
  for (std::size_t r = begin; r < end; ++r, out += w.in) {
    if (w.packing == Packing::f32) {
      UnpackDense<F32Row>(w, r, out);
    } else if (w.packing == Packing::f16) {
      UnpackDense<F16Row>(w, r, out);
    } else {
      UnpackDense<Bf16Row>(w, r, out);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace wb::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace wb::ops {

HWY_EXPORT(MultiplyDense);
HWY_EXPORT(SumDense);
HWY_EXPORT(UnpackDenseRows);

void multiply_dense(const PackedMatrix& w, const float* x, std::size_t begin, std::size_t end,
                    float* y) {
  HWY_DYNAMIC_DISPATCH(MultiplyDense)(w, x, begin, end, y);
}
void sum_dense(const PackedMatrix& w, const float* q, std::size_t begin, std::size_t end,
               float* y) {
  HWY_DYNAMIC_DISPATCH(SumDense)(w, q, begin, end, y);
}
void unpack_dense(const PackedMatrix& w, std::size_t begin, std::size_t end, float* out) {
  HWY_DYNAMIC_DISPATCH(UnpackDenseRows)(w, begin, end, out);
}

}  // namespace wb::ops
#endif
