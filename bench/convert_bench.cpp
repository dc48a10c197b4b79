// Parts of a conversion: gathering of strided views, long runs, hashes, layout of many
// tensors. Whole runs, with their disk, are bench/run_convert.sh's.
#include <benchmark/benchmark.h>

#include <numeric>
#include <vector>

#include "base/hash.h"
#include "convert/layout.h"
#include "convert/movement.h"

namespace wb {
namespace {

Tensor source(std::uint64_t rows, std::uint64_t columns) {
  static const std::vector<float> values = [] {
    std::vector<float> v(4u << 20);
    std::iota(v.begin(), v.end(), 0.0f);
    return v;
  }();
  return Tensor::values("source", std::span(values).first(rows * columns), {rows, columns});
}

// The tensor, made in tiles of 1 MiB as the executor makes it.
void gather(benchmark::State& state, const Tensor& tensor) {
  TileSource reader(tensor);
  std::vector<std::byte> tile(1 << 20);
  const std::uint64_t width = item_size(tensor.dtype()), step = tile.size() / width;
  for (auto _ : state) {
    for (std::uint64_t at = 0; at < tensor.numel(); at += step) {
      std::uint64_t end = std::min(tensor.numel(), at + step);
      reader.gather(at, end, std::span(tile).first((end - at) * width));
      benchmark::DoNotOptimize(tile.data());
    }
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(tensor.nbytes()) *
                          static_cast<std::int64_t>(state.iterations()));
}

void BM_Contiguous(benchmark::State& state) { gather(state, source(2048, 2048)); }
void BM_Transpose(benchmark::State& state) { gather(state, source(2048, 2048).transpose()); }
// An expert's down projection, its columns padded from 512 to 768.
void BM_PaddedColumns(benchmark::State& state) { gather(state, source(4096, 512).pad(1, 0, 256)); }
// Key and value rows of eight heads, dealt out head by head.
void BM_InterleavedHeads(benchmark::State& state) {
  Tensor parts[] = {source(512, 128).reshape({8, 64, 128}).slice(1, 0, 32),
                    source(512, 128).reshape({8, 64, 128})};
  gather(state, Tensor::concat(1, parts).reshape({768, 128}));
}
void BM_CastToBf16(benchmark::State& state) { gather(state, source(2048, 2048).cast(DType::BF16)); }
BENCHMARK(BM_Contiguous);
BENCHMARK(BM_Transpose);
BENCHMARK(BM_PaddedColumns);
BENCHMARK(BM_InterleavedHeads);
BENCHMARK(BM_CastToBf16);

void hash(benchmark::State& state, std::unique_ptr<Hasher> (*make)()) {
  std::vector<std::byte> bytes(16 << 20, std::byte{7});
  for (auto _ : state) {
    auto hasher = make();
    hasher->update(bytes);
    benchmark::DoNotOptimize(hasher->hex());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes.size()) *
                          static_cast<std::int64_t>(state.iterations()));
}
void BM_Xxh3(benchmark::State& state) { hash(state, make_xxh3_128); }
void BM_Sha256(benchmark::State& state) { hash(state, make_sha256); }
BENCHMARK(BM_Xxh3);
BENCHMARK(BM_Sha256);

void BM_LayOut(benchmark::State& state) {
  LoweredModel model;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    TargetTensor target;
    target.name = "model.layers." + std::to_string(i) + ".self_attn.o_proj.weight";
    target.tensor = Tensor::fill(DType::F32, {64, 64}, 0.0);
    model.tensors.push_back(std::move(target));
  }
  for (auto _ : state) benchmark::DoNotOptimize(lay_out(model, std::uint64_t{5} << 30));
}
BENCHMARK(BM_LayOut)->Arg(100)->Arg(10000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace wb

BENCHMARK_MAIN();
