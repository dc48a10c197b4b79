// Every code of the half and 8-bit formats, and every rounding boundary between
// them, against the formats' definitions (value = mantissa * 2^exponent).
#include "tensor/element.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/error.h"
#include "tensor/read.h"
#include "tensor/tensor.h"
#include "unit/error_of.h"

namespace wb {
namespace {

// The value of a small float by definition; NaN for NaN codes, infinities where `has_inf`.
double decode(unsigned code, int exponent_bits, int mantissa_bits, bool has_inf) {
  int width = 1 + exponent_bits + mantissa_bits;
  unsigned mantissa = code & ((1u << mantissa_bits) - 1);
  int exponent = static_cast<int>((code >> mantissa_bits) & ((1u << exponent_bits) - 1));
  double sign = (code >> (width - 1)) != 0 ? -1.0 : 1.0;
  int bias = (1 << (exponent_bits - 1)) - 1, top = (1 << exponent_bits) - 1;
  if (exponent == top && has_inf) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  }
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

void expect_same(double expected, float got, unsigned code) {
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(got)) << code;
  } else {
    EXPECT_EQ(std::bit_cast<std::uint32_t>(static_cast<float>(expected)),
              std::bit_cast<std::uint32_t>(got))
        << code;
  }
}

TEST(Element, EveryCodeDecodesByDefinition) {
  for (unsigned c = 0; c < 65536; ++c) {
    expect_same(decode(c, 5, 10, true), f16_to_f32(static_cast<std::uint16_t>(c)), c);
    expect_same(decode(c, 8, 7, true), bf16_to_f32(static_cast<std::uint16_t>(c)), c);
  }
  for (unsigned c = 0; c < 256; ++c) {
    expect_same(decode(c, 5, 2, true), f8_e5m2_to_f32(static_cast<std::uint8_t>(c)), c);
    double e4m3 = (c & 0x7f) == 0x7f ? std::nan("") : decode(c, 4, 3, false);
    expect_same(e4m3, f8_e4m3_to_f32(static_cast<std::uint8_t>(c)), c);
  }
}

// Between neighbours a < b of the format: the midpoint goes to the even code, its f32
// neighbours to the nearer one. Covers every boundary, both signs.
template <class Encode>
void sweep(int exponent_bits, int mantissa_bits, Encode encode) {
  unsigned infinity = ((1u << exponent_bits) - 1) << mantissa_bits;
  for (unsigned c = 0; c < infinity; ++c) {
    double a = decode(c, exponent_bits, mantissa_bits, true);
    double b =
        c + 1 == infinity
            ? a + (a - decode(c - 1, exponent_bits, mantissa_bits, true))  // what would follow
            : decode(c + 1, exponent_bits, mantissa_bits, true);
    auto middle = static_cast<float>((a + b) / 2);
    if (!std::isfinite(middle)) continue;
    unsigned even = (c & 1u) == 0 ? c : c + 1;
    for (unsigned sign : {0u, 0x8000u}) {
      float s = sign != 0 ? -1.0f : 1.0f;
      ASSERT_EQ(encode(s * static_cast<float>(a)), c | sign);
      ASSERT_EQ(encode(s * middle), even | sign) << a;
      ASSERT_EQ(encode(s * std::nextafterf(middle, 0.0f)), c | sign) << a;
      ASSERT_EQ(encode(s * std::nextafterf(middle, INFINITY)), (c + 1) | sign) << a;
    }
  }
  EXPECT_EQ(encode(INFINITY), infinity);
  EXPECT_EQ(encode(-INFINITY), infinity | 0x8000u);
  EXPECT_GT(encode(std::nanf("")) & 0x7fffu, infinity);
}

TEST(Element, F16RoundsToNearestEvenEverywhere) { sweep(5, 10, f32_to_f16); }
TEST(Element, Bf16RoundsToNearestEvenEverywhere) { sweep(8, 7, f32_to_bf16); }

