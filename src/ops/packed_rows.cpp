// Highway kernels that give the values of packed groups of codes, and sums of their rows, compiled
// once per instruction set; see packed.h and packed_groups-inl.h.
#include <algorithm>

#include "ops/packed_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/packed_rows.cpp"
#include <hwy/foreach_target.h>
// Below the line above, the file is compiled again for each target.
#include <hwy/highway.h>

#include "ops/packed_groups-inl.h"

HWY_BEFORE_NAMESPACE();
namespace wb::ops {
namespace HWY_NAMESPACE {

// Values of one vector of windows from code kK on, by (code, window).
template <Packing kPacking, unsigned kBits, std::size_t kK>
HWY_INLINE void PutCodes(VU w, V scale, V bias, float* out) {
  if constexpr (kK < PerWindow(kBits)) {
    const D d;
    const V whole = hn::Set(d, 1.0f / Enlarged(kPacking, kBits, kK));
    const V code = hn::Mul(CodeValue<kPacking, kBits, kK>(w), whole);
    hn::Store(hn::MulAdd(code, scale, bias), d, out + kK * hn::Lanes(d));
    PutCodes<kPacking, kBits, kK + 1>(w, scale, bias, out);
  }
}

template <Packing kPacking, unsigned kBits, ScaleType kType>
void UnpackGrouped(const PackedMatrix& w, std::size_t r, float* out) {
  constexpr std::size_t kPer = PerWindow(kBits);
  const Spread spread(w.group, kPer);
  const D d;
  const std::size_t lanes = hn::Lanes(d), windows = w.in / kPer;
  const GroupedRow row(w, r);
  HWY_ALIGN float values[16 * 16];
  for (std::size_t first = 0; first < windows; first += lanes) {
    const VU codes = Windows<kBits>(row.data, first, windows);
    const SomeScales some = spread.some(first, windows);
    const V scale = SpreadScales<kType>(spread, row.scales, some);
    V bias = hn::Zero(d);
    if constexpr (kPacking == Packing::affine) {
      bias = SpreadScales<kType>(spread, row.biases, some);
    }
    PutCodes<kPacking, kBits, 0>(codes, scale, bias, values);
    const std::size_t left = std::min(lanes, windows - first);
    for (std::size_t j = 0; j < left; ++j) {
      for (std::size_t k = 0; k < kPer; ++k) out[(first + j) * kPer + k] = values[k * lanes + j];
    }
  }
}

// --- sums of rows ---

// The parts of a row's factor that meet a vector of windows: its scale and its bias times `q`.
struct RowFactor {
  VU codes;
  V scale, bias;
};
template <Packing kPacking, unsigned kBits, ScaleType kType>
HWY_INLINE RowFactor FactorOf(const GroupedRow& row, const Spread& spread, std::size_t first,
                              std::size_t windows, float q) {
  const D d;
  const SomeScales some = spread.some(first, windows);
  RowFactor f;
  f.codes = Windows<kBits>(row.data, first, windows);
  f.scale = hn::Mul(hn::Set(d, q), SpreadScales<kType>(spread, row.scales, some));
  f.bias = hn::Zero(d);
  if constexpr (kPacking == Packing::affine) {
    f.bias = hn::Mul(hn::Set(d, q), SpreadScales<kType>(spread, row.biases, some));
  }
  return f;
}

// Adds codes kK, ... of two rows to `y`, by (code, window).
template <Packing kPacking, unsigned kBits, std::size_t kK>
HWY_INLINE void AddToCodes(const RowFactor& a, const RowFactor& b, float* y, std::size_t lanes) {
  if constexpr (kK < PerWindow(kBits)) {
    const D d;
    V sum = hn::Load(d, y + kK * lanes);
    sum = hn::MulAdd(CodeValue<kPacking, kBits, kK>(a.codes), a.scale, sum);
    sum = hn::MulAdd(CodeValue<kPacking, kBits, kK>(b.codes), b.scale, sum);
    hn::Store(sum, d, y + kK * lanes);
    AddToCodes<kPacking, kBits, kK + 1>(a, b, y, lanes);
  }
}

// y[in] = sum over rows of q[row] * row, one vector of windows after the other.
template <Packing kPacking, unsigned kBits, ScaleType kType>
void SumRowsGrouped(const PackedMatrix& w, const float* q, std::size_t begin, std::size_t end,
                    float* y) {
  constexpr std::size_t kPer = PerWindow(kBits);
  const Spread spread(w.group, kPer);
  const D d;
  const std::size_t lanes = hn::Lanes(d), windows = w.in / kPer;
  for (std::size_t first = 0; first < windows; first += lanes) {
    HWY_ALIGN float values[16 * 16] = {};
    HWY_ALIGN float biases[16];
    V bias = hn::Zero(d);
    for (std::size_t r = begin; r < end; r += 2) {
      // A row past the end counts nothing.
      const std::size_t other = std::min(r + 1, end - 1);
      const float q1 = r + 1 < end ? q[r + 1 - begin] : 0.0f;
      const RowFactor a =
          FactorOf<kPacking, kBits, kType>(GroupedRow(w, r), spread, first, windows, q[r - begin]);
      const RowFactor b =
          FactorOf<kPacking, kBits, kType>(GroupedRow(w, other), spread, first, windows, q1);
      AddToCodes<kPacking, kBits, 0>(a, b, values, lanes);
      bias = hn::Add(bias, hn::Add(a.bias, b.bias));
    }
    hn::Store(bias, d, biases);
    const std::size_t left = std::min(lanes, windows - first);
    for (std::size_t k = 0; k < kPer; ++k) {
      const float whole = 1.0f / Enlarged(kPacking, kBits, k);
      for (std::size_t j = 0; j < left; ++j) {
        y[(first + j) * kPer + k] = values[k * lanes + j] * whole + biases[j];
      }
    }
  }
}

void SumGrouped(const PackedMatrix& w, const float* q, std::size_t begin, std::size_t end,
                float* y) {
  ForGrouped(w, [&]<Packing kPacking, unsigned kBits, ScaleType kType>() {
    SumRowsGrouped<kPacking, kBits, kType>(w, q, begin, end, y);
  });
}

void UnpackGroupedRows(const PackedMatrix& w, std::size_t begin, std::size_t end, float* out) {
  ForGrouped(w, [&]<Packing kPacking, unsigned kBits, ScaleType kType>() {
    for (std::size_t r = begin; r < end; ++r) {
      UnpackGrouped<kPacking, kBits, kType>(w, r, out + (r - begin) * w.in);
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace wb::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace wb::ops {

HWY_EXPORT(SumGrouped);
HWY_EXPORT(UnpackGroupedRows);

void sum_grouped(const PackedMatrix& w, const float* q, std::size_t begin, std::size_t end,
                 float* y) {
  HWY_DYNAMIC_DISPATCH(SumGrouped)(w, q, begin, end, y);
}
void unpack_grouped(const PackedMatrix& w, std::size_t begin, std::size_t end, float* out) {
  HWY_DYNAMIC_DISPATCH(UnpackGroupedRows)(w, begin, end, out);
}

}  // namespace wb::ops
#endif
