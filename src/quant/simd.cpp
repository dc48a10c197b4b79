// The fast version, compiled once per instruction set; see groups.h. Works on chunks that stay
// in the first cache, in steps that each run over full vectors whatever the group size: the
// extremes of every group, then scales and biases of many groups at once, then codes as bytes,
// then packing. Division is division, products and sums are kept apart, and rounding is to
// nearest even, so that every processor gives the oracle's bits.
#include <hwy/base.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/checked.h"
#include "base/error.h"
#include "quant/plain.h"

static_assert(std::endian::native == std::endian::little, "packing writes little-endian words");

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/simd.cpp"
#include <hwy/foreach_target.h>
// Below the line above, the file is compiled again for each target.
#include <hwy/highway.h>

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

// rint((w - bias) / scale) in [0, n] as the low byte of each lane; the rest of the lane is not 0.
// A sum with 1.5 * 2^23 leaves whole numbers, rounded to nearest even.
HWY_INLINE hn::Vec<DU> AffineCode(D d, V w, V scale, V bias, V most) {
  V q = hn::Div(hn::Sub(w, bias), scale);
  q = hn::IfThenElseZero(hn::Gt(q, hn::Zero(d)), q);  // 0 / 0 (constant, past 3e31) gives code 0
  return hn::BitCast(DU(), hn::Add(hn::Min(q, most), hn::Set(d, 0x1.8p23f)));
}

// Codes of one group, its divisor and offset known: clamp(rint((w - bias) / scale), 0, n).
template <DType T>
HWY_INLINE void AffineCodes(const std::byte* w, std::size_t first, std::size_t size, float scale,
                            float bias, float most, std::uint8_t* codes) {
  const D d;
  const hn::Rebind<std::uint8_t, D> d8;
  const V s = hn::Set(d, scale), b = hn::Set(d, bias), n = hn::Set(d, most);
  for (std::size_t i = 0; i < size; i += hn::Lanes(d)) {
    const auto code = AffineCode(d, Load<T>(d, w, first + i), s, b, n);
    hn::StoreU(hn::TruncateTo(d8, code), d8, codes + i);
  }
}

// Twice as many bf16 as there are lanes: those at even places and those at odd ones, widened.
HWY_INLINE void LoadPairs(D d, const std::byte* p, std::size_t i, V& even, V& odd) {
  const DU du;
  const auto both = hn::LoadU(du, reinterpret_cast<const std::uint32_t*>(p + 2 * i));
  even = hn::BitCast(d, hn::ShiftLeft<16>(both));
  odd = hn::BitCast(d, hn::And(both, hn::Set(du, 0xffff0000u)));
}

// One group of bf16 as 4-bit codes, packed: neighbours share a lane all the way.
HWY_INLINE void AffineNibbles(const std::byte* w, std::size_t first, std::size_t size, float scale,
                              float bias, std::byte* out) {
  const D d;
  const hn::Rebind<std::uint8_t, D> d8;
  const std::size_t lanes = hn::Lanes(d);
  const V s = hn::Set(d, scale), b = hn::Set(d, bias), n = hn::Set(d, 15.0f);
  for (std::size_t i = 0; i < size; i += 2 * lanes) {
    V even, odd;
    LoadPairs(d, w, first + i, even, odd);
    const auto low = AffineCode(d, even, s, b, n), high = AffineCode(d, odd, s, b, n);
    const auto pair = hn::Or(hn::And(low, hn::Set(DU(), 15u)), hn::ShiftLeft<4>(high));
    hn::StoreU(hn::TruncateTo(d8, pair), d8, reinterpret_cast<std::uint8_t*>(out) + i / 2);
  }
}

