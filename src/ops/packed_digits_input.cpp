// A vector in digits, for processors with AVX-512 VBMI and VNNI; see packed_digits.cpp. Each group
// of weights has a unit of its own, a power of two; an element is a whole number of 24 bits of
// them, and three digits of -128 to 127 write it.
#include <algorithm>
#include <cstring>
#include <limits>

#include "ops/packed_digits.h"
#include "ops/packed_kernels.h"

#if HWY_ARCH_X86_64

HWY_PUSH_ATTRIBUTES(WB_DIGITS_ATTRIBUTES)
namespace wb::ops {
namespace {

// The power of two by which a group is multiplied to fill 24 bits, and its inverse. The largest
// that three digits of -128 to 127 can say is 0x7f7f7f. What is no number stays none.
struct Unit {
  float factor, unit;
};
Unit unit_of(std::uint32_t largest_bits) {
  const int exponent = static_cast<int>(largest_bits >> 23);
  if (exponent == 255) return {0.0f, std::numeric_limits<float>::quiet_NaN()};
  int up = std::min(22 + 127 - exponent, 126);
  const auto power = [](int n) {
    const std::uint32_t bits = static_cast<std::uint32_t>(n + 127) << 23;
    float out;
    std::memcpy(&out, &bits, sizeof out);
    return out;
  };
  float largest;
  std::memcpy(&largest, &largest_bits, sizeof largest);
  if (largest * power(up) > static_cast<float>(0x7f7f7f)) --up;
  return {power(up), power(-up)};
}

// Digit `place` (2 is the largest) of 16 elements from `i` on to their places in the blocks.
HWY_INLINE void put_digits(__m512i digit, std::size_t place, std::size_t i, unsigned bits,
                           DigitBlock* blocks) {
  const std::size_t per = digit_phases(bits);
  const __m128i bytes = _mm512_cvtepi32_epi8(digit);
  DigitBlock* to = blocks + i / (64 * per) * 3 * per + (2 - place) * per;
  const std::size_t at = i % (64 * per) / per;
  if (per == 1) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to->digit + at), bytes);
  } else if (per == 2) {
    const __m128i order = bits == 4
                              ? _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15)
                              : _mm_setr_epi8(0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15);
    const __m128i apart = _mm_shuffle_epi8(bytes, order);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to[0].digit + at), apart);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to[1].digit + at),
                     _mm_unpackhi_epi64(apart, apart));
  } else {
    const __m128i apart = _mm_shuffle_epi8(
        bytes, _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    alignas(16) std::int8_t each[16];
    _mm_store_si128(reinterpret_cast<__m128i*>(each), apart);
    for (std::size_t p = 0; p < 4; ++p) std::memcpy(to[p].digit + at, each + 4 * p, 4);
  }
}

void write_digits(const PackedMatrix& like, const float* x, PackedInput& input) {
  const std::size_t per = digit_phases(like.bits), groups = like.in / like.group;
  const std::size_t step = 64 * per, steps = (like.in + step - 1) / step;
  input.digits.assign(steps * 3 * per, DigitBlock{});  // zeros past the end of the row
  input.units.resize(groups);
  input.sums.resize(groups);
  const bool offset = like.packing == Packing::e2m1;
  input.offsets.assign(offset ? steps * 16 : 0, 0);
  for (std::size_t g = 0; g < groups; ++g) {
    const std::size_t begin = g * like.group, end = begin + like.group;
    __m512i largest = _mm512_setzero_si512();
    __m512d sum = _mm512_setzero_pd();
    for (std::size_t i = begin; i < end; i += 16) {
      const __m512 v = _mm512_loadu_ps(x + i);
      largest = _mm512_max_epu32(
          largest, _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff)));
      sum = _mm512_add_pd(sum, _mm512_cvtps_pd(_mm512_castps512_ps256(v)));
      sum = _mm512_add_pd(sum, _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)));
    }
    const Unit unit = unit_of(_mm512_reduce_max_epu32(largest));
    // Twice an e2m1 number is what is multiplied.
    input.units[g] = offset ? 0.5f * unit.unit : unit.unit;
    input.sums[g] = static_cast<float>(_mm512_reduce_add_pd(sum));
    for (std::size_t i = begin; i < end; i += 16) {
      const __m512i whole =
          _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(unit.factor)));
      const __m512i d0 = _mm512_srai_epi32(_mm512_slli_epi32(whole, 24), 24);
      const __m512i rest = _mm512_srai_epi32(_mm512_sub_epi32(whole, d0), 8);
      const __m512i d1 = _mm512_srai_epi32(_mm512_slli_epi32(rest, 24), 24);
      const __m512i d2 = _mm512_srai_epi32(_mm512_sub_epi32(rest, d1), 8);
      put_digits(d0, 0, i, like.bits, input.digits.data());
      put_digits(d1, 1, i, like.bits, input.digits.data());
      put_digits(d2, 2, i, like.bits, input.digits.data());
      if (!offset) continue;
      alignas(64) std::int32_t each[16];
      _mm512_store_si512(each, whole);
      for (std::size_t j = 0; j < 16; ++j) {
        // A lane of a step has 4 * per elements. What is no number has the least whole one, times
        // an offset that means nothing, and may wrap.
        std::int32_t& lane = input.offsets[(i + j) / (4 * per)];
        lane = static_cast<std::int32_t>(static_cast<std::uint32_t>(lane) -
                                         kE2m1Offset * static_cast<std::uint32_t>(each[j]));
      }
    }
  }
}

}  // namespace

void prepare_digits(const PackedMatrix& like, const float* x, PackedInput& input) {
  write_digits(like, x, input);
}

}  // namespace wb::ops
HWY_POP_ATTRIBUTES
#else

namespace wb::ops {
void prepare_digits(const PackedMatrix&, const float*, PackedInput&) {}
}  // namespace wb::ops

#endif  // HWY_ARCH_X86_64
