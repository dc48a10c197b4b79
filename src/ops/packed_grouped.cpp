// Highway kernels for packed groups of codes, compiled once per instruction set; see packed.h. The
// unit of grouped packings is a window: 32 bits that hold kPer whole codes (16 of 2
// bits, 8 of 3 or 4, 4 of 5, 6 or 8). Lane j of a vector holds window j, and code k is taken from
// all lanes at once, so inputs are laid out by (vector, code, window), once for all rows. Scales
// join per window after its codes are summed; biases meet the group's sum of inputs, in the lane of
// the group's first window.
#include <hwy/cache_control.h>

#include <algorithm>
#include <cstring>

#include "ops/packed_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/packed_grouped.cpp"
#include <hwy/foreach_target.h>
// Below the line above, the file is compiled again for each target.
#include <hwy/highway.h>

#include "ops/packed-inl.h"

HWY_BEFORE_NAMESPACE();
namespace wb::ops {
namespace HWY_NAMESPACE {

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

// Scales [first, first + n), the rest zero.
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

// Which scales a vector of windows needs: `count` from `first` on.
struct SomeScales {
  std::size_t first, count;
};
// The same for every row: how scales are spread over the lanes.
struct Spread {
  unsigned shift;  // 2^shift windows share a scale
  std::size_t lanes;
  decltype(hn::SetTableIndices(D(), static_cast<const std::int32_t*>(nullptr))) index;
  Spread(std::size_t group, std::size_t per_window) {
    const D d;
    lanes = hn::Lanes(d);
    shift = 0;
    while (per_window << (shift + 1) <= group) ++shift;
    HWY_ALIGN std::int32_t at[16];
    for (std::size_t j = 0; j < lanes; ++j) at[j] = static_cast<std::int32_t>(j >> shift);
    index = hn::SetTableIndices(d, at);
  }
  // Those of windows [window, window + lanes).
  SomeScales some(std::size_t window, std::size_t windows) const {
    const std::size_t n = std::min(lanes, windows - window), group = std::size_t{1} << shift;
    return {window >> shift, (n + group - 1) >> shift};
  }
};
template <ScaleType kType>
HWY_INLINE V SpreadScales(const Spread& spread, const std::byte* p, SomeScales some) {
  return hn::TableLookupLanes(Scales<kType>(p, some.first, some.count), spread.index);
}

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
// scales; and `inputs`, the groups' sums of inputs, by their biases.
template <Packing kPacking, ScaleType kType>
HWY_INLINE V AddGroups(const GroupedRow& row, const Spread& spread, SomeScales some, V inputs,
                       V part, V sum) {
  sum = hn::MulAdd(part, SpreadScales<kType>(spread, row.scales, some), sum);
  if constexpr (kPacking == Packing::affine) {
    sum = hn::MulAdd(SpreadScales<kType>(spread, row.biases, some), inputs, sum);
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

// The sum of each vector's lanes. By pairs across the vectors, which takes a third of the steps of
// four sums one by one; all four add in the same order.
HWY_INLINE void SumEach(const FourSums& sum, float* out) {
#if HWY_TARGET == HWY_SCALAR
  out[0] = hn::GetLane(sum.a);
  out[1] = hn::GetLane(sum.b);
  out[2] = hn::GetLane(sum.c);
  out[3] = hn::GetLane(sum.d);
#else
  const D d;
  const hn::Repartition<double, D> pairs;
  const V ab = hn::Add(hn::InterleaveLower(d, sum.a, sum.b), hn::InterleaveUpper(d, sum.a, sum.b));
  const V cd = hn::Add(hn::InterleaveLower(d, sum.c, sum.d), hn::InterleaveUpper(d, sum.c, sum.d));
  const auto ab2 = hn::BitCast(pairs, ab), cd2 = hn::BitCast(pairs, cd);
  const V abcd = hn::Add(hn::BitCast(d, hn::InterleaveLower(pairs, ab2, cd2)),
                         hn::BitCast(d, hn::InterleaveUpper(pairs, ab2, cd2)));
  HWY_ALIGN float blocks[16];
  hn::Store(abcd, d, blocks);
  for (std::size_t i = 0; i < 4; ++i) {
    out[i] = blocks[i];
    for (std::size_t j = 4; j < hn::Lanes(d); j += 4) out[i] += blocks[i + j];
  }
#endif
}

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
                         std::size_t ahead, const GroupedRow& r0, const GroupedRow& r1,
                         const GroupedRow& r2, const GroupedRow& r3, float* out) {
  constexpr std::size_t kPer = PerWindow(kBits);
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  const V zero = hn::Zero(d);
  FourSums all = {zero, zero, zero, zero};
  const float* in = x.permuted.data();
  const float* sums = x.sums.data();
  for (std::size_t first = 0; first < windows; first += lanes, in += kPer * lanes) {
    const std::size_t soon = first * (kPer * kBits / 8) + ahead;
    for (const GroupedRow* r : {&r0, &r1, &r2, &r3}) hwy::Prefetch(r->data + soon);
    const FourWindows w = {
        Windows<kBits>(r0.data, first, windows), Windows<kBits>(r1.data, first, windows),
        Windows<kBits>(r2.data, first, windows), Windows<kBits>(r3.data, first, windows)};
    FourSums part = {zero, zero, zero, zero};
    AddCodes<kPacking, kBits, 0>(w, in, lanes, part);
    const SomeScales some = spread.some(first, windows);
    const V inputs = kPacking == Packing::affine ? hn::LoadU(d, sums + first) : zero;
    all.a = AddGroups<kPacking, kType>(r0, spread, some, inputs, part.a, all.a);
    all.b = AddGroups<kPacking, kType>(r1, spread, some, inputs, part.b, all.b);
    all.c = AddGroups<kPacking, kType>(r2, spread, some, inputs, part.c, all.c);
    all.d = AddGroups<kPacking, kType>(r3, spread, some, inputs, part.d, all.d);
  }
  SumEach(all, out);
}

template <Packing kPacking, unsigned kBits, ScaleType kType>
void Grouped(const PackedMatrix& w, const PackedInput& x, std::size_t r, std::size_t end,
             float* y) {
  const std::size_t windows = w.in / PerWindow(kBits);
  const Spread spread(w.group, PerWindow(kBits));
  // Four short streams are too many for the prefetcher: what comes some rows, or in long rows a
  // kilobyte, later is asked for by hand. Asking past the end does no harm.
  const std::size_t ahead = w.row_bytes < 2048 ? 8 * w.row_bytes : 1024;
  for (; r < end; r += 4) {
    const std::size_t last = end - 1;  // stands in for rows past the end
    float four[4];
    FourRows<kPacking, kBits, kType>(
        spread, x, windows, ahead, GroupedRow(w, r), GroupedRow(w, std::min(r + 1, last)),
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

void MultiplyGrouped(const PackedMatrix& w, const PackedInput& x, std::size_t begin,
                     std::size_t end, float* y) {
  ForGrouped(w, [&]<Packing kPacking, unsigned kBits, ScaleType kType>() {
    Grouped<kPacking, kBits, kType>(w, x, begin, end, y);
  });
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

HWY_EXPORT(MultiplyGrouped);
HWY_EXPORT(SumGrouped);
HWY_EXPORT(UnpackGroupedRows);
HWY_EXPORT(InputFactor);
HWY_EXPORT(LanesHere);

void prepare_grouped(const PackedMatrix& like, const float* x, PackedInput& input) {
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

void multiply_grouped(const PackedMatrix& w, const PackedInput& x, std::size_t begin,
                      std::size_t end, float* y) {
  HWY_DYNAMIC_DISPATCH(MultiplyGrouped)(w, x, begin, end, y);
}
void sum_grouped(const PackedMatrix& w, const float* q, std::size_t begin, std::size_t end,
                 float* y) {
  HWY_DYNAMIC_DISPATCH(SumGrouped)(w, q, begin, end, y);
}
void unpack_grouped(const PackedMatrix& w, std::size_t begin, std::size_t end, float* out) {
  HWY_DYNAMIC_DISPATCH(UnpackGroupedRows)(w, begin, end, out);
}

}  // namespace wb::ops
#endif
