// Highway kernels for products with packed matrices, compiled once per instruction set; see
// packed.h. The unit of grouped packings is a window: 32 bits that hold kPer whole codes (16 of 2
// bits, 8 of 3 or 4, 4 of 5, 6 or 8). Lane j of a vector holds window j, and code k is taken from
// all lanes at once, so inputs are laid out by (vector, code, window), once for all rows. Scales
// join per window after its codes are summed; biases meet the group's sum of inputs, in the lane of
// the group's first window.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "ops/packed.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/packed_simd.cpp"
#include <hwy/foreach_target.h>
// Below the line above, the file is compiled again for each target.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace wb::ops {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
// At most 16 lanes: a window of one code per lane must not span more than a group of 128 needs.
using D = hn::CappedTag<float, 16>;
using DU = hn::Rebind<std::uint32_t, D>;
using DI = hn::Rebind<std::int32_t, D>;
using V = hn::Vec<D>;
using VU = hn::Vec<DU>;

// The first n of as many elements as there are lanes; the rest zero, and not touched.
template <class DT, class T = hn::TFromD<DT>>
HWY_INLINE hn::Vec<DT> LoadN(DT d, const T* p, std::size_t n) {
#if HWY_TARGET <= HWY_AVX3
  return hn::MaskedLoad(hn::FirstN(d, n), d, p);
#else
  if (n >= hn::Lanes(d)) return hn::LoadU(d, p);
  HWY_ALIGN T some[16] = {};
  std::memcpy(some, p, n * sizeof(T));
  return hn::LoadU(d, some);
#endif
}

// --- dense ---

struct F32Row {
  using T = float;
  static HWY_INLINE V Load(D d, const T* p) { return hn::LoadU(d, p); }
  static HWY_INLINE V First(D d, const T* p, std::size_t n) { return LoadN(d, p, n); }
};
struct Bf16Row {
  using T = std::uint16_t;
  static HWY_INLINE V Widen(hn::Vec<hn::Rebind<T, D>> v) {
    return hn::BitCast(D(), hn::ShiftLeft<16>(hn::PromoteTo(DU(), v)));
  }
  static HWY_INLINE V Load(D, const T* p) { return Widen(hn::LoadU(hn::Rebind<T, D>(), p)); }
  static HWY_INLINE V First(D, const T* p, std::size_t n) {
    return Widen(LoadN(hn::Rebind<T, D>(), p, n));
  }
};
struct F16Row {
  using T = std::uint16_t;
  static HWY_INLINE V Widen(D d, hn::Vec<hn::Rebind<T, D>> v) {
    return hn::PromoteTo(d, hn::BitCast(hn::Rebind<hwy::float16_t, D>(), v));
  }
  static HWY_INLINE V Load(D d, const T* p) { return Widen(d, hn::LoadU(hn::Rebind<T, D>(), p)); }
  static HWY_INLINE V First(D d, const T* p, std::size_t n) {
    return Widen(d, LoadN(hn::Rebind<T, D>(), p, n));
  }
};

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

// --- grouped ---

// Codes in a window.
constexpr std::size_t PerWindow(unsigned bits) {
  return bits == 2 ? 16 : bits == 3 || bits == 4 ? 8 : 4;
}

// Windows [first, first + lanes) of a row; those from `count` on are zero. Codes of 2, 4 and 8
// bits fill their windows. Of 3, 5 and 6 bits a window is gathered where its first code begins:
// byte 3 j, or (5 bits) byte 5 (j / 2) + 2 (j % 2), there 4 bits further on for odd j.
template <unsigned kBits>
HWY_INLINE VU Windows(const std::byte* row, std::size_t first, std::size_t count) {
  const DU du;
  const std::size_t lanes = hn::Lanes(du);
  const std::size_t n = std::min(lanes, count - first);
  if constexpr (kBits == 2 || kBits == 4 || kBits == 8) {
    const auto* p = reinterpret_cast<const std::uint32_t*>(row) + first;
    return n == lanes ? hn::LoadU(du, p) : LoadN(du, p, n);
  } else {
    HWY_ALIGN std::uint32_t w[16] = {};
    const std::size_t row_bytes = count * PerWindow(kBits) * kBits / 8;
    for (std::size_t j = 0; j < n; ++j) {
      const std::size_t i = first + j;
      const std::size_t at = kBits == 5 ? i / 2 * 5 + i % 2 * 2 : 3 * i;
      // The last window ends a byte before its 32 bits do.
      std::memcpy(&w[j], row + at, at + 4 <= row_bytes ? 4 : 3);
      if (kBits == 5 && i % 2 != 0) w[j] >>= 4;
    }
    return hn::Load(du, w);
  }
}

