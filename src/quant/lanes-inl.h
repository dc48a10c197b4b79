// What the vector quantisers share, for each instruction set: lanes, loads that widen, rounding,
// the watch for what is not finite, and codes packed into words. Included by affine-inl.h,
// floats-inl.h and simd.cpp only.
#if defined(WB_QUANT_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WB_QUANT_LANES_INL_H_
#undef WB_QUANT_LANES_INL_H_
#else
#define WB_QUANT_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "quant/plain.h"

HWY_BEFORE_NAMESPACE();
namespace wb::quant {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr std::size_t kChunk = 4096;              // elements
constexpr std::size_t kMostGroups = kChunk / 16;  // of one chunk
using D = hn::CappedTag<float, 16>;               // a vector never spans two groups
using DI = hn::RebindToSigned<D>;
using DU = hn::RebindToUnsigned<D>;
using V = hn::Vec<D>;

// Round to T of a vector that holds no NaN (may overflow to infinity); as element.h does.
template <DType T>
HWY_INLINE V RoundTo(D d, V v) {
  const DU du;
  if constexpr (T == DType::F32) {
    return v;
  } else if constexpr (T == DType::BF16) {
    const auto b = hn::BitCast(du, v);
    const auto even = hn::And(hn::ShiftRight<16>(b), hn::Set(du, 1u));
    const auto r = hn::Add(b, hn::Add(even, hn::Set(du, 0x7fffu)));
    return hn::BitCast(d, hn::And(r, hn::Set(du, 0xffff0000u)));
  } else {
    const V a = hn::Abs(v);
    const auto b = hn::BitCast(du, a);
    const auto even = hn::And(hn::ShiftRight<13>(b), hn::Set(du, 1u));
    const auto r =
        hn::And(hn::Add(b, hn::Add(even, hn::Set(du, 0xfffu))), hn::Set(du, 0xffffe000u));
    // Below 2^-14 the steps are 2^-24: adding 0.75 leaves exactly these.
    const V shift = hn::Set(d, 0.75f);
    const V small = hn::Sub(hn::Add(a, shift), shift);
    V out = hn::IfThenElse(hn::Lt(a, hn::Set(d, 0x1p-14f)), small, hn::BitCast(d, r));
    const V infinity = hn::BitCast(d, hn::Set(du, 0x7f800000u));
    out = hn::IfThenElse(hn::Ge(a, hn::Set(d, 65520.0f)), infinity, out);
    return hn::CopySignToAbs(out, v);
  }
}
template <DType T>
HWY_INLINE V RoundToAny(D d, V v) {  // NaN stays NaN
  return hn::IfThenElse(hn::IsNaN(v), v, RoundTo<T>(d, v));
}

// Elements [i, i + lanes) widened to f32.
template <DType T>
HWY_INLINE V Load(D d, const std::byte* p, std::size_t i) {
  if constexpr (T == DType::F32) {
    return hn::LoadU(d, reinterpret_cast<const float*>(p) + i);
  } else {
    const DU du;
    const hn::Rebind<std::uint16_t, D> d16;
    const auto h = hn::PromoteTo(du, hn::LoadU(d16, reinterpret_cast<const std::uint16_t*>(p) + i));
    if constexpr (T == DType::BF16) {
      return hn::BitCast(d, hn::ShiftLeft<16>(h));
    } else {
      // The exponent's offset is a product with a power of two, exact for subnormals as well;
      // an infinity or NaN comes out finite and at least 2^16, which no finite half is.
      const auto magnitude = hn::ShiftLeft<13>(hn::And(h, hn::Set(du, 0x7fffu)));
      const V a = hn::Mul(hn::BitCast(d, magnitude), hn::Set(d, 0x1p112f));
      const auto sign = hn::ShiftLeft<16>(hn::And(h, hn::Set(du, 0x8000u)));
      return hn::BitCast(d, hn::Or(hn::BitCast(du, a), sign));
    }
  }
}

// Adds to `seen` what is NaN or at least huge exactly when v holds an infinity or NaN.
template <DType T>
HWY_INLINE V Watch(D d, V seen, V v) {
  if constexpr (T == DType::F16) return hn::Max(seen, hn::Abs(v));
  return hn::MulAdd(v, hn::Zero(d), seen);  // fused or not: only 0 or NaN comes of it
}
template <DType T>
HWY_INLINE bool AllFinite(D d, V seen) {
  if constexpr (T == DType::F16) return hn::AllTrue(d, hn::Lt(seen, hn::Set(d, 65536.0f)));
  return hn::AllTrue(d, hn::Eq(seen, hn::Zero(d)));
}

// Codes as bytes -> words. `count` is a multiple of 16 for bits 4 and 8, of 32 for others.
template <unsigned kBits>
HWY_INLINE void Pack(const std::uint8_t* codes, std::size_t count, std::byte* out) {
  if constexpr (kBits == 8) {
    std::memcpy(out, codes, count);
  } else if constexpr (kBits == 4) {
    const hn::CappedTag<std::uint16_t, 32> d16;
    const hn::Rebind<std::uint8_t, decltype(d16)> d8;
    const std::size_t step = hn::Lanes(d16);
    std::size_t i = 0;
    for (; i + 2 * step <= count; i += 2 * step) {
      const auto v = hn::LoadU(d16, reinterpret_cast<const std::uint16_t*>(codes + i));
      const auto both = hn::And(hn::Or(v, hn::ShiftRight<4>(v)), hn::Set(d16, 0xffu));
      hn::StoreU(hn::TruncateTo(d8, both), d8, reinterpret_cast<std::uint8_t*>(out) + i / 2);
    }
    for (; i < count; i += 2) {
      out[i / 2] = std::byte{static_cast<std::uint8_t>(codes[i] | (codes[i + 1] << 4))};
    }
  } else if constexpr (kBits == 2) {
    const hn::CappedTag<std::uint32_t, 16> d32;
    const hn::Rebind<std::uint8_t, decltype(d32)> d8;
    const std::size_t step = hn::Lanes(d32);
    std::size_t i = 0;
    for (; i + 4 * step <= count; i += 4 * step) {
      auto v = hn::LoadU(d32, reinterpret_cast<const std::uint32_t*>(codes + i));
      v = hn::Or(v, hn::ShiftRight<6>(v));
      v = hn::And(hn::Or(v, hn::ShiftRight<12>(v)), hn::Set(d32, 0xffu));
      hn::StoreU(hn::TruncateTo(d8, v), d8, reinterpret_cast<std::uint8_t*>(out) + i / 4);
    }
    for (; i < count; i += 4) {
      out[i / 4] = std::byte{static_cast<std::uint8_t>(codes[i] | (codes[i + 1] << 2) |
                                                       (codes[i + 2] << 4) | (codes[i + 3] << 6))};
    }
  } else {
    // Eight codes are kBits bytes: neighbours are joined three times inside each 64-bit word.
    const hn::CappedTag<std::uint64_t, 4> d64;
    const std::size_t step = hn::Lanes(d64);
    HWY_ALIGN std::uint64_t joined[4];
    std::byte* to = out;
    for (std::size_t i = 0; i < count; i += 8 * step) {
      auto v = hn::LoadU(d64, reinterpret_cast<const std::uint64_t*>(codes + i));
      constexpr std::uint64_t one = (1u << kBits) - 1;
      const auto a0 = hn::Set(d64, one * 0x0001000100010001u);
      v = hn::Or(hn::And(v, a0), hn::ShiftRight<8 - kBits>(hn::AndNot(a0, v)));
      const auto a1 = hn::Set(d64, ((std::uint64_t{1} << (2 * kBits)) - 1) * 0x0000000100000001u);
      v = hn::Or(hn::And(v, a1), hn::ShiftRight<16 - 2 * kBits>(hn::AndNot(a1, v)));
      const auto a2 = hn::Set(d64, (std::uint64_t{1} << (4 * kBits)) - 1);
      v = hn::Or(hn::And(v, a2), hn::ShiftRight<32 - 4 * kBits>(hn::AndNot(a2, v)));
      hn::Store(v, d64, joined);
      for (std::size_t k = 0; k < step; ++k, to += kBits) std::memcpy(to, &joined[k], kBits);
    }
  }
}

HWY_INLINE void PackAny(const std::uint8_t* codes, std::size_t count, unsigned bits,
                        std::byte* out) {
  switch (bits) {
    case 2:
      return Pack<2>(codes, count, out);
    case 3:
      return Pack<3>(codes, count, out);
    case 4:
      return Pack<4>(codes, count, out);
    case 5:
      return Pack<5>(codes, count, out);
    case 6:
      return Pack<6>(codes, count, out);
    default:
      return Pack<8>(codes, count, out);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace wb::quant
HWY_AFTER_NAMESPACE();
#endif
