// See measure.h.
#include "engine/measure.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include "engine/pool.h"
#include "ops/matmul.h"
#include "ops/simd.h"

namespace wb::engine {

namespace {

double seconds_of(const auto& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

constexpr std::size_t kFloats = std::size_t{64} << 20, kPiece = std::size_t{1} << 18;

}  // namespace

ReadBandwidth::ReadBandwidth(unsigned threads)
    : pool_(threads), buffer_(kFloats, 1.0f), found_(kFloats / kPiece) {}

double ReadBandwidth::pass() {
  const double seconds = seconds_of([&] {
    pool_.run(found_.size(), [&](std::size_t i, unsigned) {
      found_[i] = ops::simd_max(buffer_.data() + i * kPiece, kPiece);
    });
  });
  return static_cast<double>(kFloats * sizeof(float)) / seconds;
}

double product_peak(unsigned threads) {
  Pool pool(threads);
  constexpr std::size_t n = 1024;
  std::vector<std::vector<float>> buffers(3 * std::size_t{pool.size()},
                                          std::vector<float>(n * n, 0.5f));
  double best = 1e9;
  for (int pass = 0; pass < 5; ++pass) {
    best = std::min(best, seconds_of([&] {
                      pool.run(pool.size(), [&](std::size_t i, unsigned) {
                        ops::gemm_nt(ops::Kernels::fast, n, n, n, buffers[3 * i].data(), n,
                                     buffers[3 * i + 1].data(), n, buffers[3 * i + 2].data(), n);
                      });
                    }));
  }
  return 2.0 * n * n * n * pool.size() / best;
}

}  // namespace wb::engine
