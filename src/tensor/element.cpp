// Element conversion; see element.h. The loops are written so that the compiler
// vectorises them; every conversion goes through one exact f32 or f64 value.
#include "tensor/element.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "tensor/kernels.h"

namespace wb {

float f16_to_f32(std::uint16_t b) {
  std::uint32_t sign = std::uint32_t{b & 0x8000u} << 16;
  std::uint32_t exponent = (b >> 10) & 31u, mantissa = b & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24, exact in f32
    float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

std::uint16_t f32_to_f16(float value) {
  std::uint32_t b = std::bit_cast<std::uint32_t>(value);
  std::uint32_t sign = (b >> 16) & 0x8000u;
  std::uint32_t magnitude = b & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // >= 65520
  if (magnitude < 0x38800000u) {  // below 2^-14: count steps of 2^-24, ties to even
    float steps = std::bit_cast<float>(magnitude) * 0x1p24f;
    return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(std::nearbyintf(steps)));
  }
  std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

float bf16_to_f32(std::uint16_t b) { return std::bit_cast<float>(std::uint32_t{b} << 16); }

std::uint16_t f32_to_bf16(float value) {
  std::uint32_t b = std::bit_cast<std::uint32_t>(value);
  if ((b & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((b >> 16) | 0x40u);
  return static_cast<std::uint16_t>((b + 0x7fffu + ((b >> 16) & 1u)) >> 16);
}

float f8_e5m2_to_f32(std::uint8_t b) { return f16_to_f32(static_cast<std::uint16_t>(b << 8)); }

float f8_e4m3_to_f32(std::uint8_t b) {
  unsigned exponent = (b >> 3) & 15u, mantissa = b & 7u;
  float magnitude = 0;
  if (exponent == 15 && mantissa == 7) {
    magnitude = std::numeric_limits<float>::quiet_NaN();
  } else if (exponent == 0) {
    magnitude = static_cast<float>(mantissa) * 0x1p-9f;
  } else {
    magnitude = std::ldexp(static_cast<float>(8 + mantissa), static_cast<int>(exponent) - 10);
  }
  return (b & 0x80u) != 0 ? -magnitude : magnitude;
}

namespace {

template <class T>
T load(const std::byte* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
void store(std::byte* p, T v) {
  std::memcpy(p, &v, sizeof v);
}

// f64 -> f32 rounded to odd: a second rounding to fewer bits is then as if from f64.
float to_f32_odd(double value) {
  float nearest = static_cast<float>(value);
  if (!std::isfinite(nearest) || static_cast<double>(nearest) == value) return nearest;
  std::uint32_t b = std::bit_cast<std::uint32_t>(nearest);
  bool away = std::fabs(static_cast<double>(nearest)) > std::fabs(value);
  if (away) --b;  // truncated towards zero
  return std::bit_cast<float>(b | 1u);
}

// Reads element i as double (exact for all but the largest 64-bit integers).
template <class Read, class Write>
void loop(const std::byte* in, unsigned in_size, std::byte* out, unsigned out_size, std::size_t n,
          Read read, Write write) {
  for (std::size_t i = 0; i < n; ++i) write(out + i * out_size, read(in + i * in_size));
}

template <class Read>
void to_any(DType to, const std::byte* in, unsigned in_size, std::byte* out, std::size_t n,
            Read read) {
  using Value = decltype(read(in));
  constexpr bool wide = std::is_same_v<Value, double>;
  auto narrow = [](Value v) {
    if constexpr (wide)
      return to_f32_odd(v);
    else
      return v;
  };
  switch (to) {
    case DType::F32:
      return loop(in, in_size, out, 4, n, read,
                  [](std::byte* p, Value v) { store(p, static_cast<float>(v)); });
    case DType::F64:
      return loop(in, in_size, out, 8, n, read,
                  [](std::byte* p, Value v) { store(p, static_cast<double>(v)); });
    case DType::F16:
      return loop(in, in_size, out, 2, n, read,
                  [&](std::byte* p, Value v) { store(p, f32_to_f16(narrow(v))); });
    case DType::BF16:
      return loop(in, in_size, out, 2, n, read,
                  [&](std::byte* p, Value v) { store(p, f32_to_bf16(narrow(v))); });
    default:
      WB_BUG("convert_elements: not a target dtype");
  }
}

template <class T>
auto integer_reader() {
  return [](const std::byte* p) { return static_cast<double>(load<T>(p)); };
}

}  // namespace

bool can_convert(DType from, DType to) {
  bool target = to == DType::F32 || to == DType::F64 || to == DType::F16 || to == DType::BF16;
  switch (from) {
    case DType::F4:
    case DType::F6_E2M3:
    case DType::F6_E3M2:
    case DType::F8_E8M0:
    case DType::F8_E4M3FNUZ:
    case DType::F8_E5M2FNUZ:
    case DType::C64:
      return false;
    default:
      return target;
  }
}

void convert_elements(DType from, const std::byte* in, DType to, std::byte* out, std::size_t n) {
  if (is_fast_pair(from, to)) return convert_elements_fast(from, in, to, out, n);
  convert_elements_plain(from, in, to, out, n);
}

void convert_elements_plain(DType from, const std::byte* in, DType to, std::byte* out,
                            std::size_t n) {
  if (from == to) {
    std::memcpy(out, in, n * item_size(from));
    return;
  }
  auto f8 = [&](auto decode) {
    std::array<float, 256> table{};
    for (unsigned i = 0; i < 256; ++i) table[i] = decode(static_cast<std::uint8_t>(i));
    to_any(to, in, 1, out, n, [&](const std::byte* p) { return table[load<std::uint8_t>(p)]; });
  };
  switch (from) {
    case DType::F32:
      return to_any(to, in, 4, out, n, load<float>);
    case DType::F64:
      return to_any(to, in, 8, out, n, load<double>);
    case DType::F16:
      return to_any(to, in, 2, out, n,
                    [](const std::byte* p) { return f16_to_f32(load<std::uint16_t>(p)); });
    case DType::BF16:
      return to_any(to, in, 2, out, n,
                    [](const std::byte* p) { return bf16_to_f32(load<std::uint16_t>(p)); });
    case DType::F8_E5M2:
      return f8(f8_e5m2_to_f32);
    case DType::F8_E4M3:
      return f8(f8_e4m3_to_f32);
    case DType::Bool:
      return to_any(to, in, 1, out, n,
                    [](const std::byte* p) { return load<std::uint8_t>(p) != 0 ? 1.0f : 0.0f; });
    case DType::U8:
      return to_any(to, in, 1, out, n, integer_reader<std::uint8_t>());
    case DType::I8:
      return to_any(to, in, 1, out, n, integer_reader<std::int8_t>());
    case DType::U16:
      return to_any(to, in, 2, out, n, integer_reader<std::uint16_t>());
    case DType::I16:
      return to_any(to, in, 2, out, n, integer_reader<std::int16_t>());
    case DType::U32:
      return to_any(to, in, 4, out, n, integer_reader<std::uint32_t>());
    case DType::I32:
      return to_any(to, in, 4, out, n, integer_reader<std::int32_t>());
    case DType::U64:
      return to_any(to, in, 8, out, n, integer_reader<std::uint64_t>());
    case DType::I64:
      return to_any(to, in, 8, out, n, integer_reader<std::int64_t>());
    default:
      WB_BUG("convert_elements: not a source dtype");
  }
}

}  // namespace wb
