// Products with packed matrices against the plain form, at every packing, width, group and scale
// type, on every instruction set that this processor has. The bound of one result is that of an
// f32 dot product of as many terms (matmul_test.cpp); a grouped row has two terms per element,
// code * scale * x and bias * x, and a few roundings more per group. Where vectors are written in
// digits, each input is rounded before that, by 2^-22 of the largest of its group (packed.h).
#include "ops/packed.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "tensor/element.h"
#include "unit/targets_fixture.h"

namespace wb::ops {
namespace {

struct Case {
  Packing packing;
  unsigned bits;
  std::size_t group;
  ScaleType scale_type;
};

std::vector<Case> all_cases() {
  std::vector<Case> out = {
      {Packing::f32, 32, 0, ScaleType::f32},   {Packing::f16, 16, 0, ScaleType::f32},
      {Packing::bf16, 16, 0, ScaleType::f32},  {Packing::e2m1, 4, 32, ScaleType::e8m0},
      {Packing::e2m1, 4, 16, ScaleType::e4m3}, {Packing::e4m3, 8, 32, ScaleType::e8m0}};
  for (unsigned bits : {2u, 3u, 4u, 5u, 6u, 8u}) {
    for (std::size_t group : {32u, 64u, 128u}) {
      for (ScaleType type : {ScaleType::f32, ScaleType::f16, ScaleType::bf16}) {
        out.push_back({Packing::affine, bits, group, type});
      }
    }
  }
  return out;
}

std::string describe(const Case& c) {
  std::ostringstream out;
  out << "packing " << static_cast<int>(c.packing) << ", " << c.bits << " bits, group " << c.group
      << ", scale type " << static_cast<int>(c.scale_type);
  return out.str();
}

std::size_t scale_size(ScaleType type) {
  return type == ScaleType::f32 ? 4 : type == ScaleType::f16 || type == ScaleType::bf16 ? 2 : 1;
}

// A matrix of random codes; every code appears. Rows are stored in another order than they are
// numbered, with room between them, as a view of a larger tensor has it.
struct Sample {
  PackedMatrix w;
  std::vector<std::byte> data, scales, biases;
  std::vector<std::uint32_t> rows;
  std::vector<float> x, bias;
  std::mt19937 random{7};

  Sample(const Case& c, std::size_t out, std::size_t in) {
    w.packing = c.packing;
    w.bits = c.bits;
    w.group = c.group;
    w.scale_type = c.scale_type;
    w.out = out;
    w.in = in;
    w.row_bytes = in * c.bits / 8 + (c.group == 0 ? 8 : 0);
    data.resize(w.row_bytes * out);
    for (std::byte& b : data) b = static_cast<std::byte>(random());
    if (c.group == 0) finite_values();
    if (c.group != 0) {
      w.scale_bytes = in / c.group * scale_size(c.scale_type);
      scales = numbers(out * (in / c.group));
      if (c.packing == Packing::affine) biases = numbers(out * (in / c.group));
    }
    for (std::size_t r = 0; r < out; ++r) rows.push_back(static_cast<std::uint32_t>(out - 1 - r));
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < in; ++i) x.push_back(normal(random));
    for (std::size_t r = 0; r < out; ++r) bias.push_back(normal(random));
    w.data = data.data();
    w.scales = scales.data();
    w.biases = biases.empty() ? nullptr : biases.data();
    w.rows = rows.data();
    w.bias = bias.data();
  }

  void put(std::vector<std::byte>& to, ScaleType type, std::size_t i, float v) {
    const std::uint16_t half = type == ScaleType::f16 ? f32_to_f16(v) : f32_to_bf16(v);
    if (type == ScaleType::f32) {
      std::memcpy(to.data() + i * 4, &v, 4);
    } else {
      std::memcpy(to.data() + i * 2, &half, 2);
    }
  }
  std::vector<std::byte> numbers(std::size_t count) {
    std::vector<std::byte> out(count * scale_size(w.scale_type));
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < count; ++i) {
      if (w.scale_type == ScaleType::e8m0) {
        out[i] = static_cast<std::byte>(i == 0 ? 0 : 117 + random() % 20);
      } else if (w.scale_type == ScaleType::e4m3) {
        out[i] = static_cast<std::byte>(random() % 0x7f);
      } else {
        put(out, w.scale_type, i, normal(random));
      }
    }
    return out;
  }
  void finite_values() {
    const ScaleType type = w.packing == Packing::f32   ? ScaleType::f32
                           : w.packing == Packing::f16 ? ScaleType::f16
                                                       : ScaleType::bf16;
    std::normal_distribution<float> normal;
    const std::size_t count = data.size() / scale_size(type);
    for (std::size_t i = 0; i < count; ++i) put(data, type, i, normal(random));
  }

