// Drafted lines of an attention, applied: each canonical row against the row of the source that
// the answers say it is. Sources hold test::element(name, index), so that expected values are
// reckoned here and not by the recipe.
#include <cmath>

#include "tensor/read.h"
#include "unit/draft/draft_models.h"

namespace wb::draft {
namespace {

// Element [row, column] of the tensor `name` of `columns` columns.
float at(const std::string& name, std::uint64_t columns, std::uint64_t row, std::uint64_t column) {
  return test::element(name, row * columns + column);
}

// `tensor` [heads, width, 24] holds, for each head, the rows of `name` from row_of(head) on.
template <typename RowOf>
void expect_rows(const CanonicalModel& model, const std::string& tensor, std::uint64_t heads,
                 std::uint64_t width, const std::string& name, RowOf row_of) {
  const Tensor& t = model.at(tensor);
  ASSERT_EQ(t.shape(), (Shape{heads, width, 24})) << tensor;
  const std::vector<float> values = read_f32(t);
  for (std::uint64_t h = 0; h < heads; ++h) {
    for (std::uint64_t r = 0; r < width; ++r) {
      ASSERT_EQ(values[(h * width + r) * 24 + 5], at(name, 24, row_of(h) + r, 5))
          << tensor << " head " << h << " row " << r;
    }
  }
}

const std::string kQkv = "blocks.1.attn.qkv.weight";

// Three heads of 8 rows, of which 4 rotate.
TEST(DraftAttention, FusedQueriesKeysAndValuesWithAPartRotated) {
  const std::vector<Named> fused = {{"attn.qkv.weight", {72, 24}}, {"attn.o.weight", {24, 24}}};
  Checkpoint c = and_also(model(with(with(kNorms, fused), kMlp)), {frequencies(4)});
  Draft d = drafted(c);
  const std::map<std::string, std::string> heads = {{"num_attention_heads", "3"}};
  const auto with_orders = [&](const char* qkv, const char* query) {
    std::map<std::string, std::string> s = heads;
    s["qkv_order"] = qkv;
    s["query_order"] = query;
    return answered(c, d, s);
  };
  // All queries, all keys, all values; in each head content first.
  CanonicalModel m = with_orders("1", "1");
  expect_rows(m, "layers.1.attn.q_nope.weight", 3, 4, kQkv, [](auto h) { return 8 * h; });
  expect_rows(m, "layers.1.attn.q_rope.weight", 3, 4, kQkv, [](auto h) { return 8 * h + 4; });
  expect_rows(m, "layers.1.attn.k_nope.weight", 3, 4, kQkv, [](auto h) { return 24 + 8 * h; });
  expect_rows(m, "layers.1.attn.v.weight", 3, 8, kQkv, [](auto h) { return 48 + 8 * h; });
  // A head after the other, each query, key, value; in each head the rotated rows first.
  m = with_orders("2", "2");
  expect_rows(m, "layers.1.attn.q_nope.weight", 3, 4, kQkv, [](auto h) { return 24 * h + 4; });
  expect_rows(m, "layers.1.attn.k_rope.weight", 3, 4, kQkv, [](auto h) { return 24 * h + 8; });
  expect_rows(m, "layers.1.attn.v.weight", 3, 8, kQkv, [](auto h) { return 24 * h + 16; });
}

TEST(DraftAttention, KeysAndValuesInOneWithAPartOfTheKeysRotated) {
  const std::vector<Named> parts = {
      {"attn.q.weight", {24, 24}}, {"attn.kv.weight", {48, 24}}, {"attn.o.weight", {24, 24}}};
  Checkpoint c = and_also(model(with(with(kNorms, parts), kMlp)), {frequencies(4)});
  Draft d = drafted(c);
  // In each head value, then key, whose rotated rows come first.
  CanonicalModel m =
      answered(c, d, {{"num_attention_heads", "3"}, {"kv_order", "2"}, {"query_order", "2"}});
  const std::string kv = "blocks.0.attn.kv.weight";
  expect_rows(m, "layers.0.attn.v.weight", 3, 8, kv, [](auto h) { return 16 * h; });
  expect_rows(m, "layers.0.attn.k_rope.weight", 3, 4, kv, [](auto h) { return 16 * h + 8; });
  expect_rows(m, "layers.0.attn.k_nope.weight", 3, 4, kv, [](auto h) { return 16 * h + 12; });
}

// Bare parameters, as x @ W reads them: latents of 12 and 16, three heads of 4 + 4 and 8.
const std::vector<Named> kBare = {{"attn.W_dq", {24, 12}},
                                  {"attn.W_uq", {12, 24}},
                                  {"attn.W_dkv", {24, 20}},
                                  {"attn.W_ukv", {16, 36}},
                                  {"attn.W_o", {24, 24}}};

TEST(DraftAttention, BareParametersAreTurnedOverWhereShapesTellAndAskedWhereTheyDoNot) {
  Checkpoint c = model(with(with(kNorms, kBare), kMlp));
  Draft d = drafted(c);
  EXPECT_EQ(role(d, "blocks.{l}.attn.W_dkv"), "key-value down-projection and rotated key");
  EXPECT_EQ(dim(d, "q_lora_rank"), 12u);
  EXPECT_EQ(dim(d, "kv_lora_rank"), 16u);
  EXPECT_EQ(dim(d, "num_attention_heads"), 3u);
  ASSERT_NE(question(d, "attn_W_o_use"), nullptr) << "a square one may be used either way";
  std::map<std::string, std::string> s = {
      {"query_order", "1"}, {"latent_order", "1"}, {"kv_order", "1"}, {"attn_W_o_use", "1"}};
  CanonicalModel m = answered(c, d, s);
  EXPECT_EQ(read_f32(m.at("layers.0.attn.q_down.weight"))[24 * 3 + 7],  // [3, 7]
            at("blocks.0.attn.W_dq", 12, 7, 3));
  EXPECT_EQ(read_f32(m.at("layers.0.attn.k_rope.weight"))[24 * 1 + 7],  // row 16 + 1 of all
            at("blocks.0.attn.W_dkv", 20, 7, 17));
  EXPECT_EQ(read_f32(m.at("layers.0.attn.o.weight"))[24 * 3 + 7],
            at("blocks.0.attn.W_o", 24, 3, 7));
  s["attn_W_o_use"] = "2";
  EXPECT_EQ(read_f32(answered(c, d, s).at("layers.0.attn.o.weight"))[24 * 3 + 7],
            at("blocks.0.attn.W_o", 24, 7, 3));
}

TEST(DraftAttention, WhatAnNnLinearKeepsIsNeverTurned) {
  std::vector<Named> named = kBare;
  for (Named& n : named) n.name += ".weight";
  Draft d = drafted(model(with(with(kNorms, named), kMlp)));
  EXPECT_EQ(d.toml.find(".t()"), std::string::npos);
  EXPECT_EQ(question(d, "attn_W_o_use"), nullptr);
  EXPECT_FALSE(d.unknown.empty()) << "no attention reads these as [out, in]";
}

TEST(DraftAttention, NormsPerHeadTellHowManyHeadsThereAre) {
  const std::vector<Named> plain = {{"attn.q.weight", {24, 24}}, {"attn.k.weight", {24, 24}},
                                    {"attn.v.weight", {24, 24}}, {"attn.o.weight", {24, 24}},
                                    {"attn.q_norm.weight", {6}}, {"attn.k_norm.weight", {6}}};
  Draft d = drafted(model(with(with(kNorms, plain), kMlp)));
  EXPECT_EQ(dim(d, "num_attention_heads"), 4u);
  EXPECT_EQ(question(d, "num_attention_heads"), nullptr);
  EXPECT_EQ(role(d, "blocks.{l}.attn.q_norm.weight"), "norm of each head's query");
}

TEST(DraftAttention, NormsPerHeadOfTheContentAlone) {
  Draft d = drafted(model(
      with(with(with(kNorms, kLatent), {{"attn.q_norm.weight", {8}}, {"attn.k_norm.weight", {8}}}),
           kMlp)));
  EXPECT_NE(d.toml.find("attention.head_norm_part = \"content\""), std::string::npos);
  EXPECT_TRUE(d.unknown.empty());
}

TEST(DraftAttention, AListOfHeadsIsAnIndex) {
  std::vector<Named> lists = {
      {"attn.q.weight", {24, 24}}, {"attn.w_dkv.weight", {10, 24}}, {"attn.o.weight", {24, 24}}};
  for (int h = 0; h < 3; ++h) {
    for (const char* part : {"k_up.", "v_up."})
      lists.push_back({"attn." + (part + std::to_string(h)) + ".weight", {8, 10}});
  }
  Checkpoint c = model(with(with(kNorms, lists), kMlp));
  Draft d = drafted(c);
  EXPECT_EQ(role(d, "blocks.{l}.attn.k_up.{h}.weight"), "keys");
  CanonicalModel m = answered(c, d, {{"rotation", "2"}});
  EXPECT_EQ(read_f32(m.at("layers.1.attn.v.weight"))[(2 * 8 + 5) * 10 + 4],
            at("blocks.1.attn.v_up.2.weight", 10, 5, 4));
}

TEST(DraftAttention, ARopeBufferOfAnotherWidthDoesNotSayTheBase) {
  // 4 rows rotate; a buffer for 8 has other frequencies than one for 4.
  Draft d = drafted(and_also(model(with(with(kNorms, kLatent), kMlp)), {frequencies(8)}));
  EXPECT_NE(question(d, "rope.base"), nullptr);
  EXPECT_TRUE(std::any_of(d.notes.begin(), d.notes.end(), [](const std::string& n) {
    return n.find("10000^(4 / 8) = 100") != std::string::npos;
  }));
  d = drafted(and_also(model(with(with(kNorms, kLatent), kMlp)), {frequencies(4)}));
  EXPECT_EQ(question(d, "rope.base"), nullptr);
}

TEST(DraftAttention, WhatTheRotatedKeyIsMadeOfIsAskedWhereANormStandsBetween) {
  std::vector<Named> from_latent = kLatent;
  from_latent[4] = {"attn.w_kr.weight", {12, 10}};  // per head, from the latent of 10
  Draft d = drafted(model(with(with(kNorms, from_latent), kMlp)));
  EXPECT_NE(d.toml.find("attention.rope_key_from = \"raw_latent\""), std::string::npos);
  d = drafted(model(with(with(with(kNorms, from_latent), {{"attn.kv_norm.weight", {10}}}), kMlp)));
  EXPECT_NE(question(d, "attention.rope_key_from"), nullptr);
}

}  // namespace
}  // namespace wb::draft
