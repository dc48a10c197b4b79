// The quantisers against what MLX wrote, and the fast version against the plain one on each
// instruction set that this processor has.
#include "quant/groups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

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

// The last bytes of a page before one that may not be touched.
class PageEnd {
 public:
  explicit PageEnd(std::size_t bytes) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    size_ = (bytes + page - 1) / page * page + page;
    void* at = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(at, MAP_FAILED);
    begin_ = static_cast<std::byte*>(at);
    EXPECT_EQ(::mprotect(begin_ + size_ - page, page, PROT_NONE), 0);
    data = begin_ + size_ - page - bytes;
  }
  ~PageEnd() { ::munmap(begin_, size_); }
  PageEnd(const PageEnd&) = delete;
  PageEnd& operator=(const PageEnd&) = delete;
  std::byte* data = nullptr;

 private:
  std::byte* begin_ = nullptr;
  std::size_t size_ = 0;
};

// Any number of groups, read and written where the next byte would end the process.
TEST_P(OnTarget, NothingBeyondTheGroupsIsTouched) {
  for (const QuantFormat& f : formats()) {
    for (const auto& [name, dtype] : types()) {
      for (std::size_t groups : {1, 2, 3, 5, 7, 17, 33}) {
        const std::size_t size = item_size(dtype), count = groups * f.group_size;
        const PageEnd values(count * size), words(groups * words_per_group(f) * 4),
            scales(groups * item_size(scales_dtype(f, dtype))), biases(groups * size);
        std::vector<float> numbers(count);
        for (std::size_t i = 0; i < count; ++i) {
          numbers[i] = static_cast<float>(static_cast<int>(i * 37 % 101) - 50) / 16;
        }
        convert_elements(DType::F32, reinterpret_cast<const std::byte*>(numbers.data()), dtype,
                         values.data, count);
        const QuantizedGroups out{reinterpret_cast<std::uint32_t*>(words.data), scales.data,
                                  has_biases(f) ? biases.data : nullptr};
        ASSERT_EQ(quantize_groups_plain(f, dtype, values.data, groups, out), groups);
        ASSERT_EQ(quantize_groups(f, dtype, values.data, groups, out), groups);
        const Quantized plain =
            run(quantize_groups_plain, f, dtype, Bytes(values.data, values.data + count * size));
        ASSERT_EQ(Bytes(words.data, words.data + plain.words.size()), plain.words) << name;
        ASSERT_EQ(Bytes(scales.data, scales.data + plain.scales.size()), plain.scales) << name;
        const PageEnd back(count * sizeof(float));
        const QuantizedInput in{reinterpret_cast<const std::uint32_t*>(words.data), scales.data,
                                has_biases(f) ? biases.data : nullptr};
        dequantize_groups_plain(f, dtype, in, groups, reinterpret_cast<float*>(back.data));
      }
    }
  }
}

// A group of zeros, of either sign, beside others: its scale is the least there is.
TEST_P(OnTarget, GroupsOfZerosAreAsPlain) {
  for (const QuantFormat& f : formats()) {
    std::vector<float> numbers(4 * f.group_size, 0.0f);
    for (std::size_t i = 0; i < f.group_size; ++i) {
      numbers[f.group_size + i] = -0.0f;
      numbers[2 * f.group_size + i] = i % 2 == 0 ? 1e-30f : -0.0f;
      numbers[3 * f.group_size + i] = static_cast<float>(i);
    }
    Bytes values(numbers.size() * sizeof(float));
    std::memcpy(values.data(), numbers.data(), values.size());
    const Quantized fast = run(quantize_groups, f, DType::F32, values),
                    plain = run(quantize_groups_plain, f, DType::F32, values);
    EXPECT_EQ(fast.words, plain.words);
    EXPECT_EQ(fast.scales, plain.scales);
    EXPECT_EQ(fast.biases, plain.biases);
  }
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
