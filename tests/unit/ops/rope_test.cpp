// Frequencies against the formulas of the classes, rotations by hand.
#include "ops/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace wb::ops {
namespace {

TEST(Rope, BaseFrequencies) {
  const auto f = rope_frequencies(8, 10000.0, 1.0);
  ASSERT_EQ(f.size(), 4u);
  EXPECT_FLOAT_EQ(f[0], 1.0f);
  EXPECT_FLOAT_EQ(f[1], 0.1f);
  EXPECT_FLOAT_EQ(f[2], 0.01f);
  EXPECT_FLOAT_EQ(f[3], 0.001f);
  EXPECT_FLOAT_EQ(rope_frequencies(8, 10000.0, 4.0)[1], 0.025f);
}

TEST(Rope, LongropeDividesByItsFactors) {
  const auto f = rope_frequencies_longrope(4, 100.0, {2.0, 0.5});
  EXPECT_FLOAT_EQ(f[0], 0.5f);
  EXPECT_FLOAT_EQ(f[1], 0.2f);  // base^(-2/4) = 0.1, divided by 0.5
}

TEST(Rope, YarnKeepsFastPairsAndStretchesSlowOnes) {
  // dims 16, base 10000, original 4096, betas 32 and 1: correction dims are
  // 16 ln(4096 / (32 * 2 pi)) / (2 ln 10000) = 2.62 -> 2 and 16 ln(4096 / (2 pi)) / (2 ln 10000)
  // = 5.63 -> 6; between them a linear ramp.
  const auto plain = rope_frequencies(16, 10000.0, 1.0);
  const auto f = rope_frequencies_yarn(16, 10000.0, {4.0, 4096.0, 32.0, 1.0, 1.0, 0.0});
  for (std::size_t j : {0u, 1u, 2u}) EXPECT_NEAR(f[j] / plain[j], 1.0f, 1e-6f) << j;
  for (std::size_t j : {6u, 7u}) EXPECT_NEAR(f[j] / plain[j], 0.25f, 1e-6f) << j;
  EXPECT_NEAR(f[3] / plain[3], 0.75f + 0.25f * 0.25f, 1e-6f);  // ramp 1/4
  EXPECT_NEAR(f[4] / plain[4], 0.5f + 0.5f * 0.25f, 1e-6f);
}

TEST(Rope, Magnitudes) {
  EXPECT_DOUBLE_EQ(yarn_mscale(1.0, 0.7), 1.0);
  EXPECT_NEAR(yarn_mscale(40.0, 0.707), 1.2608037, 1e-6);
  EXPECT_DOUBLE_EQ(longrope_magnitude(4096, 4096), 1.0);
  EXPECT_NEAR(longrope_magnitude(16 * 4096, 4096), std::sqrt(1.0 + 4.0 / 12.0), 1e-12);
}

TEST(Rope, RotatesBothLayouts) {
  // One frequency of pi / 2 per position and one of 0: position 1 turns the first pair by 90
  // degrees and leaves the second.
  RopeTable table;
  table.inv_freq = {static_cast<float>(std::numbers::pi / 2), 0.0f};
  const RopeAngles angles = rope_angles(table, 1, 1);
  std::vector<float> x = {1, 2, 3, 4};  // pairs (1, 3) and (2, 4)
  rope_rotate(table, angles, x.data(), 1, 4, 1);
  EXPECT_NEAR(x[0], -3.0f, 1e-6f);
  EXPECT_NEAR(x[1], 2.0f, 1e-6f);
  EXPECT_NEAR(x[2], 1.0f, 1e-6f);
  EXPECT_NEAR(x[3], 4.0f, 1e-6f);
  table.interleaved = true;
  x = {1, 2, 3, 4};  // pairs (1, 2) and (3, 4)
  rope_rotate(table, angles, x.data(), 1, 4, 1);
  EXPECT_NEAR(x[0], -2.0f, 1e-6f);
  EXPECT_NEAR(x[1], 1.0f, 1e-6f);
  EXPECT_NEAR(x[2], 3.0f, 1e-6f);
  EXPECT_NEAR(x[3], 4.0f, 1e-6f);
}

TEST(Rope, MagnitudeMultipliesAndPositionsStartWhereTold) {
  RopeTable table;
  table.inv_freq = {1.0f};
  table.magnitude = 2.0f;
  const RopeAngles angles = rope_angles(table, 5, 2);
  EXPECT_FLOAT_EQ(angles.cos[1], static_cast<float>(2 * std::cos(6.0)));
  EXPECT_FLOAT_EQ(angles.sin[0], static_cast<float>(2 * std::sin(5.0)));
}

}  // namespace
}  // namespace wb::ops
