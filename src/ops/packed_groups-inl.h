// What the kernels of packed groups of codes share, for each instruction set. The unit of grouped
// packings is a window: 32 bits that hold PerWindow() whole codes (16 of 2 bits, 8 of 3 or 4, 4 of
// 5, 6 or 8). Lane j of a vector holds window j, and code k is taken from all lanes at once.
// Included by packed_grouped.cpp and packed_rows.cpp only.
#if defined(WB_OPS_PACKED_GROUPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WB_OPS_PACKED_GROUPS_INL_H_
#undef WB_OPS_PACKED_GROUPS_INL_H_
#else
#define WB_OPS_PACKED_GROUPS_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "ops/packed-inl.h"
#include "ops/packed.h"

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

}  // namespace HWY_NAMESPACE
}  // namespace wb::ops
HWY_AFTER_NAMESPACE();

#endif  // the include guard of this target
