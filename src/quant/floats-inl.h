// Groups of the float modes (mxfp4, mxfp8, nvfp4) in vectors, for each instruction set. Included
// by simd.cpp only; plain.cpp is what it must equal.
#if defined(WB_QUANT_FLOATS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WB_QUANT_FLOATS_INL_H_
#undef WB_QUANT_FLOATS_INL_H_
#else
#define WB_QUANT_FLOATS_INL_H_
#endif

#include "quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace wb::quant {
namespace HWY_NAMESPACE {

// e2m1 codes of |v| at most 2^16: how many midpoints it lies beyond (ties to the smaller), and
// the sign where that is not 0.
template <class DI_>
HWY_INLINE hn::Vec<DI_> E2m1Codes(D d, DI_ di, V v) {
  const V a = hn::Abs(v);
  auto code = hn::Zero(di);
  const auto one = hn::Set(di, 1);
  for (float middle : {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f}) {
    const auto beyond = hn::Gt(a, hn::Set(d, middle));
    code = hn::Add(code, hn::IfThenElseZero(hn::RebindMask(di, beyond), one));
  }
  const auto negative = hn::ShiftRight<28>(hn::BitCast(DU(), v));  // 8 or 0, and exponent bits
  const auto sign = hn::And(hn::BitCast(di, negative), hn::Set(di, 8));
  return hn::IfThenElseZero(hn::Gt(code, hn::Zero(di)), hn::Or(code, sign));
}

template <class DI_>
HWY_INLINE hn::Vec<DI_> E4m3Codes(D d, DI_ di, V v) {
  const DU du;
  const V a = hn::Abs(v);
  const auto b = hn::BitCast(du, a);
  const auto even = hn::And(hn::ShiftRight<20>(b), hn::Set(du, 1u));
  const auto r =
      hn::Sub(hn::Add(b, hn::Add(even, hn::Set(du, 0x7ffffu))), hn::Set(du, 0x3c000000u));
  auto code = hn::BitCast(di, hn::ShiftRight<20>(r));
  const auto small = hn::NearestInt(hn::Mul(a, hn::Set(d, 512.0f)));
  code = hn::IfThenElse(hn::RebindMask(di, hn::Lt(a, hn::Set(d, 0x1p-6f))), small, code);
  const auto top = hn::RebindMask(di, hn::Ge(a, hn::Set(d, 448.0f)));
  code = hn::IfThenElse(top, hn::Set(di, 0x7e), code);
  const auto sign =
      hn::And(hn::BitCast(di, hn::ShiftRight<24>(hn::BitCast(du, v))), hn::Set(di, 0x80));
  return hn::Or(code, sign);
}

template <DType T>
HWY_INLINE void FloatCodes(const QuantFormat& f, const std::byte* w, std::size_t first,
                           float divisor, std::uint8_t* codes) {
  const D d;
  const DI di;
  const hn::Rebind<std::uint8_t, D> d8;
  // Dividing by 2^n is a product with 2^-n, as 2^-n is a float for every n there is.
  const V by = hn::Set(d, f.mode == QuantMode::nvfp4 ? divisor : 1.0f / divisor);
  for (std::size_t i = 0; i < f.group_size; i += hn::Lanes(d)) {
    const V w32 = Load<T>(d, w, first + i);
    if (f.mode == QuantMode::mxfp8) {
      const V v = RoundTo<T>(d, hn::Mul(w32, by));
      hn::StoreU(hn::DemoteTo(d8, E4m3Codes(d, di, v)), d8, codes + i);
    } else {
      const V v = RoundTo<T>(d, f.mode == QuantMode::nvfp4 ? hn::Div(w32, by) : hn::Mul(w32, by));
      hn::StoreU(hn::DemoteTo(d8, E2m1Codes(d, di, v)), d8, codes + i);
    }
  }
}

template <DType T>
HWY_INLINE bool FloatChunk(const QuantFormat& f, const std::byte* values, std::size_t g0,
                           std::size_t groups, const QuantizedGroups& out) {
  const D d;
  const std::size_t size = f.group_size, lanes = hn::Lanes(d);
  HWY_ALIGN float most[kMostGroups];
  V seen = hn::Zero(d);
  for (std::size_t g = 0; g < groups; ++g) {
    V hi = hn::Zero(d);
    for (std::size_t i = 0; i < size; i += lanes) {
      const V w = Load<T>(d, values, (g0 + g) * size + i);
      seen = Watch<T>(d, seen, w);
      hi = hn::Max(hi, hn::Abs(w));
    }
    most[g] = hn::GetLane(hn::MaxOfLanes(d, hi));
  }
  if (!AllFinite<T>(d, seen)) return false;
  HWY_ALIGN std::uint8_t codes[kChunk];
  for (std::size_t g = 0; g < groups; ++g) {
    const FloatScale scale = float_scale(f, T, most[g]);
    if (out.scales != nullptr) out.scales[g0 + g] = std::byte{scale.code};
    if (out.words == nullptr) continue;
    // Beyond any scale (or a scale of 0) distances to all elements can be equal: as written down.
    if (most[g] <= 0x1p16f * scale.divisor && scale.divisor > 0.0f) {
      FloatCodes<T>(f, values, (g0 + g) * size, scale.divisor, codes + g * size);
    } else {
      float_codes(f, T, values, (g0 + g) * size, scale.divisor, codes + g * size);
    }
  }
  if (out.words == nullptr) return true;
  PackAny(codes, groups * size, f.bits,
          reinterpret_cast<std::byte*>(out.words + g0 * words_per_group(f)));
  return true;
}

}  // namespace HWY_NAMESPACE
}  // namespace wb::quant
HWY_AFTER_NAMESPACE();
#endif
