// Against real MLX, live: f32 matrices quantised by the release on npm and here are the same
// bytes (affine, 2, 4 and 8 bits; what that release has). Skipped, loudly, without it.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "unit/quant/check_groups.h"

namespace wb {
namespace {

using namespace quant_check;
constexpr std::uint64_t kRows = 16, kColumns = 512;  // the least that release quantises

void write_input(const std::string& path, const std::map<std::string, std::vector<float>>& sets) {
  nlohmann::ordered_json header;
  std::uint64_t at = 0;
  for (const auto& [name, values] : sets) {
    const std::uint64_t end = at + values.size() * 4;
    header[name] = {{"dtype", "F32"}, {"shape", {kRows, kColumns}}, {"data_offsets", {at, end}}};
    at = end;
  }
  const std::string text = header.dump();
  const std::uint64_t size = text.size();
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&size), 8);
  out << text;
  for (const auto& [name, values] : sets) {
    out.write(reinterpret_cast<const char*>(values.data()),
              static_cast<std::streamsize>(values.size() * 4));
  }
}

TEST(MlxLive, F32IsByteForByteWhatMlxMakes) {
  const std::string work = WB_BINARY_DIR "/mlx-live";
  std::filesystem::create_directories(work);
  const std::string in = work + "/quantize-in.safetensors",
                    out = work + "/quantize-out.safetensors";
  auto sets = data_sets(kRows * kColumns);
  // What MLX promises nothing for, or had otherwise in that old release: not finite, an
  // overflowing range, and constants past 3e31, whose scale is 0.
  for (const char* left_out : {"nonfinite", "huge", "constant"}) sets.erase(left_out);
  write_input(in, sets);
  std::filesystem::remove(out);
  const std::string command = "sh '" WB_SOURCE_DIR "/tests/mlx_live/run.sh' '" + work +
                              "' --script quantize.js '" + in + "' '" + out + "'";
  const int status = std::system(command.c_str());
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
    GTEST_SKIP() << "SKIPPED: real MLX from npm is not there";
  }
  ASSERT_EQ(status, 0);
  const GoldenFile mlx(out);
  for (const auto& [set, values] : sets) {
    const Bytes input = in_type(DType::F32, values);
    for (unsigned bits : {2u, 4u, 8u}) {
      for (std::uint64_t group : {32u, 64u, 128u}) {
        const Quantized got =
            run(quantize_groups, {QuantMode::affine, bits, group}, DType::F32, input);
        const std::string name =
            set + ".b" + std::to_string(bits) + ".g" + std::to_string(group) + ".";
        EXPECT_EQ(got.words, mlx[name + "weight"]) << name;
        EXPECT_EQ(got.scales, mlx[name + "scales"]) << name;
        EXPECT_EQ(got.biases, mlx[name + "biases"]) << name;
      }
    }
  }
}

}  // namespace
}  // namespace wb
