// Norms, activations and softmax: by hand, and fast against plain.
#include "ops/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

namespace wb::ops {
namespace {

constexpr float kEps = std::numeric_limits<float>::epsilon();

std::vector<float> random_values(std::size_t n, unsigned seed, float scale) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> out(n);
  for (float& v : out) v = normal(generator);
  return out;
}

TEST(Norm, EpsilonInsideAndOutsideTheRoot) {
  // mean of squares (9 + 16 + 0 + 0) / 4 = 6.25, root 2.5
  const std::vector<float> x = {3, 4, 0, 0}, w = {1, 2, 3, 4};
  for (Kernels kernels : {Kernels::plain, Kernels::fast}) {
    std::vector<float> y(4);
    NormArgs args;
    args.weight = w.data();
    args.eps = 0.5;
    args.eps_outside_root = true;  // divisor 3
    norm(kernels, args, x.data(), 4, y.data(), 4, 1, 4);
    EXPECT_FLOAT_EQ(y[0], 1.0f);
    EXPECT_FLOAT_EQ(y[1], 8.0f / 3.0f);
    args.eps = 2.75;
    args.eps_outside_root = false;  // divisor sqrt(6.25 + 2.75) = 3
    norm(kernels, args, x.data(), 4, y.data(), 4, 1, 4);
    EXPECT_FLOAT_EQ(y[0], 1.0f);
    EXPECT_FLOAT_EQ(y[1], 8.0f / 3.0f);
  }
}

TEST(Norm, ZerosStayZeros) {
  const std::vector<float> x(5, 0.0f), w(5, 2.0f);
  std::vector<float> y(5, 7.0f);
  NormArgs args;
  args.weight = w.data();
  args.eps_outside_root = true;
  norm(Kernels::fast, args, x.data(), 5, y.data(), 5, 1, 5);
  EXPECT_EQ(y, x);
}

TEST(Norm, LayerNormTakesTheMeanOffAndAddsItsBias) {
  const std::vector<float> x = {1, 3, 1, 3}, w = {2, 2, 2, 1}, b = {0, 0, 1, -1};
  std::vector<float> y(4);
  NormArgs args;
  args.layer = true;
  args.weight = w.data();
  args.bias = b.data();
  args.eps = 3.0;  // variance 1, divisor 2
  norm(Kernels::fast, args, x.data(), 4, y.data(), 4, 1, 4);
  EXPECT_EQ(y, (std::vector<float>{-1, 1, 0, -0.5f}));
}

TEST(Norm, FastAgreesWithPlain) {
  // Both sum in f64, so they differ by no more than the last rounding to f32.
  for (std::size_t n : {1u, 3u, 4u, 67u, 512u}) {
    const auto x = random_values(2 * n, 1, 0.02f), w = random_values(n, 2, 1.0f);
    std::vector<float> plain(2 * n), fast(2 * n);
    NormArgs args;
    args.weight = w.data();
    norm(Kernels::plain, args, x.data(), n, plain.data(), n, 2, n);
    norm(Kernels::fast, args, x.data(), n, fast.data(), n, 2, n);
    for (std::size_t i = 0; i < 2 * n; ++i) {
      EXPECT_NEAR(plain[i], fast[i], kEps * std::fabs(plain[i]));
    }
  }
}

TEST(Softmax, FastAgreesWithPlainAndSumsToOne) {
  for (std::size_t n : {1u, 2u, 7u, 16u, 33u, 1000u}) {
    for (float scale : {0.1f, 3.0f, 40.0f}) {
      const auto x = random_values(n, 3, scale);
      auto plain = x, fast = x;
      softmax(Kernels::plain, plain.data(), n);
      softmax(Kernels::fast, fast.data(), n);
      double sum = 0, far = 0;
      const float max = *std::max_element(x.begin(), x.end());
      for (float v : x) far = std::max(far, static_cast<double>(max - v));
      for (std::size_t i = 0; i < n; ++i) {
        sum += static_cast<double>(fast[i]);
        // x - max is rounded to f32: half an epsilon of it is a relative error of the result;
        // exp and the final product add their own ulps.
        const double tolerance =
            (0.5 * far + 8) * static_cast<double>(kEps) * static_cast<double>(plain[i]) + 1e-37;
        EXPECT_NEAR(plain[i], fast[i], tolerance) << n << " " << scale;
      }
      EXPECT_NEAR(sum, 1.0, 1e-6);
    }
  }
}

TEST(Softmax, OfThreeNumbersByHand) {
  std::vector<float> x = {std::log(1.0f), std::log(2.0f), std::log(5.0f)};
  softmax(Kernels::fast, x.data(), 3);
  EXPECT_NEAR(x[0], 0.125f, 1e-6f);
  EXPECT_NEAR(x[1], 0.25f, 1e-6f);
  EXPECT_NEAR(x[2], 0.625f, 1e-6f);
}

TEST(Activation, KnownValues) {
  // From tables: erf(1/sqrt 2) = 0.6826894921, tanh form of GELU at 1 = 0.8411919906.
  EXPECT_NEAR(activate(Act::silu, 1.0), 0.7310585786300049, 1e-15);
  EXPECT_NEAR(activate(Act::gelu_erf, 1.0), 0.5 * (1 + 0.6826894921370859), 1e-15);
  EXPECT_NEAR(activate(Act::gelu_tanh, 1.0), 0.8411919906082768, 1e-12);
  EXPECT_EQ(activate(Act::relu, -2.0), 0.0);
  EXPECT_EQ(activate(Act::relu, 2.0), 2.0);
  EXPECT_EQ(activate(Act::silu_clipped, 150.0), 100.0);
  EXPECT_NEAR(activate(Act::silu, 150.0), 150.0, 1e-12);
}

TEST(Activation, FastSiluAgreesWithPlain) {
  std::vector<float> gate = random_values(1003, 4, 6.0f);
  gate[0] = -200.0f;
  gate[1] = 200.0f;
  gate[2] = 0.0f;
  const auto up = random_values(gate.size(), 5, 1.0f);
  std::vector<float> plain(gate.size()), fast(gate.size());
  for (const float* factor : {up.data(), static_cast<const float*>(nullptr)}) {
    act_mul(Kernels::plain, Act::silu, gate.data(), factor, plain.data(), gate.size());
    act_mul(Kernels::fast, Act::silu, gate.data(), factor, fast.data(), gate.size());
    for (std::size_t i = 0; i < gate.size(); ++i) {
      EXPECT_NEAR(plain[i], fast[i], 6 * kEps * std::fabs(plain[i]) + 1e-30f) << gate[i];
    }
  }
}

}  // namespace
}  // namespace wb::ops