// The largest value of one group in each lane, and the largest of their negatives.
template <DType T>
HWY_INLINE void Extremes(const std::byte* values, std::size_t first, std::size_t size, V& seen,
                         V& high, V& minus_low) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  V low;
  if constexpr (T == DType::BF16) {
    V even, odd;
    LoadPairs(d, values, first, even, odd);
    seen = Watch<T>(d, Watch<T>(d, seen, even), odd);
    high = hn::Max(even, odd);
    low = hn::Min(even, odd);
    for (std::size_t i = 2 * lanes; i < size; i += 2 * lanes) {
      LoadPairs(d, values, first + i, even, odd);
      seen = Watch<T>(d, Watch<T>(d, seen, even), odd);
      high = hn::Max(high, hn::Max(even, odd));
      low = hn::Min(low, hn::Min(even, odd));
    }
  } else {
    high = low = Load<T>(d, values, first);
    seen = Watch<T>(d, seen, high);
    for (std::size_t i = lanes; i < size; i += lanes) {
      const V w = Load<T>(d, values, first + i);
      seen = Watch<T>(d, seen, w);
      high = hn::Max(high, w);
      low = hn::Min(low, w);
    }
  }
  minus_low = hn::Neg(low);
}

// ends[0, 4): high and minus_low of group a, then of group b, each over all lanes. Four numbers
// share every step, where a reduction of each would take as many steps alone.
HWY_INLINE void JoinExtremes(V high_a, V minus_low_a, V high_b, V minus_low_b, float* ends) {
#if HWY_TARGET == HWY_SCALAR
  for (const V& v : {high_a, minus_low_a, high_b, minus_low_b}) *ends++ = hn::GetLane(v);
#else
  const D d;
  const hn::Repartition<std::uint64_t, D> d64;
  const hn::Full128<float> d4;
  const V a = hn::Max(hn::InterleaveLower(d, high_a, minus_low_a),
                      hn::InterleaveUpper(d, high_a, minus_low_a));
  const V b = hn::Max(hn::InterleaveLower(d, high_b, minus_low_b),
                      hn::InterleaveUpper(d, high_b, minus_low_b));
  const auto a64 = hn::BitCast(d64, a), b64 = hn::BitCast(d64, b);
  const V both = hn::Max(hn::BitCast(d, hn::InterleaveLower(d64, a64, b64)),
                         hn::BitCast(d, hn::InterleaveUpper(d64, a64, b64)));
  HWY_ALIGN float parts[16];
  hn::Store(both, d, parts);
  auto most = hn::Load(d4, parts);
  for (std::size_t i = 4; i < hn::Lanes(d); i += 4) most = hn::Max(most, hn::Load(d4, parts + i));
  hn::StoreU(most, d4, ends);
#endif
}

// Scales and biases of `groups` groups from their extremes (pairs of highest and minus lowest);
// rounded to T where they are kept.
HWY_INLINE void AffineScales(std::size_t groups, float most, const float* ends, float* scales,
                             float* biases) {
  const D d;
  const V n = hn::Set(d, most), eps = hn::Set(d, 1e-7f), zero = hn::Zero(d);
  for (std::size_t g = 0; g < groups; g += hn::Lanes(d)) {
    V hi, minus_lo;
    hn::LoadInterleaved2(d, ends + 2 * g, hi, minus_lo);
    const V lo = hn::Neg(minus_lo);
    const auto low_is_edge = hn::Gt(hn::Abs(lo), hn::Abs(hi));
    V scale = hn::Max(hn::Div(hn::Sub(hi, lo), n), eps);
    scale = hn::IfThenElse(low_is_edge, scale, hn::Neg(scale));
    const V edge = hn::IfThenElse(low_is_edge, lo, hi);
    const V q0 = hn::Round(hn::Div(edge, scale));
    const auto has_bias = hn::Ne(q0, zero);
    hn::Store(hn::IfThenElse(has_bias, hn::Div(edge, q0), scale), d, scales + g);
    hn::Store(hn::IfThenElseZero(has_bias, edge), d, biases + g);
  }
}

template <DType T>
HWY_INLINE void PutAll(const float* values, std::size_t count, std::byte* out, std::size_t first) {
  if (out == nullptr) return;
  convert_elements(DType::F32, reinterpret_cast<const std::byte*>(values), T,
                   out + first * item_size(T), count);
}