// By what code k of a window is larger as CodeValue() gives it. An affine code is left where it
// stands, which saves shifting it; inputs are divided by as much, exactly, being powers of two.
constexpr float Enlarged(Packing packing, unsigned bits, std::size_t k) {
  const bool stands = packing == Packing::affine && bits * (k + 1) < 32;
  return stands ? static_cast<float>(std::uint64_t{1} << (bits * k)) : 1.0f;
}

// Code kK of each window as a number, times Enlarged().
template <Packing kPacking, unsigned kBits, std::size_t kK>
HWY_INLINE V CodeValue(VU w) {
  const D d;
  const DU du;
  constexpr unsigned kShift = kBits * kK;
  if constexpr (kPacking == Packing::affine) {
    // What ends with the window must be shifted, or it would convert as a negative number.
    constexpr bool kStands = kShift + kBits < 32;
    constexpr std::uint32_t kMask = ((1u << kBits) - 1) << (kStands ? kShift : 0);
    const VU code = kStands ? hn::And(w, hn::Set(du, kMask)) : hn::ShiftRight<kShift>(w);
    return hn::ConvertTo(d, hn::BitCast(DI(), code));
  } else {
    // Exponent and mantissa where those of a float stand; the product mends the exponent's bias
    // and makes what was subnormal before so again.
    constexpr int kUp = kPacking == Packing::e2m1 ? 22 : 20;
    constexpr unsigned kSign = 1u << (kBits - 1);
    const VU code = hn::ShiftRight<kShift>(w);
    const VU magnitude = hn::ShiftLeft<kUp>(hn::And(code, hn::Set(du, kSign - 1)));
    const VU sign = hn::ShiftLeft<32 - kBits>(hn::And(code, hn::Set(du, kSign)));
    const V factor = hn::Set(d, kPacking == Packing::e2m1 ? 0x1p126f : 0x1p120f);
    return hn::Mul(hn::BitCast(d, hn::Or(magnitude, sign)), factor);
  }
}

// Scales [first, first + n), the rest zero; then lane j takes scale j >> shift.
template <ScaleType kType>
HWY_INLINE V Scales(const std::byte* p, std::size_t first, std::size_t n) {
  const D d;
  const DU du;
  if constexpr (kType == ScaleType::f32) {
    return F32Row::First(d, reinterpret_cast<const float*>(p) + first, n);
  } else if constexpr (kType == ScaleType::f16) {
    return F16Row::First(d, reinterpret_cast<const std::uint16_t*>(p) + first, n);
  } else if constexpr (kType == ScaleType::bf16) {
    return Bf16Row::First(d, reinterpret_cast<const std::uint16_t*>(p) + first, n);
  } else {
    const hn::Rebind<std::uint8_t, D> d8;
    const VU code =
        hn::PromoteTo(du, LoadN(d8, reinterpret_cast<const std::uint8_t*>(p) + first, n));
    if constexpr (kType == ScaleType::e8m0) {
      const VU exponent = hn::ShiftLeft<23>(code);  // 2^(code - 127), but for 0
      const auto least = hn::Eq(code, hn::Zero(du));
      return hn::BitCast(d, hn::IfThenElse(least, hn::Set(du, 0x00400000u), exponent));
    } else {
      const VU bits = hn::Or(hn::ShiftLeft<20>(hn::And(code, hn::Set(du, 0x7fu))),
                             hn::ShiftLeft<24>(hn::And(code, hn::Set(du, 0x80u))));
      return hn::Mul(hn::BitCast(d, bits), hn::Set(d, 0x1p120f));
    }
  }
}

