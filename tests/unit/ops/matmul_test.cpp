// Fast products against the plain ones, within the bound that any order of an f32 dot
// product obeys: |fast - exact| <= gamma_k * sum |a_i b_i|, gamma_k = k u / (1 - k u),
// u = 2^-24 (Higham, Accuracy and Stability, 3.1).
#include "ops/matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace wb::ops {
namespace {

std::vector<float> random_values(std::size_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> out(n);
  for (float& v : out) v = normal(generator);
  return out;
}

struct Size {
  std::size_t m, n, k;
};
constexpr Size kSizes[] = {{1, 1, 1},    {1, 7, 3},     {2, 5, 16},    {3, 130, 33},  {5, 4, 257},
                           {6, 6, 6},    {7, 129, 100}, {17, 31, 64},  {64, 65, 300}, {1, 513, 128},
                           {4, 300, 47}, {300, 17, 40}, {260, 140, 9}, {2, 4200, 24}};

// Bound of one element; both results are rounded once more on their way into f32.
double bound(const float* a, std::size_t a_step, const float* b, std::size_t b_step, std::size_t k,
             double value) {
  const double u = std::ldexp(1.0, -24);
  double magnitude = 0;
  for (std::size_t p = 0; p < k; ++p) {
    magnitude += std::fabs(static_cast<double>(a[p * a_step]) * static_cast<double>(b[p * b_step]));
  }
  const double n = static_cast<double>(k) + 1;
  return n * u / (1 - n * u) * magnitude + u * std::fabs(value);
}

TEST(Matmul, HandComputed) {
  const std::vector<float> a = {1, 2, 3, 4, 5, 6};       // [2, 3]
  const std::vector<float> bt = {1, 0, 2, -1, 1, 0.5f};  // [2, 3]
  const std::vector<float> b = {1, -1, 0, 1, 2, 0.5f};   // [3, 2], the same matrix
  for (Kernels kernels : {Kernels::plain, Kernels::fast}) {
    std::vector<float> c(4), d(4);
    gemm_nt(kernels, 2, 2, 3, a.data(), 3, bt.data(), 3, c.data(), 2);
    gemm_nn(kernels, 2, 2, 3, a.data(), 3, b.data(), 2, d.data(), 2);
    EXPECT_EQ(c, (std::vector<float>{7, 2.5f, 16, 4}));
    EXPECT_EQ(d, (std::vector<float>{7, 2.5f, 16, 4}));
  }
}

TEST(Matmul, FastAgreesWithPlainTransposed) {
  for (auto [m, n, k] : kSizes) {
    const std::size_t lda = k + 3, ldb = k + 1, ldc = n + 2;
    const auto a = random_values(m * lda, 1), b = random_values(n * ldb, 2);
    std::vector<float> plain(m * ldc, 9.0f), fast(m * ldc, 9.0f);
    gemm_nt(Kernels::plain, m, n, k, a.data(), lda, b.data(), ldb, plain.data(), ldc);
    gemm_nt(Kernels::fast, m, n, k, a.data(), lda, b.data(), ldb, fast.data(), ldc);
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        const double p = static_cast<double>(plain[i * ldc + j]);
        ASSERT_NEAR(p, static_cast<double>(fast[i * ldc + j]),
                    bound(&a[i * lda], 1, &b[j * ldb], 1, k, p))
            << m << " " << n << " " << k;
      }
      EXPECT_EQ(fast[i * ldc + n], 9.0f) << "wrote beyond the row";
    }
  }
}

TEST(Matmul, FastAgreesWithPlain) {
  for (auto [m, n, k] : kSizes) {
    const std::size_t lda = k + 1, ldb = n + 3, ldc = n + 1;
    const auto a = random_values(m * lda, 3), b = random_values(k * ldb, 4);
    std::vector<float> plain(m * ldc, 9.0f), fast(m * ldc, 9.0f);
    gemm_nn(Kernels::plain, m, n, k, a.data(), lda, b.data(), ldb, plain.data(), ldc);
    gemm_nn(Kernels::fast, m, n, k, a.data(), lda, b.data(), ldb, fast.data(), ldc);
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        const double p = static_cast<double>(plain[i * ldc + j]);
        ASSERT_NEAR(p, static_cast<double>(fast[i * ldc + j]),
                    bound(&a[i * lda], 1, &b[j], ldb, k, p))
            << m << " " << n << " " << k;
      }
      EXPECT_EQ(fast[i * ldc + n], 9.0f) << "wrote beyond the row";
    }
  }
}

TEST(Matmul, LinearAddsItsBiasAndDoesNotDependOnThreads) {
  const std::size_t rows = 300, in = 70, out = 270;
  const auto x = random_values(rows * in, 5), w = random_values(out * in, 6);
  const auto bias = random_values(out, 7);
  const Linear layer{w.data(), bias.data(), out, in};
  std::vector<float> plain(rows * out), one(rows * out), four(rows * out);
  linear(Kernels::plain, x.data(), rows, layer, plain.data(), 1);
  linear(Kernels::fast, x.data(), rows, layer, one.data(), 1);
  linear(Kernels::fast, x.data(), rows, layer, four.data(), 4);
  EXPECT_EQ(one, four);
  for (std::size_t r : {std::size_t{0}, std::size_t{255}, std::size_t{256}, rows - 1}) {
    for (std::size_t j = 0; j < out; ++j) {
      double sum = static_cast<double>(bias[j]);
      for (std::size_t p = 0; p < in; ++p) {
        sum += static_cast<double>(x[r * in + p]) * static_cast<double>(w[j * in + p]);
      }
      const double tolerance = bound(&x[r * in], 1, &w[j * in], 1, in, sum) +
                               std::ldexp(std::fabs(sum) + std::fabs(double(bias[j])), -23);
      ASSERT_NEAR(static_cast<double>(plain[r * out + j]), sum, tolerance);
      ASSERT_NEAR(static_cast<double>(one[r * out + j]), sum, tolerance);
    }
  }
}

}  // namespace
}  // namespace wb::ops
