// What is refused when a recipe meets a checkpoint that it does not fit, and the words
// that say so.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "recipe/recipe.h"
#include "tensor/read.h"
#include "unit/error_of.h"
#include "unit/recipe/reference_layout.h"

namespace wb {
namespace {

using test::CheckpointMaker;
using test::reference_layout;
using testing::AllOf;
using testing::HasSubstr;

using wb::error_of;
Error error_of(CheckpointMaker maker, const std::map<std::string, std::string>& settings = {}) {
  return error_of([&] {
    Checkpoint checkpoint = maker.make();
    apply(recognise(checkpoint), checkpoint, settings);
  });
}
CheckpointMaker reshaped(const std::string& name, Shape shape) {
  CheckpointMaker maker = reference_layout();
  maker.remove(name).add(name, std::move(shape), [](std::uint64_t) { return 1.f; });
  return maker;
}
float one(std::uint64_t) { return 1.f; }

TEST(ApplyErrors, ADimensionIsCheckedWhereverItOccursAgain) {
  Error e = error_of(reshaped("h.1.attn.kv_proj.weight", {4, 8}));
  EXPECT_EQ(e.code(), Code::dimension_mismatch);
  EXPECT_EQ(e.file(), "model.pt");
  EXPECT_EQ(e.tensor(), "h.1.attn.kv_proj.weight");
  EXPECT_EQ(e.expected(), "3");
  EXPECT_EQ(e.actual(), "4");
  EXPECT_THAT(e.sentence(), HasSubstr("axis 0 of [4, 8] is not kv_lora_rank (kv_lora_rank = "
                                      "h.0.attn.kv_proj.weight[0])"));
  EXPECT_EQ(error_of(reshaped("mtp_heads.0.mlp.router.weight", {4, 8})).code(),
            Code::dimension_mismatch);
  EXPECT_EQ(error_of(reshaped("h.0.attn.k_rope_proj.weight", {9, 8})).code(),
            Code::dimension_mismatch)
      << "9 rows are not heads of 4";
}

TEST(ApplyErrors, AnotherRankIsAShapeMismatch) {
  Error e = error_of(reshaped("ln_f.weight", {8, 1}));
  EXPECT_EQ(e.code(), Code::shape_mismatch);
  EXPECT_EQ(e.tensor(), "ln_f.weight");
  EXPECT_THAT(e.sentence(), HasSubstr("expected 1 axes, found [8, 1]"));
}

TEST(ApplyErrors, SourceTensorsThatNothingCovers) {
  CheckpointMaker maker = reference_layout();
  maker.add("h.0.attn.extra.weight", {2}, one)
      .add("h.1.attn.extra.weight", {2}, one)
      .add("mystery", {2}, one);
  Error e = error_of(maker);
  EXPECT_EQ(e.code(), Code::source_uncovered);
  EXPECT_THAT(e.sentence(),
              AllOf(HasSubstr("3 tensors of the checkpoint are neither used nor left out"),
                    HasSubstr("\n  h.{}.attn.extra.weight  x2, the first is h.0.attn.extra.weight"),
                    HasSubstr("\n  mystery\n")));
  EXPECT_THAT(e.advice(), HasSubstr("--recipe FILE"));
}

TEST(ApplyErrors, ABiasInOneLayerOnlyIsNotDropped) {
  test::ReferenceSizes sizes;
  sizes.bias = false;
  CheckpointMaker maker = reference_layout(sizes);
  maker.add("h.1.attn.o_proj.bias", {8}, one);
  Error e = error_of(maker);
  EXPECT_EQ(e.code(), Code::source_uncovered);
  EXPECT_THAT(e.sentence(), HasSubstr("h.1.attn.o_proj.bias"));
}

TEST(ApplyErrors, CanonicalTensorsThatCannotBeMade) {
  CheckpointMaker maker = reference_layout();
  maker.remove("h.1.mlp.experts.2.up_proj.weight").remove("h.1.attn.o_proj.bias");
  Error e = error_of(maker);
  EXPECT_EQ(e.code(), Code::canonical_missing);
  EXPECT_THAT(e.sentence(),
              AllOf(HasSubstr("2 tensors that the model calls for cannot be made"),
                    HasSubstr("layers.1.mlp.experts.2.up.weight: it needs "
                              "h.1.mlp.experts.2.up_proj.weight, which the checkpoint does not "
                              "have"),
                    HasSubstr("layers.1.attn.o.bias")));
}

TEST(ApplyErrors, ALayerThatIsMissingIsAGap) {
  CheckpointMaker maker = reference_layout();
  maker.rename([](const std::string& name) {
    return name.starts_with("h.1.") ? "h.2." + name.substr(4) : name;
  });
  Error e = error_of(maker);
  EXPECT_EQ(e.code(), Code::dimension_mismatch);
  EXPECT_THAT(e.sentence(), HasSubstr("the dimension num_hidden_layers"));
  EXPECT_THAT(e.sentence(), HasSubstr("1 is missing and 2 is there"));
}

TEST(ApplyErrors, ATensorThatADimensionNeeds) {
  CheckpointMaker maker = reference_layout();
  maker.remove("h.0.attn.q_proj.weight");
  Error e = error_of(maker);
  EXPECT_EQ(e.code(), Code::tensor_missing);
  EXPECT_EQ(e.tensor(), "h.0.attn.q_proj.weight");
  EXPECT_THAT(e.sentence(), HasSubstr("needs this tensor for the dimension q_lora_rank (recipe "
                                      "deepseek-from-scratch, line "));
}

TEST(ApplyErrors, Settings) {
  Error unknown = error_of(reference_layout(), {{"experts_per_tokn", "2"}});
  EXPECT_EQ(unknown.code(), Code::setting_unknown);
  EXPECT_THAT(unknown.sentence(), HasSubstr("did you mean 'experts_per_token'?"));
  Error range = error_of(reference_layout(), {{"experts_per_token", "4"}});
  EXPECT_EQ(range.code(), Code::setting_invalid);
  EXPECT_EQ(range.expected(), "at most 3 (n_routed_experts)");
  EXPECT_EQ(range.actual(), "4");
  EXPECT_EQ(error_of(reference_layout(), {{"experts_per_token", "0"}}).expected(), "at least 1");
  Error type = error_of(reference_layout(), {{"experts_per_token", "2.5"}});
  EXPECT_EQ(type.code(), Code::setting_invalid);
  EXPECT_EQ(type.expected(), "a whole number");
  CheckpointMaker maker = reference_layout();
  maker.fact("config.n_experts_per_token", "two");
  EXPECT_EQ(error_of(maker).code(), Code::setting_invalid);
}

TEST(ApplyErrors, AMaskThatIsNotCausal) {
  CheckpointMaker maker = reference_layout();
  maker.remove("h.1.attn.causal_mask").add("h.1.attn.causal_mask", {1, 1, 6, 6}, one);
  Error e = error_of(maker);
  EXPECT_EQ(e.code(), Code::recipe_check_failed);
  EXPECT_EQ(e.tensor(), "h.1.attn.causal_mask");
  // Above the diagonal of 6 x 6 there are 15 elements; the first is (0, 1).
  EXPECT_THAT(e.sentence(), HasSubstr("15 of 36 elements differ, the largest difference is 1 at "
                                      "element 1 (1, not 0)"));
}

TEST(ApplyErrors, FrequenciesOfAnotherBase) {
  CheckpointMaker maker = reference_layout();
  maker.remove("h.0.attn.rope.inv_freq").add("h.0.attn.rope.inv_freq", {2}, [](std::uint64_t j) {
    return j == 0 ? 1.f : 0.5f;
  });
  Error e = error_of(maker);
  EXPECT_EQ(e.code(), Code::recipe_check_failed);
  EXPECT_THAT(e.sentence(), HasSubstr("1 of 2 elements differ, the largest difference is 0.49"));
}

TEST(ApplyErrors, FrequenciesThatWereRoundedToHalfAreStillThese) {
  CheckpointMaker maker = reference_layout();
  SourceTensor* stored = maker.find("h.0.attn.rope.inv_freq");
  ASSERT_NE(stored, nullptr);
  stored->tensor = stored->tensor.cast(DType::BF16);
  Checkpoint checkpoint = maker.make();
  EXPECT_NO_THROW(apply(recognise(checkpoint), checkpoint, {}));
}

TEST(ApplyErrors, TwoNamesThatBecomeOne) {
  CheckpointMaker maker = reference_layout();
  maker.add("_orig_mod.wpe.weight", {6, 8}, one);
  Error e = error_of(maker);
  EXPECT_EQ(e.code(), Code::tensor_name);
  EXPECT_THAT(e.sentence(), HasSubstr("_orig_mod.wpe.weight and wpe.weight"));
}

TEST(Recognise, AnUnknownLayoutIsDescribed) {
  CheckpointMaker maker;
  maker.add("wte.weight", {4, 2}, one);
  for (int l = 0; l < 3; ++l) {
    maker.add("blocks." + std::to_string(l) + ".w", {2, 2u + static_cast<unsigned>(l)}, one);
  }
  Checkpoint checkpoint = maker.make();
  Error e = error_of([&] { recognise(checkpoint); });
  EXPECT_EQ(e.code(), Code::recipe_unknown);
  EXPECT_THAT(e.sentence(),
              AllOf(HasSubstr("\n  blocks.{}.w  x3  F32 [2, 2..4]"),
                    HasSubstr("\n  wte.weight  x1  F32 [4, 2]"),
                    HasSubstr("The nearest recipe is deepseek-from-scratch; it also looks for "
                              "wpe.weight")));
  EXPECT_THAT(e.advice(), AllOf(HasSubstr("weightbridge recipes"), HasSubstr("recipes new SRC"),
                                HasSubstr("--recipe FILE")));
}

TEST(Recognise, AVariantThatTheRecipeRefuses) {
  CheckpointMaker maker = reference_layout();
  maker.add("h.0.attn.q_norm.weight", {5}, one);
  Checkpoint checkpoint = maker.make();
  Error e = error_of([&] { recognise(checkpoint); });
  EXPECT_EQ(e.code(), Code::recipe_unknown);
  EXPECT_THAT(e.sentence(), HasSubstr("without h.0.attn.q_norm.weight"));
}

TEST(Recognise, TwoModelsInOneFileAreAmbiguousUntilOneIsNamed) {
  CheckpointMaker maker = reference_layout();
  maker.rename([](const std::string& name) { return "ema." + name; });
  for (const SourceTensor& t : reference_layout().make().tensors) {
    maker.add("model." + t.name, t.tensor.shape(),
              [values = read_f32(t.tensor)](std::uint64_t i) { return values[i]; });
  }
  Checkpoint checkpoint = maker.make();
  Error e = error_of([&] { recognise(checkpoint); });
  EXPECT_EQ(e.code(), Code::recipe_ambiguous);
  EXPECT_THAT(e.sentence(), AllOf(HasSubstr("\"ema.\""), HasSubstr("\"model.\"")));
  Recognition chosen = recognise(checkpoint, nullptr, "model");
  EXPECT_EQ(chosen.prefix, "model.");
  CanonicalModel model = apply(chosen, checkpoint, {});
  EXPECT_TRUE(model.spec.tie_word_embeddings) << "equal bytes in two storages";
  EXPECT_EQ(error_of([&] { recognise(checkpoint, nullptr, "other."); }).code(),
            Code::recipe_unknown);
}

// A recipe of one test, over the checkpoint { emb.weight [4, 2] and what is added }.
CanonicalModel run(const std::string& body, CheckpointMaker maker = CheckpointMaker()) {
  std::string text =
      "name = \"t\"\nrecognise = [\"emb.weight\"]\n"
      "[model]\nvocab_size = 4\nhidden_size = 2\nnum_hidden_layers = 1\n"
      "norm = { kind = \"none\" }\ndense = { gated = false, intermediate_size = 3 }\n"
      "tie_word_embeddings = true\n"
      "attention = { num_attention_heads = 1, qk_nope_head_dim = 2, v_head_dim = 2, kv_norm = { "
      "kind = \"none\" } }\n"
      "[blocks]\n\"layers.{l}\" = \"h{l}\"\n"
      "[tensors]\n\"embed\" = \"emb\"\n"
      "\"{block}.attn.q_nope\" = \"{block}.q.split(0, 1)\"\n"
      "\"{block}.attn.k_nope\" = \"{block}.k.split(0, 1)\"\n"
      "\"{block}.attn.v\" = \"{block}.v.split(0, 1)\"\n"
      "\"{block}.attn.o\" = \"{block}.o\"\n"
      "\"{block}.mlp.dense.up\" = \"{block}.up\"\n"
      "\"{block}.mlp.dense.down\" = \"{block}.up.t()\"\n" +
      body;
  if (body.find("[index]") == std::string::npos) text += "\n[index]\nl = 1\n";
  ParsedRecipe parsed = parse_recipe(text, "t.toml");
  for (const RecipeMistake& m : parsed.mistakes) {
    ADD_FAILURE() << m.line << ":" << m.column << ": " << m.text;
  }
  maker.add("emb.weight", {4, 2}, one);
  for (const char* name : {"h0.q", "h0.k", "h0.v", "h0.o"}) {
    maker.add(std::string(name) + ".weight", {2, 2}, one);
  }
  maker.add("h0.up.weight", {3, 2}, one);
  Checkpoint checkpoint = maker.make();
  return apply(recognise(checkpoint, parsed.recipe), checkpoint, {});
}

TEST(Rules, ALineTheModelDoesNotCallForIsNotRead) {
  CanonicalModel model = run("\"head\" = \"nowhere\"\n\"{block}.mlp.router\" = \"{block}.r\"\n");
  EXPECT_FALSE(model.has("head.weight"));
  EXPECT_EQ(model.at("layers.0.mlp.dense.down.weight").shape(), (Shape{2, 3}));
  EXPECT_EQ(model.account.size(), 6u);
}

TEST(Rules, StarsLeaveOutManyNames) {
  CheckpointMaker maker;
  maker.add("h0.rope.cos_cache", {2}, one).add("h0.rope.sin_cache", {2}, one);
  CanonicalModel model = run("[left_out]\n\"{block}.*_cache\" = \"tables\"\n", maker);
  EXPECT_EQ(model.account.size(), 8u);
  maker.add("h0.rope.other", {2}, one);
  EXPECT_EQ(error_of([&] { run("[left_out]\n\"{block}.*_cache\" = \"tables\"\n", maker); }).code(),
            Code::source_uncovered);
}

TEST(Rules, AnAliasMustBeTheSame) {
  CheckpointMaker maker;
  maker.add("copy", {4, 2}, one);
  CanonicalModel model = run("[alias]\ncopy = \"emb.weight\"\n", maker);
  EXPECT_EQ(model.account[0].fate, Fate::alias);
  CheckpointMaker other;
  other.add("copy", {4, 2}, [](std::uint64_t i) { return float(i); });
  Error e = error_of([&] { run("[alias]\ncopy = \"emb.weight\"\n", other); });
  EXPECT_EQ(e.code(), Code::recipe_check_failed);
  EXPECT_EQ(e.tensor(), "copy");
  EXPECT_THAT(e.sentence(), HasSubstr("the same as emb.weight"));
  EXPECT_THAT(error_of([&] { run("[alias]\ncopy = \"gone\"\n", other); }).sentence(),
              HasSubstr("that one is not there"));
}

TEST(Rules, AStepThatDoesNotFitNamesTheLineAndTheTensor) {
  CheckpointMaker maker;
  maker.add("p.weight", {5, 2}, one);
  Error e = error_of([&] { run("\"positions\" = \"p\"\n[model.router]\nn_group = 1\n", maker); });
  EXPECT_EQ(e.code(), Code::source_uncovered) << "positions are not called for";
  Error shape =
      error_of([&] { run("[index]\nl = 1\n[shapes]\n\"h{l}.q.weight\" = [\"1 + 2\", 2]\n"); });
  EXPECT_EQ(shape.code(), Code::dimension_mismatch);
  EXPECT_THAT(shape.sentence(), HasSubstr("axis 0 of [2, 2] is not 1 + 2; recipe t, line 24"));
}

TEST(Rules, TheModelMustMakeSense) {
  Error e = error_of(
      [&] { run("[model.rope]\nfactor = \"1 - 2\"\n[model.moe]\nn_routed_experts = 2\n"); });
  EXPECT_EQ(e.code(), Code::spec_invalid);
  EXPECT_EQ(e.file(), "model.pt");
  Error field = error_of([&] { run("[model.moe]\nfirst_k_dense_replace = \"0 - 1\"\n"); });
  EXPECT_EQ(field.code(), Code::spec_invalid);
  EXPECT_THAT(field.sentence(),
              HasSubstr("the model's moe.first_k_dense_replace (recipe t, line 22)"));
}

TEST(Rules, CountsThatNoModelHasAreRefused) {
  Error index = error_of([&] { run("[index]\nl = \"2000000\"\n"); });
  EXPECT_EQ(index.code(), Code::limit_exceeded);
  EXPECT_EQ(index.actual(), "2000000");
  Error experts = error_of([&] {
    run("[model.moe]\nn_routed_experts = 20000000\nrouted = { intermediate_size = 1 }\n"
        "[model.router]\nnum_experts_per_tok = 1\n");
  });
  EXPECT_EQ(experts.code(), Code::limit_exceeded);
  EXPECT_THAT(experts.sentence(), HasSubstr("1 blocks of 20000000"));
}

TEST(GroupNames, WholeNumbersBetweenDotsAreOnePattern) {
  CheckpointMaker maker;
  maker.add("h.0.ln_1.w", {2}, one).add("h.10.ln_1.w", {3}, one).add("h.0.ln_2.w", {2, 2}, one);
  maker.raw("h.1.ln_2.w", DType::F16, {4}, std::vector<std::byte>(8));
  std::vector<NameGroup> groups = group_names(maker.make());
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].pattern, "h.{}.ln_1.w");
  EXPECT_EQ(groups[0].count, 2u);
  EXPECT_EQ(groups[0].shape, "[2..3]");
  EXPECT_EQ(groups[1].shape, "ranks differ");
  EXPECT_EQ(groups[1].dtype, "F32/F16");
}

}  // namespace
}  // namespace wb
