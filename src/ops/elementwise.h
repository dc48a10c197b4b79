// Norms, activations, softmax: the row-wise parts of a decoder. Each has a plain form
// in f64, rounded once, and where it is worth it a fast one. Takes its switches as
// plain arguments (ops/ knows no ModelSpec); refuses nothing.
#pragma once

#include <cstddef>

#include "ops/matmul.h"

namespace wb::ops {

// x / sqrt(mean x^2 + eps), or x / (sqrt(mean x^2) + eps) with eps_outside_root; times w.
struct NormArgs {
  bool layer = false;  // LayerNorm: the mean is taken off first, variance for mean x^2
  double eps = 1e-6;
  bool eps_outside_root = false;
  const float* weight = nullptr;  // [n]
  const float* bias = nullptr;    // [n] or null
};
// y[rows, n] from x[rows, n]; both with row strides in elements; y may be x.
void norm(Kernels kernels, const NormArgs& args, const float* x, std::size_t x_stride, float* y,
          std::size_t y_stride, std::size_t rows, std::size_t n);

// Softmax of x[0, n) in place; n >= 1.
void softmax(Kernels kernels, float* x, std::size_t n);

enum class Act { silu, silu_clipped, gelu_erf, gelu_tanh, relu };
// One value, in f64.
double activate(Act act, double x);
// out[i] = act(gate[i]) * up[i]; up null = act(gate[i]). out may be gate.
void act_mul(Kernels kernels, Act act, const float* gate, const float* up, float* out,
             std::size_t n);

}  // namespace wb::ops