// f64 -> bf16 through f32 would round twice: 1 + 2^-8 + 2^-40 is above the midpoint of
// 1 and 1 + 2^-7, but its f32 neighbour is the midpoint itself.
TEST(Element, F64RoundsOnce) {
  for (double sign : {1.0, -1.0}) {
    double values[] = {sign * (1 + 0x1p-8 + 0x1p-40), sign * (1 + 0x1p-8),
                       sign * (1 + 0x1p-8 - 0x1p-40)};
    std::uint16_t out[3];
    convert_elements(DType::F64, reinterpret_cast<const std::byte*>(values), DType::BF16,
                     reinterpret_cast<std::byte*>(out), 3);
    unsigned s = sign < 0 ? 0x8000u : 0u;
    EXPECT_EQ(out[0], 0x3f81u | s);
    EXPECT_EQ(out[1], 0x3f80u | s);
    EXPECT_EQ(out[2], 0x3f80u | s);
  }
}

TEST(Element, IntegersAndBooleansWiden) {
  std::int64_t longs[] = {-3, 0, std::int64_t{1} << 40};
  std::vector<std::byte> raw(sizeof longs);
  std::memcpy(raw.data(), longs, sizeof longs);
  Tensor t = Tensor::stored("n", memory_storage(raw), DType::I64, {3});
  EXPECT_EQ(read_f32(t), (std::vector<float>{-3.0f, 0.0f, 0x1p40f}));
  Tensor b = Tensor::stored("b", memory_storage({std::byte{0}, std::byte{2}}), DType::Bool, {2});
  EXPECT_EQ(read_f32(b), (std::vector<float>{0.0f, 1.0f}));
}

TEST(Compute, MatmulIsTheRoundedWideProductForEveryRange) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  const std::uint64_t m = 37, k = 150, n = 29;
  std::vector<float> a(m * k), b(k * n);
  for (float& x : a) x = normal(random);
  for (float& x : b) x = normal(random);
  std::vector<float> expected(m * n);
  for (std::uint64_t i = 0; i < m; ++i) {
    for (std::uint64_t j = 0; j < n; ++j) {
      long double sum = 0;
      for (std::uint64_t l = 0; l < k; ++l)
        sum += static_cast<long double>(a[i * k + l]) * b[l * n + j];
      expected[i * n + j] = static_cast<float>(sum);
    }
  }
  Tensor product =
      Tensor::matmul(Tensor::values("a", a, {m, k}), Tensor::values("b", b, {k, n}), DType::F32);
  std::vector<float> got = read_f32(product);
  for (std::size_t i = 0; i < got.size(); ++i) {
    // f64 sums and long double sums may part by one rounding of f32.
    EXPECT_LE(std::fabs(got[i] - expected[i]), std::fabs(expected[i]) * 0x1p-23f + 1e-9f) << i;
  }
  for (auto [lo, hi] : {std::pair<std::uint64_t, std::uint64_t>{0, 1}, {28, 31}, {100, 1073}}) {
    std::vector<float> part(hi - lo);
    read_range(product, lo, hi, std::as_writable_bytes(std::span<float>(part)));
    EXPECT_TRUE(std::equal(part.begin(), part.end(), got.begin() + static_cast<long>(lo)));
  }
  // Transposed and sliced: gathered from the node.
  std::vector<float> columns = read_f32(product.transpose().slice(0, 3, 5));
  for (std::uint64_t i = 0; i < m; ++i) {
    EXPECT_EQ(columns[i], got[i * n + 3]);
    EXPECT_EQ(columns[m + i], got[i * n + 4]);
  }
}

// 1 + 2^-8 is half way between neighbours in bf16: the sum is rounded once, from f64, so a
// term of 2^-40 decides it.
TEST(Compute, AddSumsWideAndRoundsOnce) {
  Tensor a = Tensor::values("a", std::vector<float>{1.0f, 1.0f, 1.0f, -2.0f}, {2, 2});
  Tensor b = Tensor::values("b", std::vector<float>{0x1p-8f, 0x1p-8f, 3.0f, 2.0f}, {2, 2});
  Tensor tiny = Tensor::values("c", std::vector<float>{0x1p-40f, 0, 0, 0}, {2, 2});
  EXPECT_EQ(read_f32(Tensor::add(a, b, DType::BF16)), (std::vector<float>{1.0f, 1.0f, 4.0f, 0.0f}));
  Tensor wide = Tensor::add(b, tiny, DType::F64);
  EXPECT_EQ(read_f32(Tensor::add(a, wide, DType::BF16))[0], 1.0078125f);
  EXPECT_EQ(Tensor::add(a, b, DType::F32).sources(), (std::vector<std::string>{"a", "b"}));
  EXPECT_FALSE(Tensor::add(a, b, DType::F32).is_movement());
  EXPECT_THROW(Tensor::add(a, b.reshape({4}), DType::F32), Error);
}

