// Frequencies and rotation; see rope.h.
#include "ops/rope.h"

#include <algorithm>
#include <cmath>

namespace wb::ops {

namespace {

constexpr double kPi = 3.14159265358979323846;

// base^(2j / dims), each step rounded to f32.
std::vector<float> periods(std::size_t dims, double base) {
  std::vector<float> out(dims / 2);
  for (std::size_t j = 0; j < out.size(); ++j) {
    const float exponent = static_cast<float>(2 * j) / static_cast<float>(dims);
    out[j] = static_cast<float>(
        std::pow(static_cast<double>(static_cast<float>(base)), static_cast<double>(exponent)));
  }
  return out;
}

// The dimension whose wave turns `rotations` times over the original context.
double correction_dim(double rotations, double dims, double base, double positions) {
  return dims * std::log(positions / (rotations * 2.0 * kPi)) / (2.0 * std::log(base));
}

}  // namespace

std::vector<float> rope_frequencies(std::size_t dims, double base, double factor) {
  std::vector<float> out = periods(dims, base);
  for (float& f : out) f = 1.0f / f;
  // Dividing the position by the factor, which is what the classes do, or the frequency: the
  // same to one rounding.
  if (factor != 1.0) {
    for (float& f : out) f = static_cast<float>(static_cast<double>(f) / factor);
  }
  return out;
}

std::vector<float> rope_frequencies_yarn(std::size_t dims, double base, const YarnArgs& yarn) {
  const double n = static_cast<double>(dims), positions = yarn.original_max_position_embeddings;
  const double low = std::max(std::floor(correction_dim(yarn.beta_fast, n, base, positions)), 0.0);
  double high = std::min(std::ceil(correction_dim(yarn.beta_slow, n, base, positions)), n - 1.0);
  if (low == high) high += 0.001;  // as the published code does, against a division by zero
  std::vector<float> out = periods(dims, base);
  for (std::size_t j = 0; j < out.size(); ++j) {
    const double extra = static_cast<double>(out[j]), inter = yarn.factor * extra;
    const double ramp = std::clamp((static_cast<double>(j) - low) / (high - low), 0.0, 1.0);
    const double keep = 1.0 - ramp;  // 1: turned often enough to be left as it is
    const float period = static_cast<float>(inter * extra / (inter * keep + extra * (1.0 - keep)));
    out[j] = 1.0f / period;
  }
  return out;
}

std::vector<float> rope_frequencies_longrope(std::size_t dims, double base,
                                             const std::vector<double>& long_factor) {
  std::vector<float> out = periods(dims, base);
  for (std::size_t j = 0; j < out.size(); ++j) {
    const float period = static_cast<float>(long_factor[j]) * out[j];
    out[j] = 1.0f / period;
  }
  return out;
}

double yarn_mscale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

double longrope_magnitude(double max_positions, double original_positions) {
  const double factor = max_positions / original_positions;
  return factor <= 1.0 ? 1.0 : std::sqrt(1.0 + std::log(factor) / std::log(original_positions));
}

RopeAngles rope_angles(const RopeTable& table, std::uint64_t first, std::size_t count) {
  RopeAngles out;
  rope_angles_into(table, first, count, out);
  return out;
}

void rope_angles_into(const RopeTable& table, std::uint64_t first, std::size_t count,
                      RopeAngles& out) {
  const std::size_t half = table.inv_freq.size();
  out.cos.resize(count * half);
  out.sin.resize(count * half);
  const double magnitude = static_cast<double>(table.magnitude);
  for (std::size_t r = 0; r < count; ++r) {
    const float position = static_cast<float>(first + r);
    for (std::size_t j = 0; j < half; ++j) {
      const float angle = position * table.inv_freq[j];
      out.cos[r * half + j] = static_cast<float>(magnitude * std::cos(static_cast<double>(angle)));
      out.sin[r * half + j] = static_cast<float>(magnitude * std::sin(static_cast<double>(angle)));
    }
  }
}

void rope_rotate(const RopeTable& table, const RopeAngles& angles, float* x, std::size_t rows,
                 std::size_t row_stride, std::size_t heads) {
  const bool own = table.heads == RopeTable::Heads::own;
  if (table.heads == RopeTable::Heads::joined) heads = 1;
  const std::size_t all = table.inv_freq.size(), half = own ? all / heads : all, dims = 2 * half;
  const std::size_t step = table.interleaved ? 2 : 1, other = table.interleaved ? 1 : half;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t h = 0; h < heads; ++h) {
      const float* c = angles.cos.data() + r * all + (own ? h * half : 0);
      const float* s = angles.sin.data() + r * all + (own ? h * half : 0);
      float* v = x + r * row_stride + h * dims;
      for (std::size_t j = 0; j < half; ++j) {
        const float a = v[j * step], b = v[j * step + other];
        v[j * step] = a * c[j] - b * s[j];
        v[j * step + other] = a * s[j] + b * c[j];
      }
    }
  }
}

}  // namespace wb::ops
