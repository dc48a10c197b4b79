// What solve tries: every field that weights can't tell has values to try, so that an axis that
// ModelSpec gains is not left out in silence; simple forms of numbers.
#include "solve/unknowns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "solve/formulas.h"

namespace wb {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;

ModelSpec some_model() {
  ModelSpec s;
  s.vocab_size = 40;
  s.hidden_size = 24;
  s.num_hidden_layers = 3;
  s.max_position_embeddings = 96;
  s.attention.num_attention_heads = 4;
  s.attention.q_lora_rank = 14;
  s.attention.kv_lora_rank = 10;
  s.attention.qk_nope_head_dim = 6;
  s.attention.qk_rope_head_dim = 8;
  s.attention.v_head_dim = 5;
  s.moe.n_routed_experts = 6;
  s.router.num_experts_per_tok = 2;
  s.router.n_group = 3;
  return s;
}
Unknown field(const std::string& path) {
  return unknowns_of({{Question::Kind::field, path, "", nullptr, {}}}).at(0);
}

// What the tensors themselves say: which there are, and their shapes.
bool told_by_weights(const std::string& path) {
  static const std::set<std::string> fields{"vocab_size",
                                            "hidden_size",
                                            "num_hidden_layers",
                                            "positions",
                                            "head_bias",
                                            "attention.q_lora_rank",
                                            "attention.kv_lora_rank",
                                            "attention.qk_nope_head_dim",
                                            "attention.qk_rope_head_dim",
                                            "attention.v_head_dim",
                                            "moe.n_routed_experts",
                                            "num_nextn_predict_layers"};
  const std::string last = path.substr(path.rfind('.') + 1);
  return fields.count(path) != 0 || last == "bias" || last.ends_with("_bias") ||
         last == "intermediate_size" || last == "gated";
}
// Whole lists that only a configuration has: a recipe takes them from there.
bool list_of_the_recipe(const std::string& path) {
  return path == "rope.inv_freq" || path == "rope.long_factor";
}

TEST(Unknowns, EveryFieldThatWeightsCannotTellHasValuesToTry) {
  for (const FieldInfo& info : spec_fields()) {
    if (told_by_weights(info.path) || list_of_the_recipe(info.path)) continue;
    const std::vector<json> values = values_to_try(field(info.path), some_model());
    EXPECT_GE(values.size(), 2u) << info.path;
    if (info.kind == FieldKind::real) {
      EXPECT_GE(values.size(), 3u) << info.path << " has no row";
    }
  }
}

TEST(Unknowns, EveryWordOfAnEnumerationIsTried) {
  // silu_clipped is what one loader makes of silu; longrope needs lists that no search finds.
  const std::set<std::pair<std::string, std::string>> never{
      {"dense.activation", "silu_clipped"},
      {"moe.routed.activation", "silu_clipped"},
      {"moe.shared.activation", "silu_clipped"},
      {"rope.scaling", "longrope"}};
  for (const FieldInfo& info : spec_fields()) {
    if (info.kind != FieldKind::enumeration || told_by_weights(info.path)) continue;
    const std::vector<json> values = values_to_try(field(info.path), some_model());
    for (const std::string& word : info.enum_values) {
      if (never.count({info.path, word}) != 0) continue;
      EXPECT_THAT(values, Contains(json(word))) << info.path;
    }
  }
}

TEST(Unknowns, ScalesAreThoseOfTheDimensions) {
  const std::vector<json> values = values_to_try(field("attention.softmax_scale"), some_model());
  EXPECT_EQ(values.front(), 0.0);  // (6 + 8)^-0.5
  EXPECT_THAT(values,
              AllOf(Contains(json(1 / std::sqrt(6.0))), Contains(json(1 / std::sqrt(8.0)))));
}

// The recipe's own bounds, where it has both; a default outside of them is no guess.
TEST(Unknowns, ARealSettingIsSoughtBetweenItsBounds) {
  Question q{Question::Kind::setting, "route_scale", "", 2.5, {}};
  EXPECT_DOUBLE_EQ(unknowns_of({q}).at(0).least, 2.5e-3) << "without, around the default";
  EXPECT_DOUBLE_EQ(unknowns_of({q}).at(0).most, 2500.0);
  q.least = 0.01;
  q.most = 100.0;
  Unknown u = unknowns_of({q}).at(0);
  EXPECT_TRUE(u.real);
  EXPECT_EQ(u.least, 0.01);
  EXPECT_EQ(u.most, 100.0);
  EXPECT_THAT(u.listed, testing::ElementsAre(2.5, 1.0));
  q.default_value = 7777.0;
  EXPECT_THAT(unknowns_of({q}).at(0).listed, testing::ElementsAre(1.0));
  q.least = 4.0;
  EXPECT_THAT(unknowns_of({q}).at(0).listed, testing::ElementsAre(20.0)) << "between the bounds";
}

TEST(Unknowns, ASettingIsGivenTheUsualValuesOfTheFieldThatItReaches) {
  Unknown base = unknowns_of({{Question::Kind::setting, "theta", "", 7777.0, {}}}).at(0);
  learn_from_fields(base, {"rope.base"});
  EXPECT_TRUE(base.later);
  EXPECT_FALSE(base.head);
  const std::vector<json> values = values_to_try(base, some_model());
  EXPECT_EQ(values.front(), 7777.0);
  EXPECT_THAT(values, AllOf(Contains(json(10000.0)), Contains(json(500000.0))));

  // A length without an upper limit: no row of small numbers.
  std::vector<json> row;
  for (int v = 1; v <= 64; ++v) row.emplace_back(v);
  Unknown length = unknowns_of({{Question::Kind::setting, "context", "", 4096, row}}).at(0);
  learn_from_fields(length, {"max_position_embeddings"});
  EXPECT_THAT(values_to_try(length, some_model()),
              AllOf(Contains(json(4096)), Contains(json(96)), testing::Not(Contains(json(3)))));
}

TEST(Unknowns, SimpleFormsOfANumber) {
  std::vector<std::string> texts;
  for (const NamedNumber& form : simple_forms(0.7001, 1e-3, some_model()))
    texts.push_back(form.text);
  EXPECT_THAT(texts, ElementsAre("0.7"));
  EXPECT_EQ(formula_of(std::pow(6.0, -0.5), some_model()), "qk_nope_head_dim^-0.5");
  EXPECT_EQ(formula_of(0.123, some_model()), "");
}

// By hand: ln 4 = 1.3862943611198906, (6 + 8)^-0.5 = 0.2672612419124244; with 0.7 above and 0.3
// below the line, 0.2672612419124244 * (1.0970406052783923 / 1.0415888308335967)^2 =
// 0.2964754650393350.
TEST(Unknowns, SoftmaxScalesWithYarnsMagnitude) {
  ModelSpec spec = some_model();
  const double scale = 0.29647546503933503;
  EXPECT_EQ(formula_of(scale, spec), "") << "no YaRN";
  spec.rope.scaling = RopeScaling::yarn;
  spec.rope.factor = 4.0;
  const std::vector<NamedNumber> forms = simple_forms(scale * (1 + 3e-7), 1e-6, spec);
  ASSERT_EQ(forms.size(), 1u);
  EXPECT_NEAR(forms[0].value, scale, 1e-15);
  EXPECT_EQ(
      formula_of(forms[0].value, spec),
      "(qk_nope_head_dim + qk_rope_head_dim)^-0.5 * (0.1 * 0.7 * ln 4.0 + 1)^2 / (0.1 * 0.3 * ln "
      "4.0 + 1)^2");
  EXPECT_TRUE(simple_forms(scale * (1 + 1e-5), 2e-5, spec).empty())
      << "nearer than that, or nothing";
}

}  // namespace
}  // namespace wb
