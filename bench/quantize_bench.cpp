// Quantising and decoding in memory: bytes of input per second. bench/run_quantize.sh puts real
// MLX beside it on the same arrays.
//
//   quantize_bench [--benchmark_filter=affine/bf16/b4]
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/threads.h"
#include "quant/groups.h"
#include "tensor/element.h"

namespace wb {
namespace {

constexpr std::size_t kCount = std::size_t{4096} * 4096;

// The same numbers as bench/peer_quantize.js makes: a linear congruential generator's upper bits,
// the sum of four as a bell curve of deviation near 0.02.
const std::vector<float>& values() {
  static const std::vector<float> all = [] {
    std::vector<float> v(kCount);
    std::uint32_t state = 1;
    for (float& x : v) {
      double sum = 0;
      for (int k = 0; k < 4; ++k) {
        state = state * 1664525u + 1013904223u;
        sum += static_cast<double>(state >> 8) * 0x1p-24 - 0.5;
      }
      x = static_cast<float>(sum * 0.0346);
    }
    return v;
  }();
  return all;
}

const std::vector<std::byte>& input(DType dtype) {
  static std::vector<std::byte> all[3];
  auto& out = all[dtype == DType::F32 ? 0 : dtype == DType::F16 ? 1 : 2];
  if (out.empty()) {
    out.resize(kCount * item_size(dtype));
    convert_elements(DType::F32, reinterpret_cast<const std::byte*>(values().data()), dtype,
                     out.data(), kCount);
  }
  return out;
}

using Quantizer = std::size_t (*)(const QuantFormat&, DType, const std::byte*, std::size_t,
                                  const QuantizedGroups&);

void run(benchmark::State& state, Quantizer quantizer, const QuantFormat& f, DType dtype,
         unsigned threads) {
  const std::vector<std::byte>& in = input(dtype);
  const std::size_t groups = kCount / f.group_size, size = item_size(dtype);
  const std::size_t scale = item_size(scales_dtype(f, dtype));
  std::vector<std::uint32_t> words(groups * words_per_group(f));
  std::vector<std::byte> scales(groups * scale), biases(groups * size);
  const std::size_t pieces = 64, each = groups / pieces;
  for (auto _ : state) {
    parallel_for(pieces, threads, [&](std::size_t p, unsigned) {
      const std::size_t g = p * each;
      quantizer(f, dtype, in.data() + g * f.group_size * size, each,
                {words.data() + g * words_per_group(f), scales.data() + g * scale,
                 has_biases(f) ? biases.data() + g * size : nullptr});
    });
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(in.size()) *
                          static_cast<std::int64_t>(state.iterations()));
  state.SetLabel(quantizer == quantize_groups ? quantize_target() : "plain");
}

void decode(benchmark::State& state, const QuantFormat& f, DType dtype) {
  const std::size_t groups = kCount / f.group_size;
  std::vector<std::uint32_t> words(groups * words_per_group(f));
  std::vector<std::byte> scales(groups * 4), biases(groups * 4);
  std::vector<float> out(kCount);
  quantize_groups(f, dtype, input(dtype).data(), groups,
                  {words.data(), scales.data(), has_biases(f) ? biases.data() : nullptr});
  for (auto _ : state) {
    dequantize_groups(f, dtype, {words.data(), scales.data(), biases.data()}, groups, out.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(kCount * 4) *
                          static_cast<std::int64_t>(state.iterations()));
}

void add(const QuantFormat& f, const std::string& type, DType dtype) {
  std::string where = std::string(name(f.mode)) + "/" + type;
  if (has_biases(f)) where += "/b" + std::to_string(f.bits) + "/g" + std::to_string(f.group_size);
  const auto timed = [&](const std::string& what, auto body) {
    benchmark::RegisterBenchmark((where + what).c_str(), body)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  };
  timed("/all_cores", [=](benchmark::State& s) { run(s, quantize_groups, f, dtype, 0); });
  timed("/one_core", [=](benchmark::State& s) { run(s, quantize_groups, f, dtype, 1); });
  if (f.group_size != 64 && has_biases(f)) return;
  timed("/plain", [=](benchmark::State& s) { run(s, quantize_groups_plain, f, dtype, 1); });
  timed("/decode", [=](benchmark::State& s) { decode(s, f, dtype); });
}

}  // namespace
}  // namespace wb

int main(int argc, char** argv) {
  using namespace wb;
  for (const auto& [type, dtype] : {std::pair<std::string, DType>("f32", DType::F32),
                                    {"f16", DType::F16},
                                    {"bf16", DType::BF16}}) {
    for (unsigned bits : {2u, 3u, 4u, 5u, 6u, 8u}) add({QuantMode::affine, bits, 64}, type, dtype);
    add({QuantMode::affine, 4, 32}, type, dtype);
    add({QuantMode::affine, 4, 128}, type, dtype);
    for (QuantMode m : {QuantMode::mxfp4, QuantMode::mxfp8, QuantMode::nvfp4}) {
      add(default_format(m), type, dtype);
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
