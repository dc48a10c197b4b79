// The stock classes read from config.json: defaults, fixed numbers, Swift's differences,
// and refusals by key.
#include "model/mlx_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace wb {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

json v3() {
  return json::parse(R"({"model_type": "deepseek_v3", "vocab_size": 320, "hidden_size": 64,
    "intermediate_size": 96, "moe_intermediate_size": 32, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 4, "n_shared_experts": 2,
    "n_routed_experts": 8, "routed_scaling_factor": 2.5, "kv_lora_rank": 32, "q_lora_rank": 48,
    "qk_rope_head_dim": 8, "v_head_dim": 24, "qk_nope_head_dim": 16, "norm_topk_prob": true,
    "n_group": 4, "topk_group": 2, "num_experts_per_tok": 3, "moe_layer_freq": 1,
    "first_k_dense_replace": 1, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
    "rope_theta": 5000.0, "rope_scaling": null, "attention_bias": true})");
}
json v2() {
  json c = v3();
  c["model_type"] = "deepseek_v2";
  c["topk_method"] = "group_limited_greedy";
  c["rope_scaling"] = {{"type", "yarn"}, {"factor", 4}, {"mscale_all_dim", 0.707}};
  return c;
}
ModelSpec lm(const json& c) { return spec_from_stock_config(c, MlxReader::mlx_lm); }
ModelSpec swift(const json& c) { return spec_from_stock_config(c, MlxReader::swift); }

TEST(MlxConfig, DeepseekV3) {
  const ModelSpec s = lm(v3());
  EXPECT_EQ(s.norm.eps, 1e-5);
  EXPECT_FALSE(s.norm.eps_outside_root);
  EXPECT_EQ(s.attention.q_norm.eps, 1e-6) << "fixed in the class, not rms_norm_eps";
  EXPECT_EQ(s.attention.kv_norm.eps, 1e-6);
  EXPECT_EQ(s.rope.layout, RopeLayout::interleaved);
  EXPECT_EQ(s.rope.base, 5000.0);
  EXPECT_EQ(s.attention.rope_keys, RopeKeys::shared);
  EXPECT_TRUE(s.attention.q_down_bias && s.attention.kv_down_bias && s.attention.k_rope_bias &&
              s.attention.o_bias);
  EXPECT_FALSE(s.attention.q_bias || s.attention.kv_up_bias);
  EXPECT_EQ(s.moe.shared.intermediate_size, 64u);
  EXPECT_EQ(s.dense.intermediate_size, 96u);
  EXPECT_EQ(s.router.score, RouterScore::sigmoid);
  EXPECT_EQ(s.router.expert_bias, ExpertBias::selection);
  EXPECT_EQ(s.router.group_score, GroupScore::top2_sum);
  EXPECT_EQ(s.router.group_mask, GroupMask::zero);
  EXPECT_EQ(s.router.routed_scaling_factor, 2.5);
  EXPECT_FALSE(s.tie_word_embeddings);
  EXPECT_FALSE(s.is_moe(0));
  EXPECT_TRUE(s.is_moe(1));
}

TEST(MlxConfig, WhatTheV3ClassDoesWithItsKeys) {
  json c = v3();
  c["num_experts_per_tok"] = 1;
  EXPECT_FALSE(lm(c).router.norm_topk_prob) << "one expert is never normalised";
  c = v3();
  c["q_lora_rank"] = nullptr;
  EXPECT_EQ(lm(c).attention.q_lora_rank, 0u);
  EXPECT_EQ(lm(c).attention.q_norm.kind, NormKind::none);
  EXPECT_FALSE(lm(c).attention.q_down_bias);
  c = v3();
  c["first_k_dense_replace"] = 0;
  EXPECT_EQ(lm(c).dense.intermediate_size, 0u) << "no layer is dense";
  c["n_routed_experts"] = nullptr;
  EXPECT_FALSE(lm(c).is_moe(1));
  c.erase("rope_theta");
  EXPECT_EQ(lm(c).rope.base, 10000.0);
}

