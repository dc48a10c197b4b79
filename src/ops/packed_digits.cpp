// Products of packed codes in whole numbers, for processors with AVX-512 VBMI and VNNI; see
// packed_kernels.h. An instruction of theirs multiplies 64 codes of a byte each by 64 small
// numbers and sums them by fours. So a vector is written, once for all rows, in units of its own
// for each group of weights (a power of two), rounded to 24 bits, and taken apart into three
// digits of a byte; the sums of codes times digits are exact, and meet the group's scale at the
// end. That takes half of the steps that numbers in f32 take, and no precision that f32 has to
// give: an input is rounded once, by 2^-22 of the largest of its group at most.
#include <algorithm>
#include <array>

#include "ops/packed_digits.h"
#include "ops/packed_kernels.h"

#define HWY_WANT_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/packed_digits.cpp"
#include <hwy/foreach_target.h>
// Below the line above, the file is compiled again for each target.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace wb::ops {
namespace HWY_NAMESPACE {

// Highway has no name for these instructions; what is left to it is whether they are there.
std::int64_t Chosen() { return HWY_TARGET; }

}  // namespace HWY_NAMESPACE
}  // namespace wb::ops
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#if HWY_ARCH_X86_64

HWY_PUSH_ATTRIBUTES(WB_DIGITS_ATTRIBUTES)
namespace wb::ops {
namespace {

using Bytes = __m512i;

template <unsigned kBits>
constexpr std::size_t kPhases = digit_phases(kBits);
// Rows of at most as many bytes are multiplied side by side. Codes are asked for by so many bytes
// before they are needed, a line at each step: half of the time went by in waiting for them, since
// the processor does not look past the end of a page by itself.
constexpr std::size_t kShortRow = 640, kAhead = 4096;

HWY_INLINE void ask_for(const std::byte* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
}

// The codes of 64 * kPhases elements, a byte each; see digit_phases().
template <std::size_t kPhases>
struct Codes {
  Bytes phase[kPhases];
};

// For bits that do not divide a byte: where the bytes of each eighth of a vector come from, and
// the bit of it at which the codes of phase kPhase begin.
template <unsigned kBits>
HWY_INLINE Bytes places() {
  alignas(64) static constexpr auto kTable = [] {
    std::array<std::uint8_t, 64> t{};
    constexpr unsigned kBytes = kPhases<kBits> * kBits;
    for (unsigned i = 0; i < 64; ++i) {
      t[i] = static_cast<std::uint8_t>(std::min(i / 8 * kBytes + i % 8, 63u));
    }
    return t;
  }();
  return _mm512_load_si512(kTable.data());
}
template <unsigned kBits, unsigned kPhase>
HWY_INLINE Bytes shifts() {
  alignas(64) static constexpr auto kTable = [] {
    std::array<std::uint8_t, 64> t{};
    for (unsigned i = 0; i < 64; ++i) {
      const unsigned element = (i / 4 % 2 * kPhases<kBits> + kPhase) * 4 + i % 4;
      t[i] = static_cast<std::uint8_t>(element * kBits);
    }
    return t;
  }();
  return _mm512_load_si512(kTable.data());
}

template <Packing kPacking, unsigned kBits>
HWY_INLINE Codes<kPhases<kBits>> codes_at(const std::byte* p, __mmask64 bytes) {
  const Bytes w = _mm512_maskz_loadu_epi8(bytes, p);
  if constexpr (kPacking == Packing::e2m1) {
    // Twice the numbers 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives, plus the offset.
    const Bytes numbers = _mm512_broadcast_i32x4(
        _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
    const Bytes low = _mm512_set1_epi8(15);
    return {{_mm512_shuffle_epi8(numbers, _mm512_and_si512(w, low)),
             _mm512_shuffle_epi8(numbers, _mm512_and_si512(_mm512_srli_epi16(w, 4), low))}};
  } else if constexpr (kBits == 8) {
    return {{w}};
  } else if constexpr (kBits == 4) {
    const Bytes low = _mm512_set1_epi8(15);
    return {{_mm512_and_si512(w, low), _mm512_and_si512(_mm512_srli_epi16(w, 4), low)}};
  } else if constexpr (kBits == 2) {
    const Bytes low = _mm512_set1_epi8(3);
    return {{_mm512_and_si512(w, low), _mm512_and_si512(_mm512_srli_epi16(w, 2), low),
             _mm512_and_si512(_mm512_srli_epi16(w, 4), low),
             _mm512_and_si512(_mm512_srli_epi16(w, 6), low)}};
  } else {
    const Bytes eighths = _mm512_permutexvar_epi8(places<kBits>(), w);
    const Bytes low = _mm512_set1_epi8((1 << kBits) - 1);
    const Bytes first = _mm512_multishift_epi64_epi8(shifts<kBits, 0>(), eighths);
    if constexpr (kPhases<kBits> == 1) {
      return {{_mm512_and_si512(first, low)}};
    } else {
      const Bytes second = _mm512_multishift_epi64_epi8(shifts<kBits, 1>(), eighths);
      return {{_mm512_and_si512(first, low), _mm512_and_si512(second, low)}};
    }
  }
}

// Up to 16 scales.
template <ScaleType kType>
HWY_INLINE __m512 scales_at(const std::byte* p, std::size_t first, __mmask16 some) {
  if constexpr (kType == ScaleType::f32) {
    return _mm512_maskz_loadu_ps(some, reinterpret_cast<const float*>(p) + first);
  } else if constexpr (kType == ScaleType::f16) {
    return _mm512_cvtph_ps(
        _mm256_maskz_loadu_epi16(some, reinterpret_cast<const std::uint16_t*>(p) + first));
  } else if constexpr (kType == ScaleType::bf16) {
    const __m256i bits =
        _mm256_maskz_loadu_epi16(some, reinterpret_cast<const std::uint16_t*>(p) + first);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  } else {
    const __m128i bits =
        _mm_maskz_loadu_epi8(some, reinterpret_cast<const std::uint8_t*>(p) + first);
    const __m512i code = _mm512_cvtepu8_epi32(bits);
    if constexpr (kType == ScaleType::e8m0) {
      const __m512i exponent = _mm512_slli_epi32(code, 23);  // 2^(code - 127), but for 0
      const __mmask16 least = _mm512_testn_epi32_mask(code, code);
      return _mm512_castsi512_ps(
          _mm512_mask_mov_epi32(exponent, least, _mm512_set1_epi32(0x00400000)));
    } else {
      const __m512i number =
          _mm512_or_si512(_mm512_slli_epi32(_mm512_and_si512(code, _mm512_set1_epi32(0x7f)), 20),
                          _mm512_slli_epi32(_mm512_and_si512(code, _mm512_set1_epi32(0x80)), 24));
      return _mm512_mul_ps(_mm512_castsi512_ps(number), _mm512_set1_ps(0x1p120f));
    }
  }
}

// One of the rows that are multiplied side by side.
struct Row {
  const std::byte *data, *scales, *biases;
  Row(const PackedMatrix& w, std::size_t r) {
    const std::size_t s = w.stored(r);
    data = w.data + s * w.row_bytes;
    scales = w.scales + s * w.scale_bytes;
    biases = w.biases + (w.biases != nullptr ? s * w.scale_bytes : 0);
  }
};

// Codes times inputs, summed by lanes, in units of the inputs' own. Sums of one digit are exact,
// and so are those of all three in 32 bits, but for 8 bits: there the largest digit is apart.
template <Packing kPacking, unsigned kBits>
HWY_INLINE __m512 sums_of(const Codes<kPhases<kBits>>& c, const DigitBlock* digits,
                          const __m512i offset) {
  constexpr std::size_t kP = kPhases<kBits>;
  __m512i sum = _mm512_setzero_si512();
  for (std::size_t p = 0; p < kP; ++p) {
    sum = _mm512_dpbusd_epi32(sum, c.phase[p], _mm512_load_si512(digits + p));
  }
  __m512 large = _mm512_setzero_ps();
  if constexpr (kBits == 8) {
    large = _mm512_cvtepi32_ps(sum);
    sum = _mm512_setzero_si512();
  } else {
    sum = _mm512_slli_epi32(sum, 8);
  }
  for (std::size_t p = 0; p < kP; ++p) {
    sum = _mm512_dpbusd_epi32(sum, c.phase[p], _mm512_load_si512(digits + kP + p));
  }
  sum = _mm512_slli_epi32(sum, 8);
  for (std::size_t p = 0; p < kP; ++p) {
    sum = _mm512_dpbusd_epi32(sum, c.phase[p], _mm512_load_si512(digits + 2 * kP + p));
  }
  if constexpr (kPacking == Packing::e2m1) sum = _mm512_add_epi32(sum, offset);
  const __m512 all = _mm512_cvtepi32_ps(sum);
  if constexpr (kBits != 8) return all;
  return _mm512_fmadd_ps(large, _mm512_set1_ps(0x1p16f), all);
}

// What the rows have in common.
template <Packing kPacking, unsigned kBits>
struct Frame {
  static constexpr std::size_t kStep = 64 * kPhases<kBits>;     // elements at a time
  static constexpr std::size_t kStepBytes = kStep * kBits / 8;  // of codes
  std::size_t in, groups;
  std::size_t scales_ahead;  // bytes of scales that go with kAhead bytes of codes
  unsigned group_shift;
  const PackedInput* x;
};

// The products of kRows rows side by side, spread over the lanes: they share the digits' loads.
template <std::size_t kRows>
struct Sums {
  __m512 row[kRows];
};
template <Packing kPacking, unsigned kBits, ScaleType kType, std::size_t kRows>
HWY_INLINE Sums<kRows> row_sums(const Frame<kPacking, kBits>& f, const Row* rows) {
  using F = Frame<kPacking, kBits>;
  constexpr std::size_t kP = kPhases<kBits>;
  const DigitBlock* digits = f.x->digits.data();
  // The element of a step at which a lane begins.
  const __m512i lanes = _mm512_slli_epi32(
      _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), kP == 4   ? 4
                                                                               : kP == 2 ? 3
                                                                                         : 2);
  const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(f.group_shift));
  Sums<kRows> sum;
  __m512 scales[kRows];
#pragma GCC unroll 4
  for (std::size_t i = 0; i < kRows; ++i) sum.row[i] = _mm512_setzero_ps();
  std::size_t at = 0, byte = 0;
  for (std::size_t g = 0; g < f.groups; g += 16) {
    const std::size_t n = std::min<std::size_t>(16, f.groups - g);
    const __mmask16 some = static_cast<__mmask16>((1u << n) - 1);
    const __m512 units = _mm512_maskz_loadu_ps(some, f.x->units.data() + g);
    const __m512 inputs = _mm512_maskz_loadu_ps(some, f.x->sums.data() + g);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kRows; ++i) {
      ask_for(rows[i].scales + f.scales_ahead);
      if constexpr (kPacking == Packing::affine) ask_for(rows[i].biases + f.scales_ahead);
      scales[i] = _mm512_mul_ps(scales_at<kType>(rows[i].scales, g, some), units);
      if constexpr (kPacking == Packing::affine) {
        sum.row[i] = _mm512_fmadd_ps(scales_at<kType>(rows[i].biases, g, some), inputs, sum.row[i]);
      }
    }
    const std::size_t end = std::min(f.in, (g + 16) << f.group_shift);
    __m512i element = lanes;
    for (; at < end; at += F::kStep, digits += 3 * kP, byte += F::kStepBytes) {
      __mmask64 bytes = ~std::uint64_t{0} >> (64 - F::kStepBytes);
      if (at + F::kStep > f.in) bytes = ~std::uint64_t{0} >> (64 - (f.in - at) * kBits / 8);
      __m512i offset = _mm512_setzero_si512();
      if constexpr (kPacking == Packing::e2m1) {
        offset = _mm512_loadu_si512(f.x->offsets.data() + at / F::kStep * 16);
      }
      const __m512i group = _mm512_srl_epi32(element, shift);
#pragma GCC unroll 4
      for (std::size_t i = 0; i < kRows; ++i) {
        ask_for(rows[i].data + byte + kAhead);
        const __m512 part = sums_of<kPacking, kBits>(
            codes_at<kPacking, kBits>(rows[i].data + byte, bytes), digits, offset);
        sum.row[i] = _mm512_fmadd_ps(part, _mm512_permutexvar_ps(group, scales[i]), sum.row[i]);
      }
      element = _mm512_add_epi32(element, _mm512_set1_epi32(F::kStep));
    }
  }
  return sum;
}

