// Highway kernels for products of packed groups of codes with vectors, compiled once per
// instruction set; see packed.h and packed_groups-inl.h. Inputs are laid out by (vector, code,
// window), once for all rows. Scales join per window after its codes are summed; biases meet the
// group's sum of inputs, in the lane of the group's first window.
#include <hwy/cache_control.h>

#include <algorithm>

#include "ops/packed_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/packed_grouped.cpp"
#include <hwy/foreach_target.h>
// Below the line above, the file is compiled again for each target.
#include <hwy/highway.h>

#include "ops/packed_groups-inl.h"

HWY_BEFORE_NAMESPACE();
namespace wb::ops {
namespace HWY_NAMESPACE {

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

void MultiplyGrouped(const PackedMatrix& w, const PackedInput& x, std::size_t begin,
                     std::size_t end, float* y) {
  ForGrouped(w, [&]<Packing kPacking, unsigned kBits, ScaleType kType>() {
    Grouped<kPacking, kBits, kType>(w, x, begin, end, y);
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

}  // namespace wb::ops
#endif