TEST(MlxConfig, RopeScalings) {
  json c = v3();
  c["rope_scaling"] = {{"type", "yarn"}, {"factor", 40}, {"mscale", 1.0}, {"mscale_all_dim", 1.0}};
  ModelSpec s = lm(c);
  EXPECT_EQ(s.rope.scaling, RopeScaling::yarn);
  EXPECT_EQ(s.rope.original_max_position_embeddings, 4096u);
  EXPECT_EQ(s.rope.beta_fast, 32.0);
  const double m = 0.1 * std::log(40.0) + 1.0;
  EXPECT_NEAR(s.scale_nope(), m * m / std::sqrt(24.0), 1e-15);
  EXPECT_EQ(s.scale_nope(), s.scale_rope());
  c["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 2.0}};
  EXPECT_EQ(lm(c).rope.scaling, RopeScaling::linear);
  EXPECT_EQ(lm(c).rope.factor, 2.0);
  c["rope_scaling"] = {{"type", "longrope"},
                       {"original_max_position_embeddings", 128},
                       {"short_factor", {1, 1, 1, 1}},
                       {"long_factor", {1, 2, 3, 4}}};
  EXPECT_EQ(lm(c).rope.layout, RopeLayout::half_split) << "the one class that rotates halves";
  EXPECT_EQ(lm(c).rope.long_factor, (std::vector<double>{1, 2, 3, 4}));
}

TEST(MlxConfig, DeepseekV2) {
  const ModelSpec s = lm(v2());
  EXPECT_EQ(s.router.score, RouterScore::softmax);
  EXPECT_EQ(s.router.expert_bias, ExpertBias::none);
  EXPECT_FALSE(s.router.norm_topk_prob) << "the class knows no norm_topk_prob";
  EXPECT_EQ(s.router.group_score, GroupScore::max);
  EXPECT_EQ(s.router.n_group, 4u);
  const double m = 0.1 * 0.707 * std::log(4.0) + 1.0;
  EXPECT_NEAR(s.scale_nope(), m * m / std::sqrt(24.0), 1e-15);
  json c = v2();
  c["topk_method"] = "greedy";
  EXPECT_EQ(lm(c).router.n_group, 1u);
}

TEST(MlxConfig, SwiftsDeepseekV3) {
  ModelSpec s = swift(v3());
  EXPECT_EQ(s.attention.q_norm.eps, 1e-5);
  EXPECT_EQ(s.attention.kv_norm.eps, 1e-5);
  EXPECT_EQ(s.moe.routed.activation, Activation::silu_clipped);
  EXPECT_EQ(s.moe.shared.activation, Activation::silu);
  EXPECT_EQ(s.router.expert_bias, ExpertBias::scores);
  EXPECT_EQ(s.router.routed_scaling_factor, 2.5);
  EXPECT_EQ(s.router.norm_eps, 1e-20);
  json c = v3();
  c["norm_topk_prob"] = false;
  EXPECT_EQ(swift(c).router.routed_scaling_factor, 1.0);
}

struct Refusal {
  json changes;
  MlxReader reader;
  const char* text;
};

TEST(MlxConfig, RefusesByKey) {
  const json lists = {{"type", "longrope"}, {"original_max_position_embeddings", 256}};
  const Refusal cases[] = {
      {{{"model_type", "llama"}}, MlxReader::mlx_lm, "the key \"model_type\" names a class"},
      {{{"hidden_size", "64"}},
       MlxReader::mlx_lm,
       "the key \"hidden_size\" has a value of the wrong"},
      {{{"hidden_size", -64}}, MlxReader::mlx_lm, "a whole number from 0 to 2^31 - 1, found -64"},
      {{{"num_hidden_layers", 2'000'000'000}},
       MlxReader::mlx_lm,
       "the key \"num_hidden_layers\" is out of all proportion: expected at most 16384"},
      {{{"rope_theta", true}}, MlxReader::mlx_lm, "\"rope_theta\""},
      {{{"attention_bias", 1}}, MlxReader::mlx_lm, "expected true or false, found 1"},
      {{{"topk_method", "greedy"}}, MlxReader::mlx_lm, "expected \"noaux_tc\", found \"greedy\""},
      {{{"n_shared_experts", 0}}, MlxReader::mlx_lm, "\"n_shared_experts\" is 0"},
      {{{"q_lora_rank", 0}}, MlxReader::mlx_lm, "\"q_lora_rank\""},
      {{{"moe_layer_freq", 0}}, MlxReader::mlx_lm, "\"moe_layer_freq\""},
      {{{"rope_scaling", 3}}, MlxReader::mlx_lm, "expected an object or null, found 3"},
      {{{"rope_scaling", {{"type", "llama3"}}}}, MlxReader::mlx_lm, "found \"llama3\""},
      {{{"rope_scaling", {{"type", "yarn"}}}},
       MlxReader::mlx_lm,
       "\"rope_scaling.factor\" is missing"},
      {{{"rope_scaling", lists}}, MlxReader::mlx_lm, "\"rope_scaling.short_factor\" is missing"},
      {{{"rope_scaling", {{"type", "yarn"}, {"factor", 2}, {"attention_factor", 1.0}}}},
       MlxReader::mlx_lm,
       "\"rope_scaling.attention_factor\" is not covered"},
      {{{"q_lora_rank", nullptr}}, MlxReader::swift, "\"q_lora_rank\" is missing or null"},
      {{{"rope_scaling", {{"type", "yarn"}, {"mscale", nullptr}}}},
       MlxReader::swift,
       "\"rope_scaling.mscale\" is null, which Swift refuses"},
      {{{"model_type", "deepseek_v2"}}, MlxReader::swift, "expected deepseek_v3, found"},
  };
  for (const Refusal& r : cases) {
    json c = v3();
    c.update(r.changes);
    try {
      spec_from_stock_config(c, r.reader);
      ADD_FAILURE() << "took " << r.changes;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Code::config_invalid) << r.changes;
      EXPECT_THAT(e.sentence(), HasSubstr(r.text));
      EXPECT_FALSE(e.advice().empty());
    }
  }
  json c = v2();
  c["rope_scaling"] = nullptr;
  EXPECT_THROW(lm(c), Error) << "the v2 class cannot do without rope_scaling";
}

}  // namespace
}  // namespace wb
