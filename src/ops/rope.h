// Rotary positions: frequencies (base, linear, YaRN, longrope), magnitude, and the
// rotation in both layouts. Frequencies and angles are rounded to f32 step by step
// as PyTorch and MLX round them, because at position 10^5 an angle in f32 is only
// good to 1e-2 and the models were trained with those angles; sin and cos of the
// rounded angle are then taken in f64. Refuses nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace wb::ops {

struct RopeTable {
  // [dims / 2] for heads that are alike; [heads, dims / 2] for heads with frequencies of their
  // own; [heads * dims / 2] for heads that are rotated as one vector.
  std::vector<float> inv_freq;
  enum class Heads { alike, own, joined } heads = Heads::alike;
  float magnitude = 1.0f;    // multiplies the rotated vector
  bool interleaved = false;  // pairs (2j, 2j + 1); else (j, j + dims / 2)
};

struct YarnArgs {
  double factor, original_max_position_embeddings, beta_fast, beta_slow, mscale, mscale_all_dim;
};
// base^(-2j / dims) / factor
std::vector<float> rope_frequencies(std::size_t dims, double base, double factor);
std::vector<float> rope_frequencies_yarn(std::size_t dims, double base, const YarnArgs& yarn);
// 1 / (long_factor[j] * base^(2j / dims))
std::vector<float> rope_frequencies_longrope(std::size_t dims, double base,
                                             const std::vector<double>& long_factor);
// 0.1 * mscale * ln(factor) + 1 above factor 1, else 1.
double yarn_mscale(double factor, double mscale);
// 1 up to factor 1, then sqrt(1 + ln(max / original) / ln(original)).
double longrope_magnitude(double max_positions, double original_positions);

// Sines and cosines of positions [first, first + count): [count, size of inv_freq] each,
// magnitude already multiplied in.
struct RopeAngles {
  std::vector<float> cos, sin;
};
RopeAngles rope_angles(const RopeTable& table, std::uint64_t first, std::size_t count);
// The same into vectors whose memory is used again.
void rope_angles_into(const RopeTable& table, std::uint64_t first, std::size_t count,
                      RopeAngles& out);
// Rotates x[rows, heads, dims] in place; row r takes the angles of row r. `row_stride` in
// elements between rows; heads are dims apart. The table is one for as many heads.
void rope_rotate(const RopeTable& table, const RopeAngles& angles, float* x, std::size_t rows,
                 std::size_t row_stride, std::size_t heads);

}  // namespace wb::ops
