// What the comparison of tensors says of each way in which two sides can differ.
#include "verify/tensors.h"

#include <gtest/gtest.h>

#include <vector>

#include "verify/judge.h"

namespace wb {
namespace {

Tensor of(std::vector<float> values, Shape shape = {}) {
  if (shape.empty()) shape = {values.size()};
  return Tensor::values("t", values, std::move(shape));
}
TensorRow only(Tensor a, Tensor b) {
  CanonicalModel source, folder;
  source.tensors.emplace("layers.0.x.weight", std::move(a));
  folder.tensors.emplace("layers.0.x.weight", std::move(b));
  TensorComparison c = compare_tensors(source, folder, 1);
  EXPECT_EQ(c.rows.size(), 1u);
  return c.rows.at(0);
}

TEST(CompareTensors, EachOutcome) {
  EXPECT_EQ(only(of({1, 2}), of({1, 2})).outcome, TensorOutcome::equal);
  EXPECT_EQ(only(of({1, 2}), of({1, 2}).cast(DType::BF16)).outcome, TensorOutcome::equal_value);
  // 1 + 2^-9 is half a unit of bf16's last place above 1: it may become 1, and no less.
  EXPECT_EQ(only(of({1.001953125f}), of({1.0f}).cast(DType::BF16)).outcome, TensorOutcome::rounded);
  EXPECT_EQ(only(of({1.0078125f}), of({1.0f}).cast(DType::BF16)).outcome, TensorOutcome::changed);
  // The same values, f32 on both sides: 1e-3 is no rounding.
  const TensorRow changed = only(of({3, 4}), of({3, 4.05f}));
  EXPECT_EQ(changed.outcome, TensorOutcome::changed);
  EXPECT_NEAR(changed.relative, 0.01, 1e-6);  // 0.05 / 5
  EXPECT_EQ(only(of({1, 2}), of({1, 2}, {2, 1})).outcome, TensorOutcome::reshaped);
  // Zero of the other sign is another bit pattern and the same value.
  EXPECT_EQ(only(of({0.0f}), of({-0.0f})).outcome, TensorOutcome::equal_value);
}

TEST(CompareTensors, GroupsByPatternAndCountsBothSides) {
  CanonicalModel source, folder;
  for (int l = 0; l < 3; ++l) {
    const std::string name = "layers." + std::to_string(l) + ".x.weight";
    source.tensors.emplace(name, of({1, 2}));
    folder.tensors.emplace(name, l == 1 ? of({1, 9}) : of({1, 2}));
  }
  source.tensors.emplace("mtp.0.x", of({1}));
  folder.tensors.emplace("head.bias", of({1}));
  const TensorComparison c = compare_tensors(source, folder, 2);
  ASSERT_EQ(c.rows.size(), 4u);
  EXPECT_EQ(c.rows[0].pattern, "head.bias");
  EXPECT_EQ(c.rows[1].pattern, "layers.{}.x.weight");
  EXPECT_EQ(c.rows[1].count, 2u);
  EXPECT_EQ(c.rows[1].source, "F32 [2]");
  EXPECT_EQ(c.count(TensorOutcome::changed), 1u);
  EXPECT_EQ(c.count(TensorOutcome::only_source), 1u);
  EXPECT_EQ(c.count(TensorOutcome::only_folder), 1u);
  EXPECT_FALSE(judge(c).pass);
}

// A source tensor that several canonical ones are made of is as well off as the worst of them.
TEST(CompareTensors, SourceTensorsByTheWorstOfWhatTheyBecame) {
  CanonicalModel source, folder;
  source.tensors.emplace("a", of({1, 2}));
  source.tensors.emplace("b", of({1, 2}));
  folder.tensors.emplace("a", of({1, 2}));
  folder.tensors.emplace("b", of({1, 9}));
  const auto arrived = source_outcomes(source, compare_tensors(source, folder, 1));
  EXPECT_EQ(arrived.at("t"), TensorOutcome::changed);
}

// A head that was left out is no difference of what the folder holds.
TEST(CompareTensors, TheVerdict) {
  CanonicalModel source, folder;
  source.tensors.emplace("a", of({1, 2}));
  source.tensors.emplace("mtp.0.x", of({1}));
  folder.tensors.emplace("a", of({1, 2}));
  EXPECT_TRUE(judge(compare_tensors(source, folder, 1)).pass);
  folder.tensors["a"] = of({1, 3});
  EXPECT_FALSE(judge(compare_tensors(source, folder, 1)).pass);
}

}  // namespace
}  // namespace wb
