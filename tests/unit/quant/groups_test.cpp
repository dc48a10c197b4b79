// The quantisers against what MLX wrote, and the fast version against the plain one on each
// instruction set that this processor has.
#include "quant/groups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/minifloat.h"
#include "unit/quant/check_groups.h"
#include "unit/targets_fixture.h"

namespace wb {
namespace {

using namespace quant_check;
const char* const kGolden = WB_SOURCE_DIR "/tests/fixtures/goldens/mlx-quantize.safetensors";

TEST(Plain, IsWhatMlxWrote) {
  std::size_t compared = 0;
  EXPECT_EQ(against_golden(kGolden, quantize_groups_plain, compared), "");
  // 63 triples and pairs of 4096 weights: not an empty comparison.
  EXPECT_GT(compared, 150000u);
}

// Runs the body on one instruction set, or skips loudly where the processor has it not.
class OnTarget : public TargetTest {
 protected:
  OnTarget() : TargetTest(quantize_target) {}
};

TEST_P(OnTarget, FastIsWhatMlxWrote) {
  std::size_t compared = 0;
  EXPECT_EQ(against_golden(kGolden, quantize_groups, compared), "");
  EXPECT_GT(compared, 150000u);
}

TEST_P(OnTarget, FastIsPlain) {
  std::size_t compared = 0;
  EXPECT_EQ(fast_against_plain(compared), "");
}

INSTANTIATE_TEST_SUITE_P(Groups, OnTarget, all_targets(), target_name);

TEST(Minifloat, E4m3IsWhatTheFormatSays) {
  // Every code comes back; 0x7f is read as 480 and never written.
  for (unsigned c = 0; c < 256; ++c) {
    const float x = mlx_e4m3_to_f32(static_cast<std::uint8_t>(c));
    const unsigned want = (c & 0x7fu) == 0x7fu ? c - 1 : c;
    EXPECT_EQ(f32_to_mlx_e4m3(x), want) << c;
  }
  EXPECT_EQ(mlx_e4m3_to_f32(0x7f), 480.0f);
  EXPECT_EQ(mlx_e4m3_to_f32(0x7e), 448.0f);
  EXPECT_EQ(mlx_e4m3_to_f32(0x01), 0x1p-9f);
  EXPECT_EQ(f32_to_mlx_e4m3(0x1p-10f), 0);   // a tie, to even
  EXPECT_EQ(f32_to_mlx_e4m3(0x1.8p-9f), 2);  // a tie, to even
  EXPECT_EQ(f32_to_mlx_e4m3(-std::nanf("")), 0xfe);
  EXPECT_EQ(f32_to_mlx_e4m3(17.0f), 0x58);  // 16: a tie between 16 and 18, to even
  EXPECT_EQ(e8m0_to_f32(0), 0x1p-127f);
  EXPECT_EQ(e8m0_to_f32(127), 1.0f);
}

// The example of the format's description: mxfp4, f32 (formats.md B3).
TEST(Plain, Mxfp4ByHand) {
  std::vector<float> x = {6,    -.1f, -.75f, .75f,  1.25f, 1.75f, 2.5f,
                          3.5f, 5,    -5,    -3.5f, -.25f, .25f,  -2.5f};
  x.resize(32);
  std::vector<std::uint32_t> words(4, 0xdeadbeef);  // whatever was there
  std::byte scale{};
  const QuantFormat f = default_format(QuantMode::mxfp4);
  EXPECT_EQ(quantize_groups_plain(f, DType::F32, reinterpret_cast<const std::byte*>(x.data()), 1,
                                  {words.data(), &scale, nullptr}),
            1u);
  EXPECT_EQ(words, (std::vector<std::uint32_t>{0x54321907, 0x00c00de6, 0, 0}));
  EXPECT_EQ(scale, std::byte{127});
}

// Weights far below the smallest scale: the byte stays 0 where MLX's on a CPU wraps to 244.
TEST(Plain, ScaleByteIsClamped) {
  const std::vector<float> x(32, 1e-41f);
  std::vector<std::uint32_t> words(4);
  std::byte scale{77};
  const QuantFormat f = default_format(QuantMode::mxfp4);
  quantize_groups_plain(f, DType::F32, reinterpret_cast<const std::byte*>(x.data()), 1,
                        {words.data(), &scale, nullptr});
  EXPECT_EQ(scale, std::byte{0});
}

// x[i] = i mod 2^b, then x[0] = 2^b - 1 and x[1] = 0: scale -1, bias 2^b - 1 (formats.md A7).
TEST(Plain, AffineByHand) {
  const std::map<unsigned, std::vector<std::uint32_t>> golden = {
      {2, {0x1b1b1b1c, 0x1b1b1b1b}},
      {3, {0x77053978, 0x39770539, 0x05397705}},
      {4, {0x89abcdf0, 0x01234567, 0x89abcdef, 0x01234567}},
      {5, {0x75be77e0, 0x3a56d7c6, 0x35cf8465, 0xc74254b6, 0x00443214}},
      {6, {0xbbf3dfc0, 0x5db7e39e, 0xc31cb3d3, 0xabb2dbaf, 0x59a7a29a, 0x8218a392}},
      {8,
       {0xfcfdff00, 0xf8f9fafb, 0xf4f5f6f7, 0xf0f1f2f3, 0xecedeeef, 0xe8e9eaeb, 0xe4e5e6e7,
        0xe0e1e2e3}}};
  for (const auto& [bits, want] : golden) {
    std::vector<float> x(32), back(32);
    for (unsigned i = 0; i < 32; ++i) x[i] = static_cast<float>(i % (1u << bits));
    x[0] = static_cast<float>((1u << bits) - 1);
    x[1] = 0;
    std::vector<std::uint32_t> words(bits, 0xdeadbeef);  // whatever was there
    float scale = 0, bias = 0;
    const QuantFormat f{QuantMode::affine, bits, 32};
    quantize_groups_plain(
        f, DType::F32, reinterpret_cast<const std::byte*>(x.data()), 1,
        {words.data(), reinterpret_cast<std::byte*>(&scale), reinterpret_cast<std::byte*>(&bias)});
    EXPECT_EQ(words, want) << bits;
    EXPECT_EQ(scale, -1.0f);
    EXPECT_EQ(bias, x[0]);
    dequantize_groups_plain(
        f, DType::F32,
        {words.data(), reinterpret_cast<std::byte*>(&scale), reinterpret_cast<std::byte*>(&bias)},
        1, back.data());
    EXPECT_EQ(back, x) << bits;
  }
}

TEST(Plain, DecodingRoundsTwiceInTheTypeOfTheScales) {
  // bf16 has 8 significant bits. Code 3 with scale 1 + 2^-7: 3 + 3 * 2^-7 lies halfway between
  // 3 + 2^-6 and 3 + 2^-5; to even: 3 + 2^-5. Plus the bias 2^-6: 3 + 3 * 2^-6, exact. Rounded
  // once, 3 + 5 * 2^-7 would be 3 + 2^-5.
  const std::vector<std::uint32_t> words = {3, 0};
  const std::uint16_t scale = f32_to_bf16(1.0078125f), bias = f32_to_bf16(0.015625f);
  std::vector<float> out(32);
  dequantize_groups_plain({QuantMode::affine, 2, 32}, DType::BF16,
                          {words.data(), reinterpret_cast<const std::byte*>(&scale),
                           reinterpret_cast<const std::byte*>(&bias)},
                          1, out.data());
  EXPECT_EQ(out[0], 3.046875f);
}

}  // namespace
}  // namespace wb
