// TileSource against the plain evaluator: whole, in pieces, and as runs.
#include "convert/movement.h"

#include <gtest/gtest.h>

#include "random_views.h"

namespace wb {
namespace {

using test::Both;
using test::RandomViews;

std::vector<std::byte> part(const std::vector<std::byte>& bytes, std::uint64_t begin,
                            std::uint64_t end) {
  return {bytes.begin() + static_cast<std::ptrdiff_t>(begin),
          bytes.begin() + static_cast<std::ptrdiff_t>(end)};
}

TEST(TileSource, GathersAnyRangeOfRandomExpressions) {
  struct Kind {
    DType dtype;
    unsigned width;
  };
  const Kind kinds[] = {{DType::F32, 4}, {DType::U8, 1}, {DType::BF16, 2}, {DType::I64, 8}};
  for (unsigned seed = 0; seed < 600; ++seed) {
    RandomViews random(seed);
    Kind kind = kinds[seed % 4];
    Both t = random.grow(random.leaf(kind.dtype, kind.width, random.shape(random.upto(40) + 1)),
                         static_cast<int>(random.upto(8)));
    ASSERT_EQ(t.lazy.shape(), t.dense.shape) << "seed " << seed;
    std::vector<std::byte> expected = t.dense.bytes();
    TileSource reader(t.lazy);
    std::uint64_t n = t.dense.bits.size(), width = t.dense.width;
    for (int range = 0; range < 8; ++range) {
      std::uint64_t begin = range == 0 ? 0 : random.upto(n - 1);
      std::uint64_t end = range == 0 ? n : begin + 1 + random.upto(n - begin - 1);
      std::vector<std::byte> got((end - begin) * width, std::byte{0xee});
      reader.gather(begin, end, got);
      ASSERT_EQ(got, part(expected, begin * width, end * width))
          << "seed " << seed << " elements " << begin << ":" << end << " of "
          << to_string(t.dense.shape);
    }
  }
}

TEST(TileSource, NamesLongRunsOfRandomExpressions) {
  int with_runs = 0;
  for (unsigned seed = 0; seed < 60; ++seed) {
    RandomViews random(seed);
    Shape shape = {random.upto(2) + 1, 9000};
    Both t = random.grow(random.leaf(DType::F32, 4, shape), static_cast<int>(random.upto(3)));
    TileSource reader(t.lazy);
    if (!reader.long_runs()) continue;
    ++with_runs;
    std::uint64_t n = t.dense.bits.size(), width = t.dense.width;
    std::uint64_t begin = random.upto(n - 1), end = begin + 1 + random.upto(n - begin - 1);
    std::vector<std::byte> got(n * width);
    reader.for_each_run(begin, end, [&](std::uint64_t at, std::span<const std::byte> bytes) {
      ASSERT_LE(begin * width, at);
      ASSERT_LE(at + bytes.size(), end * width);
      std::copy(bytes.begin(), bytes.end(), got.begin() + static_cast<std::ptrdiff_t>(at));
    });
    ASSERT_EQ(part(got, begin * width, end * width),
              part(t.dense.bytes(), begin * width, end * width))
        << "seed " << seed;
  }
  EXPECT_GT(with_runs, 10);
}

TEST(TileSource, GathersWhatIsInterleavedOrConstant) {
  // Columns of two tensors side by side are long runs only while the rows are long.
  std::vector<float> values(20000, 1.5f);
  Tensor a = Tensor::values("a", values, {2, 10000});
  Tensor wide[] = {a, a}, narrow[] = {a.reshape({2000, 10}), a.reshape({2000, 10})};
  EXPECT_TRUE(TileSource(Tensor::concat(1, wide)).long_runs());
  EXPECT_FALSE(TileSource(Tensor::concat(1, narrow)).long_runs());
  EXPECT_FALSE(TileSource(a.cast(DType::F16)).long_runs());
  EXPECT_TRUE(TileSource(Tensor::fill(DType::F32, {100}, 0.0)).long_runs());
  EXPECT_FALSE(TileSource(Tensor::fill(DType::F32, {100}, 1.0)).long_runs());
  Tensor twos = Tensor::fill(DType::BF16, {3}, 2.0);
  std::uint16_t got[3] = {};
  TileSource(twos).gather(0, 3, std::as_writable_bytes(std::span(got)));
  for (std::uint16_t bits : got) EXPECT_EQ(bits, 0x4000);
}

}  // namespace
}  // namespace wb
