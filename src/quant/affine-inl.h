// Affine groups in vectors, for each instruction set: extremes, scales and biases of many groups
// at once, codes. Included by simd.cpp only; plain.cpp is what it must equal.
#if defined(WB_QUANT_AFFINE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WB_QUANT_AFFINE_INL_H_
#undef WB_QUANT_AFFINE_INL_H_
#else
#define WB_QUANT_AFFINE_INL_H_
#endif

#include <algorithm>

#include "base/checked.h"
#include "quant/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace wb::quant {
namespace HWY_NAMESPACE {

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

}  // namespace HWY_NAMESPACE
}  // namespace wb::quant
HWY_AFTER_NAMESPACE();
#endif
