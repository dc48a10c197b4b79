// What a vector in digits and its products with codes agree on; see packed_digits.cpp. Internal to
// these two files of ops/.
#pragma once

#include <hwy/base.h>

#include <cstddef>

#if HWY_ARCH_X86_64
// g++ 12 takes what these headers leave undefined on purpose for a mistake.
#pragma GCC diagnostic push
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

// The processors that both are compiled for, whatever the rest is.
#define WB_DIGITS_ATTRIBUTES \
  "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vnni,avx2,fma,f16c"

namespace wb::ops {

// Vectors of codes that one load brings, at a byte for each code. A lane of 32 bits of all of them
// together has 4 * phases elements that follow each other, so that one scale serves it: with bits
// that divide a byte, byte i of phase p is element i * phases + p; else four of a lane are of one
// phase.
constexpr std::size_t digit_phases(unsigned bits) {
  return bits == 2 ? 4 : bits == 3 || bits == 4 ? 2 : 1;
}
// What is added to twice an e2m1 number, to make it a whole one that is not negative.
inline constexpr int kE2m1Offset = 12;

}  // namespace wb::ops