  // The values of row r, and what they are with all codes 0: the biases, or zeros.
  void parts(std::size_t r, std::vector<double>& values, std::vector<double>& without) const {
    unpack_plain(w, r, r + 1, values.data());
    if (w.biases == nullptr) return;
    PackedMatrix bare = w;
    const std::vector<std::byte> zeros(data.size());
    bare.data = zeros.data();
    unpack_plain(bare, r, r + 1, without.data());
  }
  // What rounding inputs to digits moves row r by at most.
  double rounding(std::size_t r) const {
    if (w.packing != Packing::affine && w.packing != Packing::e2m1) return 0;
    std::vector<double> values(w.in), without(w.in, 0.0);
    parts(r, values, without);
    double sum = 0;
    for (std::size_t g = 0; g < w.in; g += w.group) {
      double codes = 0, largest = 0;
      for (std::size_t i = g; i < g + w.group; ++i) {
        codes += std::fabs(values[i] - without[i]);
        largest = std::max(largest, std::fabs(static_cast<double>(x[i])));
      }
      sum += std::ldexp(largest, -22) * codes;
    }
    return sum;
  }
  // How far row r may be from the plain one.
  double bound(std::size_t r) const {
    const double n = 2.0 * static_cast<double>(w.in) + 8, u = std::ldexp(1.0, -24);
    return n * u / (1 - n * u) * magnitude(r) + rounding(r);
  }
  // Sum of the magnitudes of all terms of row r.
  double magnitude(std::size_t r) const {
    std::vector<double> values(w.in), without(w.in, 0.0);
    parts(r, values, without);
    double sum = std::fabs(static_cast<double>(bias[r]));
    for (std::size_t i = 0; i < w.in; ++i) {
      sum += (std::fabs(values[i] - without[i]) + std::fabs(without[i])) *
             std::fabs(static_cast<double>(x[i]));
    }
    return sum;
  }
};

class EveryTarget : public TargetTest {
 protected:
  EveryTarget() : TargetTest(packed_target) {}
};

TEST_P(EveryTarget, ProductsAreThePlainOnes) {
  for (const Case& c : all_cases()) {
    for (std::size_t in : {c.group == 0 ? std::size_t{1} : c.group, 3 * std::size_t{128},
                           c.group == 0 ? std::size_t{77} : 5 * c.group}) {
      const Sample s(c, 11, in);
      PackedInput input;
      prepare(s.w, s.x.data(), input);
      std::vector<float> fast(s.w.out), plain(s.w.out), alone(s.w.out);
      multiply(s.w, input, 0, s.w.out, fast.data());
      multiply_plain(s.w, s.x.data(), 0, s.w.out, plain.data());
      for (std::size_t r = 0; r < s.w.out; ++r) {
        EXPECT_NEAR(fast[r], plain[r], s.bound(r)) << describe(c) << ", in " << in << ", row " << r;
        multiply(s.w, input, r, r + 1, alone.data());
      }
      EXPECT_EQ(fast, alone) << describe(c) << ": a row depends on its neighbours";
    }
  }
}

// A group whose inputs are a million times those of the others, with codes of 0, so that it adds
// nothing: the others are no less exact for it.
TEST_P(EveryTarget, LargeInputsOfOneGroupDoNotRoundTheOthers) {
  for (const Case& c : all_cases()) {
    if (c.packing != Packing::affine && c.packing != Packing::e2m1) continue;
    Sample s(c, 5, 4 * c.group);
    for (std::size_t i = 0; i < c.group; ++i) s.x[i] *= 1e6f;
    const std::size_t bytes = c.group * c.bits / 8, size = scale_size(c.scale_type);
    for (std::size_t r = 0; r < s.w.out; ++r) {
      std::fill_n(s.data.begin() + static_cast<std::ptrdiff_t>(r * s.w.row_bytes), bytes,
                  std::byte{0});
      if (c.packing == Packing::affine) {
        std::fill_n(s.biases.begin() + static_cast<std::ptrdiff_t>(r * s.w.scale_bytes), size,
                    std::byte{0});
      }
    }
    PackedInput input;
    prepare(s.w, s.x.data(), input);
    std::vector<float> fast(s.w.out), plain(s.w.out);
    multiply(s.w, input, 0, s.w.out, fast.data());
    multiply_plain(s.w, s.x.data(), 0, s.w.out, plain.data());
    for (std::size_t r = 0; r < s.w.out; ++r) {
      EXPECT_NEAR(fast[r], plain[r], s.bound(r)) << describe(c) << ", row " << r;
    }
  }
}

TEST_P(EveryTarget, WhatIsNoNumberIsNotMadeOne) {
  for (const Case& c : all_cases()) {
    Sample s(c, 3, c.group == 0 ? 40 : 2 * c.group);
    for (float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      s.x[7] = bad;
      PackedInput input;
      prepare(s.w, s.x.data(), input);
      std::vector<float> fast(s.w.out);
      multiply(s.w, input, 0, s.w.out, fast.data());
      for (float y : fast) EXPECT_FALSE(std::isfinite(y)) << describe(c);
    }
  }
}

