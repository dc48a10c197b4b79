// The plain forms and the choice between them and simd.h; see elementwise.h.
#include "ops/elementwise.h"

#include <algorithm>
#include <cmath>

#include "ops/simd.h"

namespace wb::ops {

namespace {

double wide(float v) { return static_cast<double>(v); }

double plain_sum(const float* x, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += wide(x[i]);
  return sum;
}
double plain_squares(const float* x, std::size_t n, double mean) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += (wide(x[i]) - mean) * (wide(x[i]) - mean);
  return sum;
}

}  // namespace

void norm(Kernels kernels, const NormArgs& args, const float* x, std::size_t x_stride, float* y,
          std::size_t y_stride, std::size_t rows, std::size_t n) {
  for (std::size_t r = 0; r < rows; ++r) {
    const float* in = x + r * x_stride;
    float* out = y + r * y_stride;
    const bool fast = kernels == Kernels::fast;
    const double count = static_cast<double>(n);
    double mean = 0;
    if (args.layer) mean = (fast ? simd_wide_sum(in, n) : plain_sum(in, n)) / count;
    const double power =
        (fast ? simd_wide_squares(in, n, mean) : plain_squares(in, n, mean)) / count;
    const double divisor =
        args.eps_outside_root ? std::sqrt(power) + args.eps : std::sqrt(power + args.eps);
    const double factor = 1.0 / divisor;
    if (fast) {
      simd_wide_scale(in, mean, factor, args.weight, args.bias, out, n);
      continue;
    }
    for (std::size_t i = 0; i < n; ++i) {
      double v = (wide(in[i]) - mean) * factor * wide(args.weight[i]);
      if (args.bias != nullptr) v += wide(args.bias[i]);
      out[i] = static_cast<float>(v);
    }
  }
}

void softmax(Kernels kernels, float* x, std::size_t n) {
  if (kernels == Kernels::fast) {
    const float max = simd_max(x, n);
    const double total = simd_exp_sum(x, n, max);
    simd_scale(x, n, static_cast<float>(1.0 / total));
    return;
  }
  const double max = wide(*std::max_element(x, x + n));
  double total = 0;
  for (std::size_t i = 0; i < n; ++i) total += std::exp(wide(x[i]) - max);
  for (std::size_t i = 0; i < n; ++i) {
    x[i] = static_cast<float>(std::exp(wide(x[i]) - max) / total);
  }
}

double activate(Act act, double x) {
  switch (act) {
    case Act::silu:
      return x / (1.0 + std::exp(-x));
    case Act::silu_clipped:
      return std::clamp(x / (1.0 + std::exp(-x)), -100.0, 100.0);
    case Act::gelu_erf:
      return 0.5 * x * (1.0 + std::erf(x * std::sqrt(0.5)));
    case Act::gelu_tanh: {
      const double inner = std::sqrt(2.0 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
      return 0.5 * x * (1.0 + std::tanh(inner));
    }
    case Act::relu:
      return std::max(x, 0.0);
  }
  return x;
}

void act_mul(Kernels kernels, Act act, const float* gate, const float* up, float* out,
             std::size_t n) {
  if (kernels == Kernels::fast && act == Act::silu) return simd_silu_mul(gate, up, out, n);
  for (std::size_t i = 0; i < n; ++i) {
    const double y = activate(act, wide(gate[i]));
    out[i] = static_cast<float>(up != nullptr ? y * wide(up[i]) : y);
  }
}

}  // namespace wb::ops