// The sum of the lanes of each, by pairs across the four; all four add in the same order.
HWY_INLINE void sum_each(__m512 a, __m512 b, __m512 c, __m512 d, float* out) {
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const __m512d ab2 = _mm512_castps_pd(ab), cd2 = _mm512_castps_pd(cd);
  const __m512 abcd = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(ab2, cd2)),
                                    _mm512_castpd_ps(_mm512_unpackhi_pd(ab2, cd2)));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(abcd), _mm512_extractf32x8_ps(abcd, 1));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}

// Four rows, kRows at a time.
template <Packing kPacking, unsigned kBits, ScaleType kType, std::size_t kRows>
HWY_INLINE void four_rows(const Frame<kPacking, kBits>& f, const Row* rows, float* out) {
  __m512 sums[4];
#pragma GCC unroll 4
  for (std::size_t i = 0; i < 4; i += kRows) {
    const Sums<kRows> some = row_sums<kPacking, kBits, kType, kRows>(f, rows + i);
#pragma GCC unroll 4
    for (std::size_t j = 0; j < kRows; ++j) sums[i + j] = some.row[j];
  }
  sum_each(sums[0], sums[1], sums[2], sums[3], out);
}

// Long rows one after the other, as one stream, which memory gives best. Few bits take so many
// steps for a byte that rows side by side are faster, since they share the loads of the digits;
// short rows side by side are near one stream. Asking past the end does no harm. What is best was
// measured on whole models (docs/speed.md).
template <Packing kPacking, unsigned kBits, ScaleType kType>
void rows_of(const PackedMatrix& w, const PackedInput& x, std::size_t r, std::size_t end,
             float* y) {
  Frame<kPacking, kBits> f;
  f.in = w.in;
  f.groups = w.in / w.group;
  f.scales_ahead = kAhead * w.scale_bytes / w.row_bytes;
  f.group_shift = static_cast<unsigned>(__builtin_ctzll(w.group));
  f.x = &x;
  const bool together = kBits < 6 && w.row_bytes <= kShortRow;
  const std::size_t last = end - 1;  // stands in for rows past the end
  for (; r < end; r += 4) {
    const Row rows[4] = {Row(w, r), Row(w, std::min(r + 1, last)), Row(w, std::min(r + 2, last)),
                         Row(w, std::min(r + 3, last))};
    float four[4];
    together ? four_rows<kPacking, kBits, kType, 4>(f, rows, four)
             : four_rows<kPacking, kBits, kType, 1>(f, rows, four);
    for (std::size_t i = 0; i < 4 && r + i < end; ++i) {
      y[r + i] = four[i] + (w.bias != nullptr ? w.bias[r + i] : 0.0f);
    }
  }
}