// A buffer that was used for a longer vector, and one of another order, serves again.
TEST_P(EveryTarget, InputsOfOtherShapesLeaveNothingBehind) {
  PackedInput used;
  for (const Case& c : all_cases()) {
    if (c.group == 0) continue;
    for (std::size_t in : {5 * c.group, c.group}) {
      const Sample s(c, 2, in);
      PackedInput fresh;
      prepare(s.w, s.x.data(), used);
      prepare(s.w, s.x.data(), fresh);
      std::vector<float> one(s.w.out), other(s.w.out);
      multiply(s.w, used, 0, s.w.out, one.data());
      multiply(s.w, fresh, 0, s.w.out, other.data());
      EXPECT_EQ(one, other) << describe(c) << ", in " << in;
    }
  }
}

TEST_P(EveryTarget, SumsOfRowsAreThePlainOnes) {
  for (const Case& c : all_cases()) {
    const std::size_t in = c.group == 0 ? 77 : 5 * c.group;
    for (std::size_t rows : {std::size_t{1}, std::size_t{7}}) {
      Sample s(c, rows + 2, in);
      std::vector<float> q(rows), fast(in), plain(in);
      for (std::size_t r = 0; r < rows; ++r) q[r] = s.bias[r];  // random numbers
      sum_rows(s.w, q.data(), 1, 1 + rows, fast.data());
      sum_rows_plain(s.w, q.data(), 1, 1 + rows, plain.data());
      std::vector<double> values(in), without(in, 0.0), magnitude(in, 0.0);
      for (std::size_t r = 0; r < rows; ++r) {
        s.parts(r + 1, values, without);
        for (std::size_t i = 0; i < in; ++i) {
          magnitude[i] += (std::fabs(values[i] - without[i]) + std::fabs(without[i])) *
                          std::fabs(static_cast<double>(q[r]));
        }
      }
      for (std::size_t i = 0; i < in; ++i) {
        // Two terms of each row, each of two factors that are multiplied first, and both sums.
        const double n = 2.0 * static_cast<double>(rows) + 4, u = std::ldexp(1.0, -24);
        ASSERT_NEAR(fast[i], plain[i], n * u / (1 - n * u) * magnitude[i])
            << describe(c) << ", " << rows << " rows, element " << i;
      }
    }
  }
}

TEST_P(EveryTarget, UnpackedValuesAreThePlainOnes) {
  for (const Case& c : all_cases()) {
    const std::size_t in = c.group == 0 ? 77 : 5 * c.group;
    const Sample s(c, 5, in);
    std::vector<float> fast(3 * in);
    std::vector<double> plain(3 * in);
    unpack(s.w, 1, 4, fast.data());
    unpack_plain(s.w, 1, 4, plain.data());
    for (std::size_t i = 0; i < fast.size(); ++i) {
      // One rounding where the product is fused, two where it is not; none of a dense value.
      const double slack = c.packing == Packing::affine ? std::ldexp(1.0, -22) : 0.0;
      const double size = std::fabs(plain[i]) + (c.packing == Packing::affine ? 260.0 * 4 : 0.0);
      ASSERT_NEAR(fast[i], plain[i], slack * size) << describe(c) << ", element " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, EveryTarget, all_targets(), target_name);
#if defined(__x86_64__)
INSTANTIATE_TEST_SUITE_P(Digits, EveryTarget, testing::Values(HWY_AVX3_DL), target_name);
#endif

TEST(Packed, OneRowByHand) {
  // 4 bits, one group of 32: codes 0 ... 15 twice, scale 0.5, bias -1; x all 1.
  std::vector<std::uint8_t> codes(16);
  for (std::size_t i = 0; i < 16; ++i) {
    codes[i] = static_cast<std::uint8_t>((2 * i % 16) | ((2 * i + 1) % 16) << 4);
  }
  const float scale = 0.5f, bias = -1.0f;
  PackedMatrix w;
  w.packing = Packing::affine;
  w.bits = 4;
  w.group = w.in = 32;
  w.out = 1;
  w.data = reinterpret_cast<const std::byte*>(codes.data());
  w.scales = reinterpret_cast<const std::byte*>(&scale);
  w.biases = reinterpret_cast<const std::byte*>(&bias);
  w.row_bytes = 16;
  w.scale_bytes = 4;
  const std::vector<float> x(32, 1.0f);
  PackedInput input;
  prepare(w, x.data(), input);
  float fast = 0, plain = 0;
  multiply(w, input, 0, 1, &fast);
  multiply_plain(w, x.data(), 0, 1, &plain);
  EXPECT_EQ(plain, 2 * 120 * 0.5f - 32);  // 88
  EXPECT_EQ(fast, plain);
  EXPECT_EQ(w.bytes(), 16u + 8u);
}

}  // namespace
}  // namespace wb::ops