// Which scales a vector of windows needs: `n` from `first + vector * step` on, spread over lanes.
struct Spread {
  std::size_t per_group;  // windows that share a scale; a power of two
  std::size_t lanes;
  decltype(hn::SetTableIndices(D(), static_cast<const std::int32_t*>(nullptr))) index;
  Spread(std::size_t group, std::size_t per_window) : per_group(group / per_window) {
    const D d;
    lanes = hn::Lanes(d);
    HWY_ALIGN std::int32_t at[16];
    for (std::size_t j = 0; j < lanes; ++j) at[j] = static_cast<std::int32_t>(j / per_group);
    index = hn::SetTableIndices(d, at);
  }
  std::size_t first(std::size_t window) const { return window / per_group; }
  std::size_t count(std::size_t window, std::size_t windows) const {
    const std::size_t n = std::min(lanes, windows - window);
    return (n + per_group - 1) / per_group;
  }
};

// One of the rows that are multiplied side by side.
struct GroupedRow {
  const std::byte *data, *scales, *biases;
  GroupedRow(const PackedMatrix& w, std::size_t r) {
    const std::size_t s = w.stored(r);
    data = w.data + s * w.row_bytes;
    scales = w.scales + s * w.scale_bytes;
    biases = w.biases + (w.biases != nullptr ? s * w.scale_bytes : 0);
  }
};

// Adds to `sum` what a vector of windows brings: `part`, the sums of codes times inputs, by their
// scales; and the groups' inputs, by their biases.
template <Packing kPacking, ScaleType kType>
HWY_INLINE V AddGroups(const GroupedRow& row, const Spread& spread, std::size_t first,
                       std::size_t windows, const float* group_sums, V part, V sum) {
  const D d;
  const std::size_t g = spread.first(first), n = spread.count(first, windows);
  const V scale = hn::TableLookupLanes(Scales<kType>(row.scales, g, n), spread.index);
  sum = hn::MulAdd(part, scale, sum);
  if constexpr (kPacking == Packing::affine) {
    const V bias = hn::TableLookupLanes(Scales<kType>(row.biases, g, n), spread.index);
    sum = hn::MulAdd(bias, hn::LoadU(d, group_sums + first), sum);
  }
  return sum;
}

// The sums of four rows, or their windows. Variables, not arrays: compilers leave arrays of vectors
// in memory.
struct FourSums {
  V a, b, c, d;
};
struct FourWindows {
  VU a, b, c, d;
};

// Adds codes kK, kK + 1, ... of four rows' windows, times the inputs that they share.
template <Packing kPacking, unsigned kBits, std::size_t kK>
HWY_INLINE void AddCodes(const FourWindows& w, const float* in, std::size_t lanes, FourSums& sum) {
  if constexpr (kK < PerWindow(kBits)) {
    const V x = hn::LoadU(D(), in + kK * lanes);
    sum.a = hn::MulAdd(CodeValue<kPacking, kBits, kK>(w.a), x, sum.a);
    sum.b = hn::MulAdd(CodeValue<kPacking, kBits, kK>(w.b), x, sum.b);
    sum.c = hn::MulAdd(CodeValue<kPacking, kBits, kK>(w.c), x, sum.c);
    sum.d = hn::MulAdd(CodeValue<kPacking, kBits, kK>(w.d), x, sum.d);
    AddCodes<kPacking, kBits, kK + 1>(w, in, lanes, sum);
  }
}

template <Packing kPacking, unsigned kBits, ScaleType kType>
HWY_INLINE void FourRows(const Spread& spread, const PackedInput& x, std::size_t windows,
                         const GroupedRow& r0, const GroupedRow& r1, const GroupedRow& r2,
                         const GroupedRow& r3, float* out) {
  constexpr std::size_t kPer = PerWindow(kBits);
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  const V zero = hn::Zero(d);
  FourSums all = {zero, zero, zero, zero};
  const float* in = x.permuted.data();
  const float* sums = x.sums.data();
  for (std::size_t first = 0; first < windows; first += lanes, in += kPer * lanes) {
    const FourWindows w = {
        Windows<kBits>(r0.data, first, windows), Windows<kBits>(r1.data, first, windows),
        Windows<kBits>(r2.data, first, windows), Windows<kBits>(r3.data, first, windows)};
    FourSums part = {zero, zero, zero, zero};
    AddCodes<kPacking, kBits, 0>(w, in, lanes, part);
    all.a = AddGroups<kPacking, kType>(r0, spread, first, windows, sums, part.a, all.a);
    all.b = AddGroups<kPacking, kType>(r1, spread, first, windows, sums, part.b, all.b);
    all.c = AddGroups<kPacking, kType>(r2, spread, first, windows, sums, part.c, all.c);
    all.d = AddGroups<kPacking, kType>(r3, spread, first, windows, sums, part.d, all.d);
  }
  out[0] = hn::GetLane(hn::SumOfLanes(d, all.a));
  out[1] = hn::GetLane(hn::SumOfLanes(d, all.b));
  out[2] = hn::GetLane(hn::SumOfLanes(d, all.c));
  out[3] = hn::GetLane(hn::SumOfLanes(d, all.d));
}

