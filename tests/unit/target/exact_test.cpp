// The exact target: names and layouts of docs/exact-class.md, sizes, multi-token heads,
// element types.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "target_fixture.h"

namespace wb {
namespace {

using namespace wb::test;
using ::testing::HasSubstr;

TEST(Exact, ReferenceSizeHoldsNothingTwice) {
  Made made = make_model(reference_spec(reference_size()), false);
  LoweredModel lowered = lower(made.model, TargetKind::exact, {});
  EXPECT_NEAR(static_cast<double>(bytes_of(lowered.tensors)) / 1048576.0, 354.0, 0.5);
  EXPECT_FALSE(has(lowered.tensors, "lm_head.weight"));
  EXPECT_TRUE(lowered.extra.empty());
  EXPECT_TRUE(lowered.losses.empty());
  for (const TargetTensor& t : lowered.tensors) {
    EXPECT_TRUE(t.exact && !t.made_up) << t.name;
  }
}

TEST(Exact, NamesAndShapes) {
  LoweredModel lowered = lower(make_model(reference_spec({}), false).model, TargetKind::exact, {});
  std::map<std::string, Shape> expected = {
      {"model.embed_tokens.weight", {10, 12}},
      {"model.embed_positions.weight", {7, 12}},
      {"model.norm.weight", {12}},
  };
  std::map<std::string, Shape> block = {
      {"input_layernorm.weight", {12}},
      {"post_attention_layernorm.weight", {12}},
      {"self_attn.q_a_proj.weight", {6, 12}},
      {"self_attn.q_nope_proj.weight", {12, 6}},
      {"self_attn.q_rope_proj.weight", {6, 6}},
      {"self_attn.kv_a_proj.weight", {5, 12}},
      {"self_attn.kv_a_layernorm.weight", {5}},
      {"self_attn.k_b_proj.weight", {3, 4, 5}},
      {"self_attn.v_b_proj.weight", {3, 4, 5}},
      {"self_attn.k_rope_proj.weight", {6, 12}},
      {"self_attn.o_proj.weight", {12, 12}},
      {"self_attn.o_proj.bias", {12}},
      {"mlp.gate.weight", {3, 12}},
      {"mlp.gate.expert_bias", {3}},
      {"mlp.switch_mlp.gate_proj.weight", {3, 4, 12}},
      {"mlp.switch_mlp.gate_proj.bias", {3, 4}},
      {"mlp.switch_mlp.up_proj.weight", {3, 4, 12}},
      {"mlp.switch_mlp.up_proj.bias", {3, 4}},
      {"mlp.switch_mlp.down_proj.weight", {3, 12, 4}},
      {"mlp.switch_mlp.down_proj.bias", {3, 12}},
      {"mlp.shared_experts.gate_proj.weight", {6, 12}},
      {"mlp.shared_experts.gate_proj.bias", {6}},
      {"mlp.shared_experts.up_proj.weight", {6, 12}},
      {"mlp.shared_experts.up_proj.bias", {6}},
      {"mlp.shared_experts.down_proj.weight", {12, 6}},
      {"mlp.shared_experts.down_proj.bias", {12}},
  };
  for (std::string l : {"0", "1"}) {
    for (const auto& [name, shape] : block) expected["model.layers." + l + "." + name] = shape;
  }
  std::map<std::string, Shape> got;
  for (const TargetTensor& t : lowered.tensors) got[t.name] = t.tensor.shape();
  EXPECT_EQ(got, expected);
}

TEST(Exact, ValuesAreTheSources) {
  Made made = make_model(reference_spec({}));
  LoweredModel lowered = lower(made.model, TargetKind::exact, {});
  EXPECT_EQ(values_of(lowered, "model.layers.1.self_attn.q_rope_proj.weight").data,
            made["layers.1.attn.q_rope.weight"].data);
  Array bias = values_of(lowered, "model.layers.1.mlp.switch_mlp.down_proj.bias");
  EXPECT_EQ(bias.at({2, 11}), made["layers.1.mlp.experts.2.down.bias"].at({11}));
  Array gate = values_of(lowered, "model.layers.0.mlp.switch_mlp.gate_proj.weight");
  EXPECT_EQ(gate.at({1, 3, 5}), made["layers.0.mlp.experts.1.gate.weight"].at({3, 5}));
}

TEST(Exact, MultiTokenHeadsAreKeptOnRequest) {
  Made made = make_model(reference_spec({}), false);
  LowerOptions keep;
  keep.keep_mtp = true;
  LoweredModel lowered = lower(made.model, TargetKind::exact, keep);
  EXPECT_EQ(lowered.config["num_nextn_predict_layers"], 1);
  EXPECT_EQ(find(lowered.extra, "mtp.0.combine_proj.weight").tensor.shape(), (Shape{12, 24}));
  EXPECT_TRUE(has(lowered.extra, "mtp.0.combine_proj.bias"));
  EXPECT_TRUE(has(lowered.extra, "mtp.0.prev_norm.weight"));
  EXPECT_TRUE(has(lowered.extra, "mtp.0.embed_norm.weight"));
  EXPECT_EQ(find(lowered.extra, "mtp.0.block.self_attn.k_b_proj.weight").tensor.shape(),
            (Shape{3, 4, 5}));
  EXPECT_EQ(find(lowered.extra, "mtp.0.block.mlp.switch_mlp.up_proj.weight").entries, 3u);
  EXPECT_EQ(account_of(lowered, "mtp.0.combine.bias").detail, "mtp.0.combine_proj.bias");

  LoweredModel without = lower(made.model, TargetKind::exact, {});
  EXPECT_EQ(without.config["num_nextn_predict_layers"], 0);
  EXPECT_EQ(account_of(without, "mtp.0.combine.bias").fate, Fate::left_out);
}

TEST(Exact, ConfigNamesTheClass) {
  LoweredModel lowered = lower(make_model(reference_spec({}), false).model, TargetKind::exact, {});
  EXPECT_EQ(lowered.config["model_type"], "weightbridge_mla");
  EXPECT_EQ(lowered.config["model_file"], "weightbridge_mla.py");
  EXPECT_EQ(lowered.config["positions"], "learned");
  EXPECT_EQ(lowered.config["norm_eps_outside_root"], true);
}

TEST(ElementTypes, HalfIsAppliedToAllButBalancingBiases) {
  LowerOptions half;
  half.dtype = DType::BF16;
  LoweredModel lowered =
      lower(make_model(reference_spec({}), false).model, TargetKind::exact, half);
  for (const TargetTensor& t : lowered.tensors) {
    bool bias = t.name.ends_with("expert_bias");
    EXPECT_EQ(t.tensor.dtype(), bias ? DType::F32 : DType::BF16) << t.name;
  }
}

TEST(ElementTypes, WhatMlxLacksIsWidened) {
  for (auto [from, to] : {std::pair{DType::F64, DType::F32},
                          {DType::F8_E5M2, DType::BF16},
                          {DType::F8_E4M3, DType::BF16},
                          {DType::F16, DType::F16}}) {
    LoweredModel lowered =
        lower(make_model(reference_spec({}), false, from).model, TargetKind::exact, {});
    EXPECT_EQ(find(lowered.tensors, "model.norm.weight").tensor.dtype(), to) << name(from);
  }
}

TEST(ElementTypes, TypesWithoutAPlaceAreRefused) {
  Made made = make_model(reference_spec({}), false, DType::F8_E8M0);
  try {
    lower(made.model, TargetKind::exact, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::dtype_unsupported);
    EXPECT_EQ(error.tensor(), "embed.weight");
    EXPECT_EQ(error.actual(), "F8_E8M0");
  }
}

TEST(ElementTypes, MixedPartsAreWidenedTogether) {
  Made made = make_model(reference_spec({}), false);
  Tensor& one = made.model.tensors.at("layers.0.mlp.experts.1.up.weight");
  one = Tensor::stored("half", memory_storage(std::vector<std::byte>(2)), DType::F16, one.shape(),
                       0, std::vector<std::uint64_t>{0, 0});
  LoweredModel lowered = lower(made.model, TargetKind::exact, {});
  EXPECT_EQ(find(lowered.tensors, "model.layers.0.mlp.switch_mlp.up_proj.weight").tensor.dtype(),
            DType::F32);
}

TEST(Widths, FewestPaddingElements) {
  auto widths = [](std::uint64_t f, std::uint64_t s, std::uint64_t e) {
    ExpertWidths w = smart_expert_widths(f, s, e);
    return std::pair{w.moe_intermediate_size, w.n_shared_experts};
  };
  using P = std::pair<std::uint64_t, std::uint64_t>;
  EXPECT_EQ(widths(512, 768, 8), (P{512, 2}));   // 256 padded units, not 8 * 256
  EXPECT_EQ(widths(512, 1024, 8), (P{512, 2}));  // none
  EXPECT_EQ(widths(512, 512, 8), (P{512, 1}));
  EXPECT_EQ(widths(512, 0, 8), (P{512, 0}));
  EXPECT_EQ(widths(512, 300, 8), (P{512, 1}));
  // 2 * 600 = 1200 pads 190 of the shared; 3 * 512 pads 526; 2 * 505 pads nothing of it but
  // is narrower than routed. One expert only: m = 600 wins over m = 512, s = 2 (14 units).
  EXPECT_EQ(widths(600, 1010, 8), (P{600, 2}));
  EXPECT_EQ(widths(500, 1010, 1), (P{505, 2}));    // 5 units, not 490
  EXPECT_EQ(widths(500, 1010, 200), (P{500, 3}));  // 490 units, not 200 * 5
}

// Every pair of a small range against trying all counts.
TEST(Widths, AgreesWithTryingEverything) {
  for (std::uint64_t f = 1; f < 24; ++f) {
    for (std::uint64_t s = 1; s < 40; ++s) {
      for (std::uint64_t e : {1, 3, 16}) {
        std::uint64_t best = ~std::uint64_t{0};
        for (std::uint64_t count = 1; count <= s; ++count) {
          for (std::uint64_t m = f; m <= f + s; ++m) {
            if (m * count < s) continue;
            best = std::min(best, (m - f) * e + m * count - s);
          }
        }
        ExpertWidths w = smart_expert_widths(f, s, e);
        std::uint64_t m = w.moe_intermediate_size, n = w.n_shared_experts;
        ASSERT_GE(m, f);
        ASSERT_GE(m * n, s);
        EXPECT_EQ((m - f) * e + m * n - s, best) << f << " " << s << " " << e;
      }
    }
  }
}

TEST(Names, OfTargets) {
  EXPECT_EQ(target_from_name("shape-match"), TargetKind::shape_match);
  EXPECT_EQ(target_from_name("auto"), TargetKind::automatic);
  try {
    target_from_name("onnx");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::target_unknown);
    EXPECT_THAT(error.sentence(), HasSubstr("auto, exact, stock, shape-match"));
    EXPECT_THAT(error.sentence(), HasSubstr("onnx"));
  }
}

}  // namespace
}  // namespace wb
