// Size arithmetic that cannot wrap. Every product or sum of sizes, offsets or
// counts that came from a file goes through here; a result that does not fit
// throws Code::size_overflow with the two operands. Sizes are unsigned 64-bit,
// and results are held below 2^63 so that they also fit off_t.
#pragma once

#include <cstdint>
#include <limits>

#include "base/error.h"

namespace wb {

inline constexpr std::uint64_t kMaxSize = std::uint64_t{1} << 63;

[[noreturn]] inline void throw_overflow(const char* op, std::uint64_t a, std::uint64_t b,
                                        const char* what) {
  throw Error(Code::size_overflow, std::string(what) + " does not fit 63 bits: " +
                                       std::to_string(a) + " " + op + " " + std::to_string(b))
      .advice("The file is damaged or hostile; get it again from its author.");
}

// `what` names the quantity for the message, e.g. "the tensor's byte size".
inline std::uint64_t checked_add(std::uint64_t a, std::uint64_t b, const char* what) {
  std::uint64_t r = 0;
  if (__builtin_add_overflow(a, b, &r) || r >= kMaxSize) throw_overflow("+", a, b, what);
  return r;
}
inline std::uint64_t checked_mul(std::uint64_t a, std::uint64_t b, const char* what) {
  std::uint64_t r = 0;
  if (__builtin_mul_overflow(a, b, &r) || r >= kMaxSize) throw_overflow("*", a, b, what);
  return r;
}
// a - b; a smaller a is an overflow too.
inline std::uint64_t checked_sub(std::uint64_t a, std::uint64_t b, const char* what) {
  if (b > a) throw_overflow("-", a, b, what);
  return a - b;
}
inline std::uint64_t round_up(std::uint64_t value, std::uint64_t multiple, const char* what) {
  return checked_add(value, multiple - 1, what) / multiple * multiple;
}

}  // namespace wb