template <Packing kPacking, unsigned kBits, ScaleType kType>
void Grouped(const PackedMatrix& w, const PackedInput& x, std::size_t r, std::size_t end,
             float* y) {
  const std::size_t windows = w.in / PerWindow(kBits);
  const Spread spread(w.group, PerWindow(kBits));
  for (; r < end; r += 4) {
    const std::size_t last = end - 1;  // stands in for rows past the end
    float four[4];
    FourRows<kPacking, kBits, kType>(
        spread, x, windows, GroupedRow(w, r), GroupedRow(w, std::min(r + 1, last)),
        GroupedRow(w, std::min(r + 2, last)), GroupedRow(w, std::min(r + 3, last)), four);
    for (std::size_t i = 0; i < 4 && r + i < end; ++i) {
      y[r + i] = four[i] + (w.bias != nullptr ? w.bias[r + i] : 0.0f);
    }
  }
}

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
    const std::size_t g = spread.first(first), n = spread.count(first, windows);
    const V scale = hn::TableLookupLanes(Scales<kType>(row.scales, g, n), spread.index);
    V bias = hn::Zero(d);
    if constexpr (kPacking == Packing::affine) {
      bias = hn::TableLookupLanes(Scales<kType>(row.biases, g, n), spread.index);
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
  const std::size_t g = spread.first(first), n = spread.count(first, windows);
  RowFactor f;
  f.codes = Windows<kBits>(row.data, first, windows);
  f.scale =
      hn::Mul(hn::Set(d, q), hn::TableLookupLanes(Scales<kType>(row.scales, g, n), spread.index));
  f.bias = hn::Zero(d);
  if constexpr (kPacking == Packing::affine) {
    f.bias =
        hn::Mul(hn::Set(d, q), hn::TableLookupLanes(Scales<kType>(row.biases, g, n), spread.index));
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

// --- choice of kernel ---

// Calls f.template operator()<packing, bits, scale type>() for what `w` is.
template <class F>
HWY_INLINE void ForGrouped(const PackedMatrix& w, F f) {
  auto affine = [&]<ScaleType kType>() {
    switch (w.bits) {
      case 2:
        return f.template operator()<Packing::affine, 2, kType>();
      case 3:
        return f.template operator()<Packing::affine, 3, kType>();
      case 4:
        return f.template operator()<Packing::affine, 4, kType>();
      case 5:
        return f.template operator()<Packing::affine, 5, kType>();
      case 6:
        return f.template operator()<Packing::affine, 6, kType>();
      default:
        return f.template operator()<Packing::affine, 8, kType>();
    }
  };
  if (w.packing == Packing::e4m3) {
    return f.template operator()<Packing::e4m3, 8, ScaleType::e8m0>();
  }
  if (w.packing == Packing::e2m1) {
    if (w.scale_type == ScaleType::e8m0) {
      return f.template operator()<Packing::e2m1, 4, ScaleType::e8m0>();
    }
    return f.template operator()<Packing::e2m1, 4, ScaleType::e4m3>();
  }
  if (w.scale_type == ScaleType::f32) return affine.template operator()<ScaleType::f32>();
  if (w.scale_type == ScaleType::f16) return affine.template operator()<ScaleType::f16>();
  affine.template operator()<ScaleType::bf16>();
}

void Multiply(const PackedMatrix& w, const PackedInput& x, std::size_t begin, std::size_t end,
              float* y) {
  if (w.packing == Packing::f32) return Dense<F32Row>(w, x.x, begin, end, y);
  if (w.packing == Packing::f16) return Dense<F16Row>(w, x.x, begin, end, y);
  if (w.packing == Packing::bf16) return Dense<Bf16Row>(w, x.x, begin, end, y);
  ForGrouped(w, [&]<Packing kPacking, unsigned kBits, ScaleType kType>() {
    Grouped<kPacking, kBits, kType>(w, x, begin, end, y);
  });
}

void Unpack(const PackedMatrix& w, std::size_t begin, std::size_t end, float* out) {
  for (std::size_t r = begin; r < end; ++r, out += w.in) {
    if (w.packing == Packing::f32) {
      UnpackDense<F32Row>(w, r, out);
    } else if (w.packing == Packing::f16) {
      UnpackDense<F16Row>(w, r, out);
    } else if (w.packing == Packing::bf16) {
      UnpackDense<Bf16Row>(w, r, out);
    } else {
      ForGrouped(w, [&]<Packing kPacking, unsigned kBits, ScaleType kType>() {
        UnpackGrouped<kPacking, kBits, kType>(w, r, out);
      });
    }
  }
}

void SumRows(const PackedMatrix& w, const float* q, std::size_t begin, std::size_t end, float* y) {
  if (w.packing == Packing::f32) return SumRowsDense<F32Row>(w, q, begin, end, y);
  if (w.packing == Packing::f16) return SumRowsDense<F16Row>(w, q, begin, end, y);
  if (w.packing == Packing::bf16) return SumRowsDense<Bf16Row>(w, q, begin, end, y);
  ForGrouped(w, [&]<Packing kPacking, unsigned kBits, ScaleType kType>() {
    SumRowsGrouped<kPacking, kBits, kType>(w, q, begin, end, y);
  });
}

// What inputs of code k are multiplied with, so that its product is that of the code itself.
float InputFactor(const PackedMatrix& w, std::size_t k) {
  return 1.0f / Enlarged(w.packing, w.bits, k);
}

std::size_t LanesHere() { return hn::Lanes(D()); }

}  // namespace HWY_NAMESPACE
}  // namespace wb::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace wb::ops {

