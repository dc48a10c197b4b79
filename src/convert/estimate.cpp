// See estimate.h.
#include "convert/estimate.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/threads.h"
#include "convert/movement.h"

namespace wb {

namespace {

constexpr std::uint64_t kTile = 1 << 20;     // as the executor's largest
constexpr std::uint64_t kSamples = 1 << 12;  // most tiles

struct Sample {
  const PlacedTensor* tensor;
  std::uint64_t begin, end;  // elements
};

// Tiles at even distances over the bytes of all files.
std::vector<Sample> samples_of(const FolderLayout& layout) {
  const std::uint64_t step = std::max<std::uint64_t>(kTile, layout.tensor_bytes / kSamples);
  std::vector<Sample> samples;
  std::uint64_t before = 0, next = 0;
  for (const TensorFile& file : layout.files) {
    for (const PlacedTensor& placed : file.tensors) {
      const std::uint64_t size = item_size(placed.tensor->tensor.dtype());
      for (; next < before + placed.bytes; next += step) {
        const std::uint64_t at = next - before;
        samples.push_back({&placed, at / size, std::min(placed.bytes, at + kTile) / size});
      }
      before += placed.bytes;
    }
  }
  // Every k-th first, so that a sample cut short by the clock is still spread over everything.
  std::vector<Sample> spread;
  const std::size_t stride = 61;
  for (std::size_t first = 0; first < std::min(stride, samples.size()); ++first) {
    for (std::size_t i = first; i < samples.size(); i += stride) spread.push_back(samples[i]);
  }
  return spread;
}

}  // namespace

Estimate estimate(const FolderLayout& layout, unsigned threads, double seconds) {
  using Clock = std::chrono::steady_clock;
  if (threads == 0) threads = default_threads();
  Estimate out;
  for (const TensorFile& file : layout.files) out.output_bytes += file.bytes;
  out.tile_bytes = threads * kTile;
  const std::vector<Sample> samples = samples_of(layout);
  std::vector<std::vector<std::byte>> buffers(threads);
  std::vector<std::uint64_t> made(threads);
  const auto start = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  parallel_for(samples.size(), threads, [&](std::size_t i, unsigned worker) {
    if (elapsed() > seconds) return;
    const Sample& s = samples[i];
    const Tensor& tensor = s.tensor->tensor->tensor;
    buffers[worker].resize((s.end - s.begin) * item_size(tensor.dtype()));
    TileSource(tensor).gather(s.begin, s.end, buffers[worker]);
    made[worker] += buffers[worker].size();
  });
  const double took = elapsed();
  for (const std::uint64_t bytes : made) out.sampled_bytes += bytes;
  if (out.sampled_bytes > 0 && took > 0) {
    out.bytes_per_second = static_cast<double>(out.sampled_bytes) / took;
    out.seconds = static_cast<double>(out.output_bytes) / out.bytes_per_second;
  }
  return out;
}

}  // namespace wb
