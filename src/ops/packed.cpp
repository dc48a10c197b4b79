// The plain forms, one value at a time and sums in f64, and the choice of kernel; see packed.h.
#include "ops/packed.h"

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "ops/packed_kernels.h"
#include "tensor/element.h"

namespace wb::ops {

namespace {

template <class T>
T load(const std::byte* p, std::size_t i) {
  T v;
  std::memcpy(&v, p + i * sizeof(T), sizeof(T));
  return v;
}

double small_float(unsigned code, unsigned exponent_bits, unsigned mantissa_bits, int bias) {
  const unsigned mantissa = code & ((1u << mantissa_bits) - 1);
  const unsigned exponent = (code >> mantissa_bits) & ((1u << exponent_bits) - 1);
  const bool negative = ((code >> (mantissa_bits + exponent_bits)) & 1u) != 0;
  const double whole = exponent == 0 ? 0.0 : 1.0;
  const double fraction =
      whole + std::ldexp(static_cast<double>(mantissa), -static_cast<int>(mantissa_bits));
  const double v = std::ldexp(fraction, static_cast<int>(exponent == 0 ? 1 : exponent) - bias);
  return negative ? -v : v;
}

double scale_at(ScaleType type, const std::byte* p, std::size_t i) {
  switch (type) {
    case ScaleType::f32:
      return static_cast<double>(load<float>(p, i));
    case ScaleType::f16:
      return static_cast<double>(f16_to_f32(load<std::uint16_t>(p, i)));
    case ScaleType::bf16:
      return static_cast<double>(bf16_to_f32(load<std::uint16_t>(p, i)));
    case ScaleType::e8m0:
      return std::ldexp(1.0, static_cast<int>(load<std::uint8_t>(p, i)) - 127);
    case ScaleType::e4m3:
      return small_float(load<std::uint8_t>(p, i), 4, 3, 7);
  }
  WB_BUG("a scale type without a decoder");
}

unsigned code_at(const std::byte* row, std::size_t i, unsigned bits) {
  unsigned code = 0;
  for (unsigned b = 0; b < bits; ++b) {
    const std::size_t at = i * bits + b;
    code |= ((static_cast<unsigned>(row[at / 8]) >> (at % 8)) & 1u) << b;
  }
  return code;
}

double value_at(const PackedMatrix& w, std::size_t r, std::size_t i) {
  const std::byte* row = w.row(r);
  switch (w.packing) {
    case Packing::f32:
      return static_cast<double>(load<float>(row, i));
    case Packing::f16:
      return static_cast<double>(f16_to_f32(load<std::uint16_t>(row, i)));
    case Packing::bf16:
      return static_cast<double>(bf16_to_f32(load<std::uint16_t>(row, i)));
    case Packing::affine:
    case Packing::e2m1:
    case Packing::e4m3:
      break;
  }
  const std::size_t group = i / w.group, from = w.stored(r) * w.scale_bytes;
  const double scale = scale_at(w.scale_type, w.scales + from, group);
  const unsigned code = code_at(row, i, w.bits);
  if (w.packing == Packing::e2m1) return small_float(code, 2, 1, 1) * scale;
  if (w.packing == Packing::e4m3) return small_float(code, 4, 3, 7) * scale;
  return static_cast<double>(code) * scale + scale_at(w.scale_type, w.biases + from, group);
}

}  // namespace

std::uint64_t PackedMatrix::bytes() const {
  const std::uint64_t groups = grouped() ? in / group : 0;
  const std::uint64_t size = scale_type == ScaleType::f32                                    ? 4
                             : scale_type == ScaleType::f16 || scale_type == ScaleType::bf16 ? 2
                                                                                             : 1;
  return out * (in * bits / 8 + groups * size * (biases != nullptr ? 2 : 1));
}

void prepare(const PackedMatrix& like, const float* x, PackedInput& input) {
  input.x = x;
  input.digits.clear();
  if (!like.grouped()) return;
  if (has_digits(like)) return prepare_digits(like, x, input);
  prepare_grouped(like, x, input);
}
void multiply(const PackedMatrix& w, const PackedInput& x, std::size_t begin, std::size_t end,
              float* y) {
  if (begin >= end) return;
  if (!x.digits.empty()) return multiply_digits(w, x, begin, end, y);
  if (w.grouped()) return multiply_grouped(w, x, begin, end, y);
  multiply_dense(w, x.x, begin, end, y);
}
void ask_for(const PackedMatrix& w, std::size_t row) {
  constexpr std::size_t kLine = 64, kLines = 16, kScaleLines = 2;
  const auto ask = [](const std::byte* p, std::size_t lines) {
    for (std::size_t i = 0; i < lines; ++i) __builtin_prefetch(p + i * kLine);
  };
  ask(w.row(row), kLines);
  if (!w.grouped()) return;
  ask(w.scales + w.stored(row) * w.scale_bytes, kScaleLines);
  if (w.biases != nullptr) ask(w.biases + w.stored(row) * w.scale_bytes, kScaleLines);
}
void sum_rows(const PackedMatrix& w, const float* q, std::size_t begin, std::size_t end, float* y) {
  if (w.grouped()) return sum_grouped(w, q, begin, end, y);
  sum_dense(w, q, begin, end, y);
}
void unpack(const PackedMatrix& w, std::size_t begin, std::size_t end, float* out) {
  if (w.grouped()) return unpack_grouped(w, begin, end, out);
  unpack_dense(w, begin, end, out);
}

void multiply_plain(const PackedMatrix& w, const float* x, std::size_t begin, std::size_t end,
                    float* y) {
  for (std::size_t r = begin; r < end; ++r) {
    double sum = w.bias != nullptr ? static_cast<double>(w.bias[r]) : 0.0;
    for (std::size_t i = 0; i < w.in; ++i) sum += value_at(w, r, i) * static_cast<double>(x[i]);
    y[r] = static_cast<float>(sum);
  }
}

void sum_rows_plain(const PackedMatrix& w, const float* q, std::size_t begin, std::size_t end,
                    float* y) {
  for (std::size_t i = 0; i < w.in; ++i) {
    double sum = 0;
    for (std::size_t r = begin; r < end; ++r) {
      sum += value_at(w, r, i) * static_cast<double>(q[r - begin]);
    }
    y[i] = static_cast<float>(sum);
  }
}

void unpack_plain(const PackedMatrix& w, std::size_t begin, std::size_t end, double* out) {
  for (std::size_t r = begin; r < end; ++r) {
    for (std::size_t i = 0; i < w.in; ++i) out[(r - begin) * w.in + i] = value_at(w, r, i);
  }
}

}  // namespace wb::ops