// One chunk; false when it holds an infinity or NaN, and then nothing of it counts.
template <DType T>
HWY_INLINE bool AffineChunk(const QuantFormat& f, const std::byte* values, std::size_t g0,
                            std::size_t groups, const QuantizedGroups& out) {
  const D d;
  const std::size_t size = f.group_size;
  HWY_ALIGN float ends[2 * (kMostGroups + 16)];
  HWY_ALIGN float scales[kMostGroups + 16], biases[kMostGroups + 16];
  V seen = hn::Zero(d);
  for (std::size_t g = 0; g < groups; g += 2) {
    V high_a, minus_low_a, high_b, minus_low_b;
    Extremes<T>(values, (g0 + g) * size, size, seen, high_a, minus_low_a);
    const std::size_t other = std::min(g + 1, groups - 1);
    Extremes<T>(values, (g0 + other) * size, size, seen, high_b, minus_low_b);
    JoinExtremes(high_a, minus_low_a, high_b, minus_low_b, ends + 2 * g);
  }
  if (!AllFinite<T>(d, seen)) return false;
  std::fill(ends + 2 * groups, ends + 2 * round_up(groups, hn::Lanes(d), "groups"), 0.0f);
  const float most = static_cast<float>((1u << f.bits) - 1);
  AffineScales(groups, most, ends, scales, biases);
  PutAll<T>(scales, groups, out.scales, g0);
  PutAll<T>(biases, groups, out.biases, g0);
  if (out.words == nullptr) return true;
  auto* packed = reinterpret_cast<std::byte*>(out.words + g0 * words_per_group(f));
  if (T == DType::BF16 && f.bits == 4) {
    for (std::size_t g = 0; g < groups; ++g, packed += size / 2) {
      AffineNibbles(values, (g0 + g) * size, size, scales[g], biases[g], packed);
    }
    return true;
  }
  HWY_ALIGN std::uint8_t codes[kChunk];
  for (std::size_t g = 0; g < groups; ++g) {
    AffineCodes<T>(values, (g0 + g) * size, size, scales[g], biases[g], most, codes + g * size);
  }
  PackAny(codes, groups * size, f.bits, packed);
  return true;
}

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

template <DType T>
HWY_INLINE std::size_t QuantizeT(const QuantFormat& f, const std::byte* values, std::size_t groups,
                                 const QuantizedGroups& out) {
  const std::size_t step = kChunk / f.group_size;
  for (std::size_t g = 0; g < groups; g += step) {
    const std::size_t count = std::min(step, groups - g);
    const bool good = f.mode == QuantMode::affine ? AffineChunk<T>(f, values, g, count, out)
                                                  : FloatChunk<T>(f, values, g, count, out);
    if (good) continue;
    const std::byte* from = values + g * f.group_size * item_size(T);
    QuantizedGroups rest = out;
    if (out.words != nullptr) rest.words += g * words_per_group(f);
    if (out.scales != nullptr) rest.scales += g * item_size(scales_dtype(f, T));
    if (out.biases != nullptr) rest.biases += g * item_size(T);
    return g + quantize_groups_plain(f, T, from, count, rest);  // finds it
  }
  return groups;
}

std::size_t Quantize(const QuantFormat& f, DType dtype, const std::byte* values, std::size_t groups,
                     const QuantizedGroups& out) {
  if (dtype == DType::F32) return QuantizeT<DType::F32>(f, values, groups, out);
  if (dtype == DType::F16) return QuantizeT<DType::F16>(f, values, groups, out);
  return QuantizeT<DType::BF16>(f, values, groups, out);
}

// A group's words as bytes, one code each.
HWY_INLINE void Unpack(const std::uint32_t* words, std::size_t size, unsigned bits,
                       std::uint8_t* codes) {
  const auto* in = reinterpret_cast<const std::uint8_t*>(words);
  if (bits == 8) {
    std::memcpy(codes, in, size);
    return;
  }
  const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
  for (std::size_t i = 0; i < size; i += 8, in += bits) {  // eight codes are `bits` bytes
    std::uint64_t v = 0;
    std::memcpy(&v, in, bits);
    for (std::size_t k = 0; k < 8; ++k) {
      codes[i + k] = static_cast<std::uint8_t>((v >> (k * bits)) & mask);
    }
  }
}

