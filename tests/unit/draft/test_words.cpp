// What names say, and what rope buffers and masks are, told from their values.
#include <gtest/gtest.h>

#include <cmath>

#include "draft/buffers.h"
#include "draft/words.h"
#include "unit/draft/draft_models.h"

namespace wb::draft {
namespace {

using Words = std::vector<std::string>;

TEST(Words, AreSplitWherePeopleSplitThem) {
  EXPECT_EQ(words_of("attn.W_DKV.weight"), (Words{"attn", "w", "dkv", "weight"}));
  EXPECT_EQ(words_of("selfAttention.qProj"), (Words{"self", "attention", "q", "proj"}));
  EXPECT_EQ(words_of("h.{l}.mlp.experts.{e}.w1"), (Words{"h", "mlp", "experts", "w1"}));
  EXPECT_TRUE(words_of("..{l}._-").empty());
}

TEST(Words, SayWhatTheFieldsAbbreviationsMean) {
  EXPECT_TRUE(features_of("kv_a_proj_with_mqa").kv);
  EXPECT_TRUE(features_of("W_dkv").down);
  EXPECT_TRUE(features_of("W_KR").k);
  EXPECT_TRUE(features_of("W_KR").rope);
  EXPECT_TRUE(features_of("wq").q);
  EXPECT_TRUE(features_of("key_value_up").kv) << "keys and values in one";
  EXPECT_FALSE(features_of("key_value_up").k);
  EXPECT_TRUE(features_of("attn.qkv").qkv);
  EXPECT_EQ(features_of("norm2").number, 2);
  EXPECT_EQ(features_of("norm").number, -1);
  EXPECT_FALSE(features_of("quantum.frequency").q) << "a word that begins with one is another";
}

// The only tensor of a checkpoint, as a buffer.
std::optional<Buffer> buffer(const std::string& name, const Shape& shape,
                             const std::function<float(std::uint64_t)>& value) {
  const Checkpoint c = CheckpointMaker().add(name, shape, value).make();
  Group g;
  g.pattern = g.first_name = name;
  g.shape = shape;
  g.tensors = {0};
  return buffer_of(g, c.tensors[0].tensor);
}

TEST(Buffers, AMaskIsCausalByItsValuesAndNotByItsName) {
  const auto lower = [](std::uint64_t i) { return i % 4 <= i / 4 ? 1.0f : 0.0f; };
  auto b = buffer("attn.bias", {1, 1, 4, 4}, [&](std::uint64_t i) { return lower(i % 16); });
  ASSERT_TRUE(b);
  EXPECT_EQ(b->kind, Buffer::Kind::causal_mask);
  EXPECT_EQ(b->check, "equal(this, tril(4).reshape(1, 1, 4, 4))");
  b = buffer("causal_mask", {4, 4}, [](std::uint64_t) { return 1.0f; });
  ASSERT_TRUE(b);
  EXPECT_EQ(b->kind, Buffer::Kind::other_mask) << "named a mask, and everything is seen";
  // -inf above the diagonal is a causal mask too, of other numbers.
  b = buffer("mask", {4, 4}, [&](std::uint64_t i) { return lower(i) == 1 ? 0.0f : -INFINITY; });
  ASSERT_TRUE(b);
  EXPECT_EQ(b->kind, Buffer::Kind::causal_mask);
  EXPECT_EQ(buffer("attn.w", {4, 4}, [](std::uint64_t i) { return float(i); }), std::nullopt);
}

TEST(Buffers, FrequenciesTellTheirBaseAndTablesTheirLayout) {
  const auto freq = [](std::uint64_t j) { return std::pow(500000.0, -2.0 * double(j) / 8); };
  auto b = buffer("rope.inv_freq", {4}, [&](std::uint64_t j) { return float(freq(j)); });
  ASSERT_TRUE(b);
  EXPECT_EQ(b->rope_dim, 8u);
  EXPECT_DOUBLE_EQ(b->base.value(), 500000.0);
  // Stretched ones are of no base: named frequencies, without a base.
  b = buffer("rope.inv_freq", {4},
             [&](std::uint64_t j) { return float(freq(j) / (j > 1 ? 4 : 1)); });
  ASSERT_TRUE(b);
  EXPECT_FALSE(b->base);
  for (bool halves : {true, false}) {
    b = buffer("sin_cached", {3, 8}, [&](std::uint64_t i) {
      return float(std::sin(double(i / 8) * freq(halves ? i % 4 : i % 8 / 2)));
    });
    ASSERT_TRUE(b);
    EXPECT_EQ(b->kind, Buffer::Kind::rope_table);
    EXPECT_EQ(b->half_split, std::optional<bool>(halves));
    EXPECT_EQ(b->rope_dim, 8u);
  }
}

}  // namespace
}  // namespace wb::draft
