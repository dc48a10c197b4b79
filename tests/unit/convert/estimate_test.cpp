// What a conversion will take: sizes are exact, and the rate is one that was measured.
#include "convert/estimate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/convert/model_of.h"

namespace wb {
namespace {

TEST(Estimate, SizesAreTheLayouts) {
  const LoweredModel model = model_of({{"a", Tensor::fill(DType::F32, {700, 1000}, 0.5)},
                                       {"b", Tensor::fill(DType::BF16, {3}, 1.0)},
                                       {"c", Tensor::fill(DType::F32, {0, 4}, 0.0)}});
  const FolderLayout layout = lay_out(model, 2'000'000);
  ASSERT_EQ(layout.files.size(), 2u);
  const Estimate found = estimate(layout, 2, 60);
  EXPECT_EQ(found.output_bytes, layout.files[0].bytes + layout.files[1].bytes);
  // With fewer tiles than samples the large tensor is made whole, once.
  EXPECT_GE(found.sampled_bytes, 700u * 1000 * 4);
  EXPECT_LE(found.sampled_bytes, 700u * 1000 * 4 + 3 * 2);
  EXPECT_GT(found.bytes_per_second, 0);
  EXPECT_DOUBLE_EQ(found.seconds, static_cast<double>(found.output_bytes) / found.bytes_per_second);
  EXPECT_EQ(estimate(layout, 4, 60).tile_bytes, 2 * found.tile_bytes);
}

TEST(Estimate, TimeThatIsOverSamplesNothing) {
  const LoweredModel model = model_of({{"a", Tensor::fill(DType::F32, {1000}, 0.5)}});
  const Estimate none = estimate(lay_out(model, 1 << 30), 1, -1);
  EXPECT_EQ(none.sampled_bytes, 0u);
  EXPECT_EQ(none.bytes_per_second, 0);
  EXPECT_EQ(none.seconds, 0);
  EXPECT_GT(none.output_bytes, 4000u);
}

TEST(Estimate, AnEmptyModelHasOnlyAHeader) {
  const LoweredModel model = model_of({{"a", Tensor::fill(DType::F32, {0}, 0.0)}});
  const Estimate found = estimate(lay_out(model, 1 << 30), 0, 1);
  EXPECT_EQ(found.sampled_bytes, 0u);
  EXPECT_GT(found.output_bytes, 8u);
}

}  // namespace
}  // namespace wb