HWY_EXPORT(Multiply);
HWY_EXPORT(Unpack);
HWY_EXPORT(SumRows);
HWY_EXPORT(InputFactor);
HWY_EXPORT(LanesHere);

void prepare(const PackedMatrix& like, const float* x, PackedInput& input) {
  input.x = x;
  if (!like.grouped()) return;
  const std::size_t per = like.bits == 2 ? 16 : like.bits == 3 || like.bits == 4 ? 8 : 4;
  const std::size_t lanes = HWY_DYNAMIC_DISPATCH(LanesHere)();
  const std::size_t windows = like.in / per, vectors = (windows + lanes - 1) / lanes;
  float factor[16];
  for (std::size_t k = 0; k < per; ++k) factor[k] = HWY_DYNAMIC_DISPATCH(InputFactor)(like, k);
  input.permuted.assign(vectors * lanes * per, 0.0f);
  for (std::size_t i = 0; i < windows; ++i) {
    float* to = input.permuted.data() + i / lanes * lanes * per + i % lanes;
    for (std::size_t k = 0; k < per; ++k) to[k * lanes] = x[i * per + k] * factor[k];
  }
  input.sums.assign(vectors * lanes, 0.0f);
  for (std::size_t g = 0; g < like.in / like.group; ++g) {
    double sum = 0;
    for (std::size_t i = 0; i < like.group; ++i) sum += static_cast<double>(x[g * like.group + i]);
    input.sums[g * (like.group / per)] = static_cast<float>(sum);
  }
}

void multiply(const PackedMatrix& w, const PackedInput& x, std::size_t begin, std::size_t end,
              float* y) {
  HWY_DYNAMIC_DISPATCH(Multiply)(w, x, begin, end, y);
}
void sum_rows(const PackedMatrix& w, const float* q, std::size_t begin, std::size_t end, float* y) {
  HWY_DYNAMIC_DISPATCH(SumRows)(w, q, begin, end, y);
}
void unpack(const PackedMatrix& w, std::size_t begin, std::size_t end, float* out) {
  HWY_DYNAMIC_DISPATCH(Unpack)(w, begin, end, out);
}

}  // namespace wb::ops
#endif
