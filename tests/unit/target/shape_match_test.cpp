// The shape-match mapping against docs/mappings.md: values by plain loops, counts and
// sizes at the reference size, the eleven losses, refusals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "target_fixture.h"

namespace wb {
namespace {

using namespace wb::test;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<int> numbers(const std::vector<Loss>& losses) {
  std::vector<int> out;
  for (const Loss& loss : losses) out.push_back(loss.number);
  return out;
}
const Loss& loss(const LoweredModel& lowered, int number) {
  for (const Loss& l : lowered.losses) {
    if (l.number == number) return l;
  }
  throw std::runtime_error("no such loss");
}

TEST(ShapeMatch, ReferenceSizeHasTheDocumentsCounts) {
  Made made = make_model(reference_spec(reference_size()), false);
  LoweredModel lowered = lower(made.model, TargetKind::shape_match, {});
  EXPECT_EQ(entries_of(lowered.tensors, false), 291u);
  EXPECT_EQ(entries_of(lowered.tensors, true), 16u);
  EXPECT_EQ(lowered.tensors.size(), 139u);
  EXPECT_NEAR(static_cast<double>(bytes_of(lowered.tensors)) / 1048576.0, 539.98, 0.005);
}

TEST(ShapeMatch, ReferenceSizeHasTheDocumentsShapes) {
  Made made = make_model(reference_spec(reference_size()), false);
  LoweredModel lowered = lower(made.model, TargetKind::shape_match, {});
  std::map<std::string, Shape> expected = {
      {"self_attn.kv_a_proj_with_mqa.weight", {160, 512}},
      {"self_attn.kv_b_proj.weight", {768, 128}},
      {"self_attn.q_a_proj.weight", {192, 512}},
      {"self_attn.q_b_proj.weight", {512, 192}},
      {"self_attn.o_proj.weight", {512, 512}},
      {"mlp.switch_mlp.gate_proj.weight", {8, 768, 512}},
      {"mlp.switch_mlp.up_proj.weight", {8, 768, 512}},
      {"mlp.switch_mlp.down_proj.weight", {8, 512, 768}},
      {"mlp.shared_experts.gate_proj.weight", {768, 512}},
      {"mlp.shared_experts.up_proj.weight", {768, 512}},
      {"mlp.shared_experts.down_proj.weight", {512, 768}},
      {"self_attn.q_a_layernorm.weight", {192}},
      {"mlp.gate.e_score_correction_bias", {8}},
  };
  for (const auto& [name, shape] : expected) {
    EXPECT_EQ(find(lowered.tensors, "model.layers.0." + name).tensor.shape(), shape) << name;
  }
}

TEST(ShapeMatch, ConfigIsTheDocuments) {
  Made made = make_model(reference_spec(reference_size()), false);
  nlohmann::json config = lower(made.model, TargetKind::shape_match, {}).config;
  EXPECT_EQ(config, nlohmann::json::parse(R"({
    "model_type": "deepseek_v3", "vocab_size": 50257, "hidden_size": 512,
    "intermediate_size": 2048, "moe_intermediate_size": 768, "num_hidden_layers": 8,
    "num_attention_heads": 8, "num_key_value_heads": 8, "n_shared_experts": 1,
    "n_routed_experts": 8, "num_experts_per_tok": 2, "kv_lora_rank": 128, "q_lora_rank": 192,
    "qk_rope_head_dim": 32, "v_head_dim": 64, "qk_nope_head_dim": 32,
    "max_position_embeddings": 1024, "norm_topk_prob": false, "n_group": 1, "topk_group": 1,
    "routed_scaling_factor": 1.0, "moe_layer_freq": 1, "first_k_dense_replace": 0,
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "attention_bias": false})"));
}

// hidden 12, 3 heads of 4, rope 2, kv rank 5, q rank 6, routed 4, shared 6.
TEST(ShapeMatch, AttentionValues) {
  Made made = make_model(reference_spec({}));
  LoweredModel lowered = lower(made.model, TargetKind::shape_match, {});
  const std::string to = "model.layers.1.self_attn.", from = "layers.1.attn.";
  Array kv_a = values_of(lowered, to + "kv_a_proj_with_mqa.weight");
  ASSERT_EQ(kv_a.shape, (Shape{7, 12}));
  Array kv_b = values_of(lowered, to + "kv_b_proj.weight");
  ASSERT_EQ(kv_b.shape, (Shape{3 * 6, 5}));
  Array q_b = values_of(lowered, to + "q_b_proj.weight");
  ASSERT_EQ(q_b.shape, (Shape{12, 6}));
  for (std::uint64_t i = 0; i < 12; ++i) {
    for (std::uint64_t r = 0; r < 5; ++r) {
      EXPECT_EQ(kv_a.at({r, i}), made[from + "kv_down.weight"].at({r, i}));
    }
    for (std::uint64_t r = 0; r < 2; ++r) {
      EXPECT_EQ(kv_a.at({5 + r, i}), made[from + "k_rope.weight"].at({0, r, i}));
    }
  }
  for (std::uint64_t h = 0; h < 3; ++h) {
    for (std::uint64_t c = 0; c < 5; ++c) {
      for (std::uint64_t d = 0; d < 2; ++d) {
        EXPECT_EQ(kv_b.at({h * 6 + d, c}), made[from + "k_nope.weight"].at({h, d, c}));
      }
      for (std::uint64_t d = 0; d < 4; ++d) {
        EXPECT_EQ(kv_b.at({h * 6 + 2 + d, c}), made[from + "v.weight"].at({h, d, c}));
      }
    }
    for (std::uint64_t d = 0; d < 4; ++d) {
      for (std::uint64_t c = 0; c < 6; ++c) {
        EXPECT_EQ(q_b.at({h * 4 + d, c}), made[from + "q_nope.weight"].at({h, d, c}));
      }
    }
  }
  EXPECT_EQ(values_of(lowered, to + "q_a_layernorm.weight").data, std::vector<float>(6, 1.0f));
  EXPECT_EQ(values_of(lowered, to + "o_proj.weight").data, made[from + "o.weight"].data);
}

TEST(ShapeMatch, ExpertsAreStackedAndPaddedWithZeros) {
  Made made = make_model(reference_spec({}));
  LoweredModel lowered = lower(made.model, TargetKind::shape_match, {});
  Array up = values_of(lowered, "model.layers.0.mlp.switch_mlp.up_proj.weight");
  Array down = values_of(lowered, "model.layers.0.mlp.switch_mlp.down_proj.weight");
  ASSERT_EQ(up.shape, (Shape{3, 6, 12}));
  ASSERT_EQ(down.shape, (Shape{3, 12, 6}));
  for (std::uint64_t e = 0; e < 3; ++e) {
    std::string expert = "layers.0.mlp.experts." + std::to_string(e);
    for (std::uint64_t u = 0; u < 6; ++u) {
      for (std::uint64_t i = 0; i < 12; ++i) {
        EXPECT_EQ(up.at({e, u, i}), u < 4 ? made[expert + ".up.weight"].at({u, i}) : 0.0f);
        EXPECT_EQ(down.at({e, i, u}), u < 4 ? made[expert + ".down.weight"].at({i, u}) : 0.0f);
      }
    }
  }
  EXPECT_EQ(values_of(lowered, "model.layers.0.mlp.gate.e_score_correction_bias").data,
            std::vector<float>(3, 0.0f));
  EXPECT_EQ(values_of(lowered, "lm_head.weight").data, made["embed.weight"].data);
}

TEST(ShapeMatch, SharedNarrowerThanRoutedIsPadded) {
  Size z;
  z.routed = 8;
  z.shared = 5;
  Made made = make_model(reference_spec(z));
  LoweredModel lowered = lower(made.model, TargetKind::shape_match, {});
  EXPECT_EQ(lowered.config["moe_intermediate_size"], 8);
  Array down = values_of(lowered, "model.layers.0.mlp.shared_experts.down_proj.weight");
  ASSERT_EQ(down.shape, (Shape{12, 8}));
  EXPECT_EQ(down.at({3, 4}), made["layers.0.mlp.shared.down.weight"].at({3, 4}));
  EXPECT_EQ(down.at({3, 5}), 0.0f);
}

TEST(ShapeMatch, SmartWidthsPadTheSharedNetworkInstead) {
  Size z;
  z.routed = 4;
  z.shared = 6;
  Made made = make_model(reference_spec(z), false);
  LowerOptions options;
  options.smart_expert_widths = true;
  LoweredModel lowered = lower(made.model, TargetKind::shape_match, options);
  EXPECT_EQ(lowered.config["moe_intermediate_size"], 4);
  EXPECT_EQ(lowered.config["n_shared_experts"], 2);
  EXPECT_EQ(
      find(lowered.tensors, "model.layers.0.mlp.shared_experts.up_proj.weight").tensor.shape(),
      (Shape{8, 12}));
}

TEST(ShapeMatch, NoSharedExpert) {
  Size z;
  z.shared = 0;
  LoweredModel lowered =
      lower(make_model(reference_spec(z), false).model, TargetKind::shape_match, {});
  EXPECT_TRUE(lowered.config["n_shared_experts"].is_null());
  EXPECT_FALSE(has(lowered.tensors, "model.layers.0.mlp.shared_experts.up_proj.weight"));
}

TEST(ShapeMatch, AllElevenLossesWithTheirTensors) {
  Made made = make_model(reference_spec({}), false);
  LoweredModel lowered = lower(made.model, TargetKind::shape_match, {});
  EXPECT_THAT(numbers(lowered.losses), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
  EXPECT_THAT(loss(lowered, 1).tensors, ElementsAre("src/positions.weight"));
  EXPECT_THAT(loss(lowered, 2).tensors,
              ElementsAre("src/layers.0.attn.k_rope.weight", "src/layers.1.attn.k_rope.weight"));
  EXPECT_THAT(loss(lowered, 10).tensors, ElementsAre("src/layers.0.mlp.router.expert_bias",
                                                     "src/layers.1.mlp.router.expert_bias"));
  // Per layer: o, 3 experts x 3, the shared expert's 3.
  EXPECT_EQ(loss(lowered, 8).tensors.size(), 2u * (1 + 9 + 3));
  EXPECT_THAT(loss(lowered, 2).target_makes, HasSubstr("2 of 3 heads' rope keys are dropped"));
  EXPECT_THAT(loss(lowered, 7).source_computes, HasSubstr("0.408248"));  // (4 + 2)^-0.5
  EXPECT_THAT(loss(lowered, 7).target_makes, HasSubstr("0.5"));          // 4^-0.5
}

TEST(ShapeMatch, LossesThatDoNotApplyAreNotListed) {
  Size z;
  z.bias = false;
  ModelSpec spec = reference_spec(z);
  spec.positions = Positions::none;
  spec.router.expert_bias = ExpertBias::none;
  spec.attention.q_norm.kind = NormKind::rms;
  LoweredModel lowered = lower(make_model(spec, false).model, TargetKind::shape_match, {});
  EXPECT_THAT(numbers(lowered.losses), ElementsAre(2, 3, 4, 5, 7, 9, 11));
  EXPECT_FALSE(find(lowered.tensors, "model.layers.0.self_attn.q_a_layernorm.weight").made_up);
}

TEST(ShapeMatch, LossyTensorsAreMarked) {
  LoweredModel lowered =
      lower(make_model(reference_spec({}), false).model, TargetKind::shape_match, {});
  const TargetTensor& kv_a =
      find(lowered.tensors, "model.layers.0.self_attn.kv_a_proj_with_mqa.weight");
  EXPECT_FALSE(kv_a.exact);
  EXPECT_EQ(kv_a.note, "losses 2, 5, 7");
  EXPECT_TRUE(find(lowered.tensors, "model.embed_tokens.weight").exact);
  EXPECT_TRUE(find(lowered.tensors, "model.layers.0.mlp.switch_mlp.up_proj.weight").exact);
}

TEST(ShapeMatch, AccountSaysWhereEachTensorWent) {
  LoweredModel lowered =
      lower(make_model(reference_spec({}), false).model, TargetKind::shape_match, {});
  EXPECT_EQ(account_of(lowered, "embed.weight").detail,
            "model.embed_tokens.weight, lm_head.weight");
  const AccountLine& positions = account_of(lowered, "positions.weight");
  EXPECT_EQ(positions.fate, Fate::left_out);
  EXPECT_THAT(positions.detail, HasSubstr("loss 1"));
  const AccountLine& head = account_of(lowered, "mtp.0.block.attn.v.weight");
  EXPECT_EQ(head.fate, Fate::left_out);
  EXPECT_THAT(head.detail, HasSubstr("multi-token head"));
  EXPECT_THAT(account_of(lowered, "layers.0.mlp.experts.1.up.bias").detail, HasSubstr("loss 8"));
}

TEST(ShapeMatch, RefusesWhatNoLossCovers) {
  Size z;
  z.rope = 6;  // of a head of 4
  Made made = make_model(reference_spec(z), false);
  try {
    lower(made.model, TargetKind::shape_match, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::target_inexpressible);
    EXPECT_THAT(error.sentence(), HasSubstr("attention.qk_rope_head_dim = 6"));
    EXPECT_THAT(error.advice(), HasSubstr("--target exact"));
  }
  ModelSpec layer_norm = reference_spec({});
  layer_norm.norm.kind = NormKind::layer;
  layer_norm.moe.routed.activation = Activation::relu;
  try {
    lower(make_model(layer_norm, false).model, TargetKind::shape_match, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.sentence(), HasSubstr("norm.kind = \"layer\""));
    EXPECT_THAT(error.sentence(), HasSubstr("moe.routed.activation = \"relu\""));
  }
}

}  // namespace
}  // namespace wb