template <DType T>
HWY_INLINE void DequantizeT(const QuantFormat& f, const QuantizedInput& in, std::size_t groups,
                            float* out) {
  const D d;
  const DI di;
  const DU du;
  const hn::Rebind<std::uint8_t, D> d8;
  HWY_ALIGN std::uint8_t codes[128];
  for (std::size_t g = 0; g < groups; ++g, out += f.group_size) {
    Unpack(in.words + g * words_per_group(f), f.group_size, f.bits, codes);
    if (f.mode == QuantMode::affine) {
      const V s = hn::Set(d, element(T, in.scales, g)), b = hn::Set(d, element(T, in.biases, g));
      for (std::size_t i = 0; i < f.group_size; i += hn::Lanes(d)) {
        const V c = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(d8, codes + i)));
        const V y = RoundToAny<T>(d, hn::Mul(c, s));
        hn::StoreU(RoundToAny<T>(d, hn::Add(y, b)), d, out + i);
      }
      continue;
    }
    const auto raw = std::to_integer<std::uint8_t>(in.scales[g]);
    const float scale =
        round_to(T, f.mode == QuantMode::nvfp4 ? mlx_e4m3_to_f32(raw) : e8m0_to_f32(raw));
    if (f.bits == 4) {
      std::array<float, 16> table{};
      for (std::size_t c = 0; c < 16; ++c) table[c] = round_to(T, kE2m1[c] * scale);
      for (std::size_t i = 0; i < f.group_size; ++i) out[i] = table[codes[i]];
      continue;
    }
    const V s = hn::Set(d, scale);
    for (std::size_t i = 0; i < f.group_size; i += hn::Lanes(d)) {
      const auto c = hn::BitCast(du, hn::PromoteTo(di, hn::LoadU(d8, codes + i)));
      const auto magnitude = hn::ShiftLeft<20>(hn::And(c, hn::Set(du, 0x7fu)));
      const V a = hn::Mul(hn::BitCast(d, magnitude), hn::Set(d, 0x1p120f));
      const auto sign = hn::ShiftLeft<24>(hn::And(c, hn::Set(du, 0x80u)));
      const V x = hn::BitCast(d, hn::Or(hn::BitCast(du, a), sign));
      hn::StoreU(RoundToAny<T>(d, hn::Mul(x, s)), d, out + i);
    }
  }
}

void Dequantize(const QuantFormat& f, DType dtype, const QuantizedInput& in, std::size_t groups,
                float* out) {
  if (dtype == DType::F32) return DequantizeT<DType::F32>(f, in, groups, out);
  if (dtype == DType::F16) return DequantizeT<DType::F16>(f, in, groups, out);
  return DequantizeT<DType::BF16>(f, in, groups, out);
}

const char* Target() { return hwy::TargetName(HWY_TARGET); }

}  // namespace HWY_NAMESPACE
}  // namespace wb::quant
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace wb {

namespace quant {
HWY_EXPORT(Quantize);
HWY_EXPORT(Dequantize);
HWY_EXPORT(Target);
}  // namespace quant

std::size_t quantize_groups(const QuantFormat& format, DType dtype, const std::byte* values,
                            std::size_t groups, const QuantizedGroups& out) {
  WB_CHECK(is_quantizable(dtype));
  using namespace quant;
  return HWY_DYNAMIC_DISPATCH(Quantize)(format, dtype, values, groups, out);
}

void dequantize_groups(const QuantFormat& format, DType dtype, const QuantizedInput& in,
                       std::size_t groups, float* out) {
  WB_CHECK(is_quantizable(dtype));
  using namespace quant;
  HWY_DYNAMIC_DISPATCH(Dequantize)(format, dtype, in, groups, out);
}

const char* quantize_target() {
  using namespace quant;
  return HWY_DYNAMIC_DISPATCH(Target)();
}

}  // namespace wb
#endif