template <ScaleType kType>
void affine_rows(const PackedMatrix& w, const PackedInput& x, std::size_t begin, std::size_t end,
                 float* y) {
  switch (w.bits) {
    case 2:
      return rows_of<Packing::affine, 2, kType>(w, x, begin, end, y);
    case 3:
      return rows_of<Packing::affine, 3, kType>(w, x, begin, end, y);
    case 4:
      return rows_of<Packing::affine, 4, kType>(w, x, begin, end, y);
    case 5:
      return rows_of<Packing::affine, 5, kType>(w, x, begin, end, y);
    case 6:
      return rows_of<Packing::affine, 6, kType>(w, x, begin, end, y);
    default:
      return rows_of<Packing::affine, 8, kType>(w, x, begin, end, y);
  }
}

}  // namespace
}  // namespace wb::ops
HWY_POP_ATTRIBUTES
#endif  // HWY_ARCH_X86_64

namespace wb::ops {

HWY_EXPORT(Chosen);

const char* packed_target() { return hwy::TargetName(HWY_DYNAMIC_DISPATCH(Chosen)()); }

#if HWY_ARCH_X86_64
bool has_digits(const PackedMatrix& w) {
  return (w.packing == Packing::affine || w.packing == Packing::e2m1) &&
         HWY_DYNAMIC_DISPATCH(Chosen)() == HWY_AVX3_DL;
}
void multiply_digits(const PackedMatrix& w, const PackedInput& x, std::size_t begin,
                     std::size_t end, float* y) {
  if (w.packing == Packing::e2m1) {
    if (w.scale_type == ScaleType::e8m0) {
      return rows_of<Packing::e2m1, 4, ScaleType::e8m0>(w, x, begin, end, y);
    }
    return rows_of<Packing::e2m1, 4, ScaleType::e4m3>(w, x, begin, end, y);
  }
  if (w.scale_type == ScaleType::f32) return affine_rows<ScaleType::f32>(w, x, begin, end, y);
  if (w.scale_type == ScaleType::f16) return affine_rows<ScaleType::f16>(w, x, begin, end, y);
  affine_rows<ScaleType::bf16>(w, x, begin, end, y);
}
#else
bool has_digits(const PackedMatrix&) { return false; }
void multiply_digits(const PackedMatrix&, const PackedInput&, std::size_t, std::size_t, float*) {}
#endif

}  // namespace wb::ops
#endif  // HWY_ONCE
