// The fast conversions against the plain ones, bit for bit, on each instruction set that this
// processor has; and dequantised tensors, read range by range, against the formula written out.
#include "tensor/kernels.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "tensor/element.h"
#include "tensor/read.h"
#include "tensor/tensor.h"
#include "unit/targets_fixture.h"

namespace wb {
namespace {

std::vector<std::byte> bytes_of(const void* data, std::size_t size) {
  std::vector<std::byte> out(size);
  std::memcpy(out.data(), data, size);
  return out;
}
template <class T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  return bytes_of(values.data(), values.size() * sizeof(T));
}

// Runs the body on one instruction set, or skips loudly where the processor has it not.
class KernelsOn : public TargetTest {
 protected:
  KernelsOn() : TargetTest(kernels_target) {}
};

// Every f32 whose low 13 bits are one of a few around the ties of both halves: all exponents,
// subnormals, infinities and NaN of either sign among them.
std::vector<std::uint32_t> singles() {
  std::vector<std::uint32_t> out;
  for (std::uint32_t high = 0; high < 1u << 19; ++high) {
    static constexpr std::uint32_t kLow[] = {0, 1, 0xfff, 0x1000, 0x1001, 0x1fff};
    out.push_back(high << 13 | kLow[high % 6]);
    out.push_back(high << 13 | kLow[(high / 6) % 6]);
  }
  return out;
}

std::vector<std::byte> every_element(DType dtype) {
  if (dtype == DType::F32) return bytes_of(singles());
  if (item_size(dtype) == 1) {
    std::vector<std::uint8_t> all(256);
    for (unsigned i = 0; i < 256; ++i) all[i] = static_cast<std::uint8_t>(i);
    return bytes_of(all);
  }
  std::vector<std::uint16_t> all(1u << 16);
  for (unsigned i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
  return bytes_of(all);
}

TEST_P(KernelsOn, CastsAreThePlainOnes) {
  int pairs = 0;
  for (DType from : {DType::F32, DType::F16, DType::BF16, DType::F8_E4M3}) {
    const std::vector<std::byte> in = every_element(from);
    const std::size_t n = in.size() / item_size(from);
    for (DType to : {DType::F32, DType::F16, DType::BF16}) {
      if (from == to) continue;
      ASSERT_TRUE(is_fast_pair(from, to));
      ++pairs;
      std::vector<std::byte> fast(n * item_size(to)), plain(fast.size());
      convert_elements_fast(from, in.data(), to, fast.data(), n);
      convert_elements_plain(from, in.data(), to, plain.data(), n);
      EXPECT_TRUE(fast == plain) << name(from) << " to " << name(to);
    }
  }
  EXPECT_EQ(pairs, 9);
}

// Lengths that leave a part of a vector, from places that are not aligned to one; what stands
// behind the end stays as it is.
TEST_P(KernelsOn, CastsOfAnyLength) {
  const std::vector<std::byte> in = every_element(DType::BF16);
  for (std::size_t first : {0x3f00u, 0x3f01u, 0x3f07u}) {
    for (std::size_t n = 0; n < 40; ++n) {
      std::vector<std::byte> fast((n + 1) * 4, std::byte{0x5a}), plain = fast;
      convert_elements_fast(DType::BF16, in.data() + first * 2, DType::F32, fast.data(), n);
      convert_elements_plain(DType::BF16, in.data() + first * 2, DType::F32, plain.data(), n);
      EXPECT_TRUE(fast == plain) << n << " from " << first;
    }
  }
}

TEST_P(KernelsOn, ScaledCodesAreThePlainOnes) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (DType from : {DType::F8_E4M3, DType::F8_E5M2, DType::I8, DType::U8}) {
    const std::vector<std::byte> all = every_element(from);
    std::vector<std::byte> in = all;
    in.insert(in.end(), all.begin(), all.begin() + 251);  // not a whole number of vectors
    for (DType to : {DType::F32, DType::F16, DType::BF16}) {
      for (float factor : {1.0f, 2.34375e-4f, -0.3f, 1e-41f, 3e38f, 0.0f, -0.0f, infinity}) {
        std::vector<std::byte> fast(in.size() * item_size(to)), plain(fast.size());
        scale_codes(from, in.data(), factor, to, fast.data(), in.size());
        scale_codes_plain(from, in.data(), factor, to, plain.data(), in.size());
        EXPECT_TRUE(fast == plain) << name(from) << " to " << name(to) << " times " << factor;
      }
    }
  }
}

TEST_P(KernelsOn, NibblesAreThePlainOnes) {
  std::vector<std::byte> in = every_element(DType::U8);
  in.resize(256 + 77, std::byte{0xa3});
  std::vector<std::byte> fast(2 * in.size()), plain(fast.size());
  unpack_nibbles(in.data(), fast.data(), in.size());
  unpack_nibbles_plain(in.data(), plain.data(), in.size());
  EXPECT_TRUE(fast == plain);
  for (unsigned i = 0; i < 256; ++i) {  // byte i: halves i % 16 and i / 16, each less 8
    EXPECT_EQ(static_cast<std::int8_t>(fast[2 * i]), static_cast<int>(i % 16) - 8);
    EXPECT_EQ(static_cast<std::int8_t>(fast[2 * i + 1]), static_cast<int>(i / 16) - 8);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, KernelsOn, all_targets(), target_name);

// What an E4M3 code says by its definition: 1 sign, 4 exponent (bias 7), 3 mantissa bits.
double e4m3(unsigned code) {
  const int exponent = static_cast<int>(code >> 3 & 15);
  const double mantissa = code & 7;
  const double size =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return (code & 0x80u) != 0 ? -size : size;
}

// A matrix of codes whose sides are no multiples of the block's, so that blocks are cut at both
// edges; all 256 codes occur in it, the two NaN as well.
struct Dequantised {
  static constexpr std::uint64_t kRows = 37, kColumns = 301;
  std::vector<std::uint8_t> codes = std::vector<std::uint8_t>(kRows * kColumns);
  std::vector<float> scales;
  Tensor codes_tensor, scales_tensor;
  std::uint64_t rows, columns;

  Dequantised(std::uint64_t block_rows, std::uint64_t block_columns)
      : rows(block_rows), columns(block_columns) {
    for (std::size_t i = 0; i < codes.size(); ++i)
      codes[i] = static_cast<std::uint8_t>(i * 7 + i / 256);
    std::mt19937 random(1);
    std::uniform_real_distribution<float> scale(1e-5f, 3e-3f);
    const Shape grid = {(kRows + rows - 1) / rows, (kColumns + columns - 1) / columns};
    for (std::uint64_t i = 0; i < grid[0] * grid[1]; ++i) scales.push_back(scale(random));
    codes_tensor =
        Tensor::stored("w", memory_storage(bytes_of(codes)), DType::F8_E4M3, {kRows, kColumns});
    scales_tensor = Tensor::values("s", scales, grid);
  }
  Tensor product() const {
    return Tensor::times(codes_tensor, scales_tensor, {rows, columns}, DType::F32);
  }
  float at(std::uint64_t i) const {
    const std::uint64_t r = i / kColumns, c = i % kColumns;
    const std::uint64_t width = (kColumns + columns - 1) / columns;
    return static_cast<float>(e4m3(codes[i])) * scales[r / rows * width + c / columns];
  }
};

TEST(ScaledCodes, AnyRangeIsTheFormula) {
  for (const auto& [rows, columns] : {std::pair<std::uint64_t, std::uint64_t>{16, 128},
                                      {128, 128},
                                      {1, 32},
                                      {5, 7},
                                      {1, 301},
                                      {37, 1}}) {
    const Dequantised w(rows, columns);
    const Tensor single = w.product(), half = single.cast(DType::BF16);
    for (const auto& [begin, end] : {std::pair<std::uint64_t, std::uint64_t>{0, 37 * 301},
                                     {1, 2},
                                     {300, 302},
                                     {127, 5000},
                                     {11136, 11137}}) {
      std::vector<float> wide(end - begin);
      std::vector<std::uint16_t> narrow(end - begin);
      read_range(single, begin, end, std::as_writable_bytes(std::span<float>(wide)));
      read_range(half, begin, end, std::as_writable_bytes(std::span<std::uint16_t>(narrow)));
      for (std::uint64_t i = begin; i < end; ++i) {
        const float got = wide[i - begin];
        if ((w.codes[i] & 0x7f) == 0x7f) {
          ASSERT_TRUE(std::isnan(got) && std::isnan(bf16_to_f32(narrow[i - begin]))) << i;
          continue;
        }
        ASSERT_EQ(std::bit_cast<std::uint32_t>(got), std::bit_cast<std::uint32_t>(w.at(i))) << i;
        ASSERT_EQ(narrow[i - begin], f32_to_bf16(w.at(i))) << i;
      }
    }
  }
}

// A stack of dequantised matrices, transposed views of them and narrow slices: read in pieces as
// large and as small as may be, they are what reading them whole gives.
TEST(ScaledCodes, ViewsInPiecesAreTheWhole) {
  const Dequantised w(16, 128);
  const Tensor half = w.product().cast(DType::BF16);
  const Tensor stack = Tensor::stack(0, std::vector<Tensor>{half, half.slice(0, 0, 37), half});
  const Tensor columns = half.slice(1, 3, 9);
  const Tensor both = Tensor::concat(1, std::vector<Tensor>{columns, half.slice(1, 100, 300)});
  for (const Tensor& t :
       {stack, half.transpose(), columns, both, stack.permute(std::vector<int>{1, 0, 2})}) {
    const std::vector<std::byte> whole = read_all(t);
    const RangeReader reader(t);
    for (const std::uint64_t piece :
         {std::uint64_t{1}, std::uint64_t{13}, std::uint64_t{4096}, t.numel()}) {
      std::vector<std::byte> got(whole.size());
      for (std::uint64_t at = 0; at < t.numel(); at += piece) {
        const std::uint64_t n = std::min(piece, t.numel() - at);
        reader.read(at, at + n, std::span(got).subspan(at * 2, n * 2));
      }
      EXPECT_TRUE(got == whole) << t.describe() << " by " << piece;
    }
  }
  // And the whole is right: element (r, c) of the transposed one is (c, r).
  const std::vector<std::byte> plain = read_all(half), turned = read_all(half.transpose());
  for (std::uint64_t i = 0; i < half.numel(); ++i) {
    const std::uint64_t r = i / Dequantised::kColumns, c = i % Dequantised::kColumns;
    ASSERT_EQ(std::memcmp(&plain[i * 2], &turned[(c * Dequantised::kRows + r) * 2], 2), 0) << i;
  }
}

TEST(Unpack4, AnyRangeIsTheWords) {
  std::vector<std::uint32_t> words(300);
  std::mt19937 random(2);
  for (std::uint32_t& word : words) word = static_cast<std::uint32_t>(random());
  const Tensor numbers =
      Tensor::stored("p", memory_storage(bytes_of(words)), DType::I32, {300}).unpack4();
  for (const auto& [begin, end] : {std::pair<std::uint64_t, std::uint64_t>{0, 2400},
                                   {1, 2},
                                   {7, 9},
                                   {8, 16},
                                   {3, 2399},
                                   {17, 31}}) {
    std::vector<std::int8_t> got(end - begin);
    read_range(numbers, begin, end, std::as_writable_bytes(std::span<std::int8_t>(got)));
    for (std::uint64_t i = begin; i < end; ++i) {
      ASSERT_EQ(got[i - begin], static_cast<int>(words[i / 8] >> (4 * (i % 8)) & 15u) - 8) << i;
    }
  }
}

}  // namespace
}  // namespace wb