TEST(Compute, ScaleRoundsOnceAndCastsCompose) {
  std::vector<float> x{1.0f, 3.0f, 1.0f / 3.0f};
  Tensor t = Tensor::values("x", x, {3});
  std::vector<float> scaled = read_f32(t.scale(0.1));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(scaled[static_cast<std::size_t>(i)],
              static_cast<float>(static_cast<double>(x[static_cast<std::size_t>(i)]) * 0.1));
  }
  EXPECT_EQ(read_f32(t.cast(DType::BF16)), (std::vector<float>{1.0f, 3.0f, 0.333984375f}));
  EXPECT_EQ(read_f32(Tensor::fill(DType::F16, {2}, 0.1)), std::vector<float>(2, 0.0999755859375f));
}

template <class T>
std::vector<float> widened(DType dtype, const std::vector<T>& values) {
  std::vector<std::byte> raw(values.size() * sizeof(T));
  std::memcpy(raw.data(), values.data(), raw.size());
  return read_f32(Tensor::stored("n", memory_storage(raw), dtype, {values.size()}));
}

TEST(Element, EveryIntegerTypeWidensFromBothItsEnds) {
  using std::vector;
  EXPECT_EQ(widened<std::uint8_t>(DType::U8, {0, 200}), (vector<float>{0, 200}));
  EXPECT_EQ(widened<std::int8_t>(DType::I8, {-128, 127}), (vector<float>{-128, 127}));
  EXPECT_EQ(widened<std::uint16_t>(DType::U16, {1, 65535}), (vector<float>{1, 65535}));
  EXPECT_EQ(widened<std::int16_t>(DType::I16, {-32768, 3}), (vector<float>{-32768, 3}));
  EXPECT_EQ(widened<std::uint32_t>(DType::U32, {7, 4294967295u}), (vector<float>{7, 0x1p32f}));
  EXPECT_EQ(widened<std::int32_t>(DType::I32, {-2147483647 - 1, 9}), (vector<float>{-0x1p31f, 9}));
  EXPECT_EQ(widened<std::uint64_t>(DType::U64, {~std::uint64_t{0}}), (vector<float>{0x1p64f}));
  EXPECT_EQ(widened<std::int64_t>(DType::I64, {INT64_MIN}), (vector<float>{-0x1p63f}));
}

// What takes part in arithmetic is of a floating type; the sentence says which did not.
TEST(Compute, TypesWithoutArithmeticAreRefused) {
  const Tensor x = Tensor::values("x", std::vector<float>{1, 2, 3, 4}, {2, 2});
  const Tensor complex =
      Tensor::stored("c", memory_storage(std::vector<std::byte>(32)), DType::C64, {2, 2});
  const Tensor ints = Tensor::fill(DType::I32, {2, 2}, 0.0);
  const auto sentence = [](auto work) {
    const Error error = error_of(work);
    EXPECT_EQ(code_name(error.code()), code_name(Code::dtype_unsupported));
    return error.sentence();
  };
  EXPECT_NE(sentence([&] { ints.scale(2.0); }).find("can be scaled, not I32"), std::string::npos);
  EXPECT_NE(sentence([&] { complex.scale(2.0); }).find("not C64"), std::string::npos);
  EXPECT_NE(sentence([&] { Tensor::matmul(x, complex, DType::F32); }).find("a matrix product"),
            std::string::npos);
  EXPECT_NE(sentence([&] { Tensor::matmul(x, x, DType::I32); }).find("a matrix product"),
            std::string::npos);
  EXPECT_NE(sentence([&] { Tensor::add(complex, x, DType::F32); }).find("a sum"),
            std::string::npos);
  EXPECT_NE(sentence([&] { Tensor::add(x, x, DType::I32); }).find("a sum"), std::string::npos);
  EXPECT_NE(sentence([&] {
              Tensor::times(x, ints, {1, 1}, DType::F32);
            }).find("F32 elements with factors of I32"),
            std::string::npos);
}

}  // namespace
}  // namespace wb
