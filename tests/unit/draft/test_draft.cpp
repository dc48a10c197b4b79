// Drafting from names and shapes made here: what is found, and above all what is asked where
// nothing tells. Expected roles are those by which the shapes were chosen.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "draft/draft.h"
#include "draft/names.h"
#include "recipe/recipe.h"
#include "tensor/read.h"
#include "unit/draft/draft_models.h"

namespace wb::draft {
namespace {

TEST(Draft, FindsTheHeadsOfALatentAttention) {
  // 36 = heads * (content + rope), 24 = heads * content, 4 = rope: three heads, no other count.
  Draft d = drafted(model(with(with(kNorms, kLatent), kMlp)));
  EXPECT_EQ(role(d, "blocks.{l}.attn.w_dkv.weight"), "key-value down-projection");
  EXPECT_EQ(role(d, "blocks.{l}.attn.w_uk.weight"), "keys");
  EXPECT_EQ(role(d, "blocks.{l}.attn.w_kr.weight"), "rotated key");
  EXPECT_EQ(dim(d, "num_attention_heads"), 3u);
  EXPECT_EQ(dim(d, "qk_rope_head_dim"), 4u);
  EXPECT_EQ(dim(d, "kv_lora_rank"), 10u);
  EXPECT_TRUE(d.unknown.empty());
  EXPECT_EQ(question(d, "num_attention_heads"), nullptr);
  EXPECT_EQ(question(d, "attention_roles"), nullptr) << "the names tell";
  ASSERT_NE(question(d, "query_order"), nullptr) << "content and position lie in one matrix";
}

TEST(Draft, AsksWhichOfTwoMatricesIsKeysWhenNamesAreSilent) {
  std::vector<Named> attention = kLatent;
  attention[2].name = "attn.x.weight";
  attention[3].name = "attn.y.weight";
  Draft d = drafted(model(with(with(kNorms, attention), kMlp)));
  const Question* q = question(d, "attention_roles");
  ASSERT_NE(q, nullptr);
  ASSERT_EQ(q->values.size(), 2u);
  EXPECT_NE(d.toml.find("if(attention_roles == 1, "), std::string::npos);
  EXPECT_NE(d.toml.find("default = 0  # not answered yet"), std::string::npos);
  for (const DraftGroup& g : d.groups) {
    if (g.pattern == "blocks.{l}.attn.x.weight") {
      EXPECT_LE(g.confidence, 0.5);
    }
  }
}

TEST(Draft, AnUnansweredQuestionStopsTheRecipe) {
  std::vector<Named> attention = kLatent;
  attention[2].name = "attn.x.weight";
  attention[3].name = "attn.y.weight";
  Checkpoint checkpoint = model(with(with(kNorms, attention), kMlp));
  Draft d = drafted(checkpoint);
  const auto apply_with = [&](const std::map<std::string, std::string>& settings) {
    return answered(checkpoint, d, settings);
  };
  std::map<std::string, std::string> settings = {{"query_order", "1"}};
  try {
    apply_with(settings);
    FAIL() << "applied without an answer";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::recipe_open);
    EXPECT_NE(e.sentence().find("attention_roles"), std::string::npos) << e.sentence();
  }
  settings["attention_roles"] = "1";
  CanonicalModel one = apply_with(settings);
  settings["attention_roles"] = "2";
  CanonicalModel two = apply_with(settings);
  EXPECT_EQ(one.at("layers.0.attn.k_nope.weight").sources(),
            two.at("layers.0.attn.v.weight").sources());
  EXPECT_NE(one.at("layers.0.attn.k_nope.weight").sources(),
            two.at("layers.0.attn.k_nope.weight").sources());
}

TEST(Draft, AsksWhichMatrixIsTheGateWhenNumbersDoNotFollowTheUsualOrder) {
  // w1 and w3 go in and w2 comes out as published; here w3 comes out.
  const std::vector<Named> odd = {
      {"mlp.w1.weight", {50, 24}}, {"mlp.w2.weight", {50, 24}}, {"mlp.w3.weight", {24, 50}}};
  Draft d = drafted(model(with(with(kNorms, kLatent), odd)));
  EXPECT_NE(question(d, "dense_roles"), nullptr);
  const std::vector<Named> usual = {
      {"mlp.w1.weight", {50, 24}}, {"mlp.w2.weight", {24, 50}}, {"mlp.w3.weight", {50, 24}}};
  d = drafted(model(with(with(kNorms, kLatent), usual)));
  EXPECT_EQ(question(d, "dense_roles"), nullptr);
  EXPECT_EQ(role(d, "blocks.{l}.mlp.w3.weight"), "dense network: up");
}

TEST(Draft, AsksWhichNormIsWhich) {
  Draft d =
      drafted(model(with(with({{"alpha.weight", {24}}, {"beta_.weight", {24}}}, kLatent), kMlp)));
  EXPECT_NE(question(d, "norm_roles"), nullptr);
}

TEST(Draft, AsksForTheHeadsThatShapesAllow) {
  const std::vector<Named> plain = {{"attn.q.weight", {24, 24}},
                                    {"attn.k.weight", {24, 24}},
                                    {"attn.v.weight", {24, 24}},
                                    {"attn.o.weight", {24, 24}}};
  Draft d = drafted(model(with(with(kNorms, plain), kMlp)));
  const Question* heads = question(d, "num_attention_heads");
  ASSERT_NE(heads, nullptr);
  // Even widths above 2 that divide 24, by hand; one head alone is no candidate.
  EXPECT_EQ(heads->values, (std::vector<std::string>{"2", "3", "4", "6"}));
  EXPECT_NE(question(d, "rotation"), nullptr) << "nothing says whether rope turns anything";
}

TEST(Draft, OrderOfPartsIsAskedForFusedTensors) {
  const std::vector<Named> fused = {{"attn.qkv.weight", {72, 24}}, {"attn.o.weight", {24, 24}}};
  const std::vector<Named> mlp = {{"mlp.gate_up.weight", {100, 24}}, {"mlp.down.weight", {24, 50}}};
  Draft d = drafted(model(with(with(kNorms, fused), mlp)));
  EXPECT_NE(question(d, "qkv_order"), nullptr);
  EXPECT_NE(question(d, "dense_order"), nullptr);
}

TEST(Draft, StackedExpertsOfBothOrientations) {
  for (bool transposed : {false, true}) {
    Shape in = transposed ? Shape{6, 24, 9} : Shape{6, 9, 24},
          out = transposed ? Shape{6, 9, 24} : Shape{6, 24, 9};
    const std::vector<Named> experts = {{"moe.router.weight", {6, 24}},
                                        {"moe.experts.gate", in},
                                        {"moe.experts.up", in},
                                        {"moe.experts.down", out}};
    Draft d = drafted(model(with(with(kNorms, kLatent), experts)));
    EXPECT_EQ(role(d, "blocks.{l}.moe.experts.down"), "routed experts: down");
    EXPECT_EQ(d.toml.find(".select(0, e).t()") != std::string::npos, transposed);
    EXPECT_EQ(dim(d, "n_routed_experts"), 6u);
    EXPECT_TRUE(d.unknown.empty());
  }
}

TEST(Draft, ANetworkOfBareParametersOfEitherOrientation) {
  for (bool in_out : {false, true}) {
    const auto shaped = [&](std::uint64_t out, std::uint64_t in) {
      return in_out ? Shape{in, out} : Shape{out, in};
    };
    const std::vector<Named> net = {{"mlp.w_gate", shaped(50, 24)},
                                    {"mlp.w_up", shaped(50, 24)},
                                    {"mlp.w_down", shaped(24, 50)}};
    const Checkpoint c = model(with(with(kNorms, kLatent), net));
    const Draft d = drafted(c);
    EXPECT_EQ(dim(d, "intermediate_size"), 50u);
    const CanonicalModel m = answered(c, d, {{"query_order", "1"}});
    EXPECT_EQ(read_f32(m.at("layers.0.mlp.dense.down.weight"))[3 * 50 + 41],  // [3, 41]
              test::element("blocks.0.mlp.w_down", in_out ? 41 * 24 + 3 : 3 * 50 + 41));
  }
}

TEST(Draft, ANonCausalMaskAndRoutingNoiseAreNotLeftOut) {
  const std::vector<Named> noisy = {
      {"moe.router.weight", {6, 24}},   {"moe.noise.weight", {6, 24}},
      {"moe.experts.gate", {6, 9, 24}}, {"moe.experts.up", {6, 9, 24}},
      {"moe.experts.down", {6, 24, 9}}, {"attn.mask", {1, 1, 8, 8}}};
  Draft d = drafted(model(with(with(kNorms, kLatent), noisy)));
  EXPECT_EQ(d.unknown,
            (std::vector<std::string>{"blocks.{l}.attn.mask", "blocks.{l}.moe.noise.weight"}));
  EXPECT_EQ(d.toml.find("\n[left_out]\n"), std::string::npos);
}

TEST(Draft, ReadsRopeBuffersAndMasks) {
  CheckpointMaker maker;
  Checkpoint base = model(with(with(kNorms, kLatent), kMlp));
  base.tensors.push_back(
      CheckpointMaker()
          .add("rope.inv_freq", {2}, [](std::uint64_t j) { return j == 0 ? 1.0f : 0.1f; })
          .make()
          .tensors[0]);
  base.tensors.push_back(
      CheckpointMaker()
          .add("mask", {4, 4}, [](std::uint64_t i) { return i % 4 <= i / 4 ? 1.0f : 0.0f; })
          .make()
          .tensors[0]);
  // cos of position * base^(-2j/4), the two halves alike: rotate-half.
  base.tensors.push_back(
      CheckpointMaker()
          .add("rope.cos", {3, 4},
               [](std::uint64_t i) { return std::cos(float(i / 4) * (i % 2 == 0 ? 1.0f : 0.1f)); })
          .make()
          .tensors[0]);
  std::sort(base.tensors.begin(), base.tensors.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  Draft d = drafted(base);
  EXPECT_TRUE(d.unknown.empty());
  EXPECT_NE(d.toml.find("rope.base = 100.0"), std::string::npos) << d.toml;  // 0.1 = base^(-2/4)
  EXPECT_NE(d.toml.find("rope.layout = \"half_split\""), std::string::npos);
  EXPECT_NE(d.toml.find("equal(this, tril(4))"), std::string::npos);
  EXPECT_EQ(question(d, "rope.base"), nullptr);
}

TEST(Draft, SharedExpertsInTheListOfExperts) {
  std::vector<Named> moe = {{"moe.gate.weight", {4, 24}}};
  for (int e = 0; e < 5; ++e) {
    for (const char* part : {"gate_proj", "up_proj"})
      moe.push_back({"moe.experts." + std::to_string(e) + "." + part + ".weight", {9, 24}});
    moe.push_back({"moe.experts." + std::to_string(e) + ".down_proj.weight", {24, 9}});
  }
  Draft d = drafted(model(with(with(kNorms, kLatent), moe)));
  EXPECT_NE(question(d, "shared_place"), nullptr);
  EXPECT_EQ(dim(d, "n_routed_experts"), 4u);
  EXPECT_EQ(dim(d, "n_experts"), 5u);
}

TEST(Draft, AModelWithoutAFinalNorm) {
  Checkpoint c = model(with(with(kNorms, kLatent), kMlp));
  std::erase_if(c.tensors, [](const SourceTensor& t) { return t.name == "norm.weight"; });
  Draft d = drafted(c);
  EXPECT_NE(d.toml.find("final_norm.kind = \"none\""), std::string::npos);
  CanonicalModel m = answered(c, d, {{"query_order", "1"}});
  EXPECT_EQ(m.spec.final_norm.kind, NormKind::none);
  EXPECT_EQ(m.spec.norm.kind, NormKind::rms);
}

TEST(Draft, ScalesBesideNumbersOf8Bits) {
  Checkpoint c = model(with(with(kNorms, kLatent), kMlp));
  CheckpointMaker scales;
  for (int l = 0; l < 2; ++l) {
    const std::string w = "blocks." + std::to_string(l) + ".attn.w_uk.weight";
    auto it = std::find_if(c.tensors.begin(), c.tensors.end(),
                           [&](const SourceTensor& t) { return t.name == w; });
    ASSERT_NE(it, c.tensors.end());
    std::vector<std::byte> codes(240);
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::byte>(i % 100);
    it->tensor = Tensor::stored(w, memory_storage(std::move(codes)), DType::I8, {24, 10});
    scales.add(w + ".scale", {}, [](std::uint64_t) { return 0.5f; });
  }
  c = and_also(c, scales.make().tensors);
  Draft d = drafted(c);
  EXPECT_TRUE(d.unknown.empty());
  EXPECT_EQ(role(d, "blocks.{l}.attn.w_uk.weight.scale"), "scale of the numbers beside it");
  CanonicalModel m = answered(c, d, {{"query_order", "1"}});
  EXPECT_EQ(read_f32(m.at("layers.1.attn.k_nope.weight"))[37], 0.5f * 37);
  // A number that is no scale of these is no such thing: one per column of two.
  c = and_also(c,
               CheckpointMaker()
                   .add("blocks.0.attn.w_uv.weight.scale", {2}, [](std::uint64_t) { return 1.0f; })
                   .make()
                   .tensors);
  EXPECT_FALSE(drafted(c).unknown.empty());
}

// The numbers of 8 bits have their scales in a dict beside them, by their names.
TEST(Draft, ScalesAmongTheFacts) {
  Checkpoint c = model(with(with(kNorms, kLatent), kMlp));
  for (SourceTensor& t : c.tensors) {
    if (t.name.find(".w_uk.") == std::string::npos) continue;
    std::vector<std::byte> codes(240);
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::byte>(i % 100);
    t.tensor = Tensor::stored(t.name, memory_storage(std::move(codes)), DType::I8, {24, 10});
    c.facts["meta"][t.name] = {{"type", "int8"}, {"scale", t.name[7] == '0' ? 0.25 : 0.5}};
  }
  Draft d = drafted(c);
  EXPECT_TRUE(d.unknown.empty());
  EXPECT_NE(d.toml.find("{any}.dequantise(full(fact('meta.{any}.scale'), 1))"), std::string::npos);
  CanonicalModel m = answered(c, d, {{"query_order", "1"}});
  EXPECT_EQ(read_f32(m.at("layers.1.attn.k_nope.weight"))[37], 0.5f * 37);
  EXPECT_EQ(read_f32(m.at("layers.0.attn.k_nope.weight"))[37], 0.25f * 37);
  // Where one of them has none, it is not that.
  c.facts["meta"].erase("blocks.1.attn.w_uk.weight");
  EXPECT_EQ(drafted(c).toml.find("fact("), std::string::npos);
}

TEST(Draft, TablesOfTheMultiTokenHeadsAreNotTheModels) {
  const std::vector<Named> mtp = {{"mtp.heads.0.weight", {24, 24}}, {"mtp.heads.0.bias", {24}},
                                  {"mtp.heads.1.weight", {24, 24}}, {"mtp.heads.1.bias", {24}},
                                  {"mtp.norm.weight", {24}},        {"mtp.output.weight", {40, 24}},
                                  {"output.weight", {40, 24}}};
  Draft d = drafted(model(with(with(kNorms, kLatent), kMlp), "", mtp));
  EXPECT_EQ(role(d, "output.weight"), "output head");
  EXPECT_EQ(role(d, "norm.weight"), "final norm");
  EXPECT_EQ(role(d, "mtp.output.weight"), "multi-token head, left out");
  EXPECT_EQ(d.toml.find("positions = \"learned\""), std::string::npos);
  EXPECT_TRUE(d.unknown.empty());
  EXPECT_NE(d.toml.find("\"mtp.*\" = "), std::string::npos);
}

TEST(Draft, AskAllLeavesNothingAssumed) {
  const std::vector<Named> experts = {{"moe.router.weight", {6, 24}},
                                      {"moe.experts.gate", {6, 9, 24}},
                                      {"moe.experts.up", {6, 9, 24}},
                                      {"moe.experts.down", {6, 24, 9}}};
  const Checkpoint c = model(with(with(kNorms, kLatent), experts));
  const Draft usual = drafted(c), all = drafted(c, {"", true});
  EXPECT_FALSE(usual.assumed.empty());
  EXPECT_TRUE(all.assumed.empty());
  for (const std::string& line : usual.assumed) {  // "rope.scaling = none: ..."
    EXPECT_NE(question(all, line.substr(0, line.find(' '))), nullptr) << line;
  }
  EXPECT_NE(question(all, "rope.factor"), nullptr);
  EXPECT_NE(question(all, "router.group_mask"), nullptr);
}

TEST(Draft, EveryQuestionSaysWhatTheLikelyAnswersAreAndWhatWouldTell) {
  const std::vector<Named> experts = {
      {"moe.router.weight", {6, 24}}, {"moe.router.bias", {6}},
      {"moe.balance.bias", {6}},      {"moe.experts.gate", {6, 9, 24}},
      {"moe.experts.up", {6, 9, 24}}, {"moe.experts.down", {6, 24, 9}},
      {"attn.kv_norm.weight", {10}}};
  const Draft d = drafted(model(with(with(kNorms, kLatent), experts)), {"", true});
  EXPECT_NE(question(d, "router.expert_bias"), nullptr);
  for (const Question& q : d.questions) {
    EXPECT_FALSE(q.text.empty()) << q.key;
    EXPECT_FALSE(q.experiment.empty()) << q.key;
    EXPECT_TRUE(!q.field || !q.values.empty()) << q.key;
  }
}

TEST(Draft, NamesThatAreNoTomlAreSpelledOut) {
  Draft d = drafted(model(with(with(kNorms, kLatent), kMlp), "", {{"od\"d\n[model]\nx = 1", {3}}}));
  EXPECT_EQ(d.unknown.size(), 1u);
}

TEST(Draft, RefusesWhatIsNoModelAndTwoModels) {
  try {
    draft_recipe(CheckpointMaker().add("a", {2}, [](std::uint64_t) { return 0.0f; }).make(), "x");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::recipe_unknown);
    EXPECT_NE(e.sentence().find("no layers are seen"), std::string::npos) << e.sentence();
  }
  try {
    draft_recipe(CheckpointMaker().add("a.{0}", {2}, [](std::uint64_t) { return 0.0f; }).make(),
                 "x");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::tensor_name);
  }
  CheckpointMaker many;
  for (int i = 0; i < 5002; ++i) {  // names of letters only: a number would be an index
    std::string name = "n";
    for (int rest = i; rest > 0; rest /= 26) name += static_cast<char>('a' + rest % 26);
    many.add(name + "." + name, {1}, [](std::uint64_t) { return 0.0f; });
  }
  try {
    draft_recipe(many.make(), "x");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::limit_exceeded);
  }
  const std::vector<Named> layer = with(with(kNorms, kLatent), kMlp);
  Checkpoint two = model(layer, "model.");
  for (SourceTensor& t : model(layer, "ema.").tensors) two.tensors.push_back(t);
  std::sort(two.tensors.begin(), two.tensors.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  try {
    draft_recipe(two, "x");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::recipe_ambiguous);
    EXPECT_NE(e.sentence().find("\"ema.\" and \"model.\""), std::string::npos) << e.sentence();
  }
  EXPECT_EQ(draft_recipe(two, "x", {"ema.", false}).prefix, "ema.");
}

TEST(Names, IndicesArePlacesWhereTheSameRecurs) {
  CheckpointMaker maker;
  const auto add = [&](const std::string& name, const Shape& shape) {
    maker.add(name, shape, [](std::uint64_t) { return 1.0f; });
  };
  add("tok.weight", {9, 4});
  for (int l = 0; l < 2; ++l) {
    std::string b = "layer" + std::to_string(l) + ".";
    for (const char* w : {"w1", "w2", "w3"}) add(b + "attn." + w, {4, 4});
    add(b + "net.0.weight", {8, 4});
    add(b + "net.1.weight", {4, 8});
    add(b + "ln_1.weight", {4});
    add(b + "ln_2.weight", {4});
    for (int e = 0; e < 3; ++e) {
      add(b + "fc1." + std::to_string(e) + ".weight", {6, 4});
      add(b + "expert_" + std::to_string(e) + ".w" + std::to_string(e), {4, 6});
    }
  }
  add("optimizer.state.0.exp_avg", {9, 4});
  add("optimizer.state.1.exp_avg", {4});
  Checkpoint checkpoint = maker.make();
  Names names = read_names(checkpoint, "");
  std::vector<std::string> patterns;
  for (const Group& g : names.groups) patterns.push_back(g.pattern);
  EXPECT_EQ(patterns, (std::vector<std::string>{"layer{l}.attn.w1", "layer{l}.attn.w2",
                                                "layer{l}.attn.w3", "layer{l}.expert_{e}.w{e}",
                                                "layer{l}.fc1.{e}.weight", "layer{l}.ln_1.weight",
                                                "layer{l}.ln_2.weight", "layer{l}.net.0.weight",
                                                "layer{l}.net.1.weight", "tok.weight"}));
  EXPECT_EQ(names.optimizer, std::vector<std::string>{"optimizer.*"});
}

}  // namespace
// Behind an expert's number, fc1 and fc2 differ in their digit alone, and in their shapes.
TEST(Names, AListWhosePartsAreToldApartByADigitIsAnIndex) {
  CheckpointMaker maker;
  const auto add = [&](const std::string& name, const Shape& shape) {
    maker.add(name, shape, [](std::uint64_t) { return 1.0f; });
  };
  add("tok.weight", {9, 4});
  for (int l = 0; l < 2; ++l) {
    std::string b = "blocks." + std::to_string(l) + ".";
    for (const char* w : {"q", "k", "v"}) add(b + "attn." + w + ".weight", {4, 4});
    for (int e = 0; e < 5; ++e) {
      add(b + "experts." + std::to_string(e) + ".fc1.weight", {6, 4});
      add(b + "experts." + std::to_string(e) + ".fc2.weight", {4, 6});
    }
  }
  Names names = read_names(maker.make(), "");
  std::vector<std::string> patterns;
  for (const Group& g : names.groups) patterns.push_back(g.pattern);
  EXPECT_EQ(patterns, (std::vector<std::string>{
                          "blocks.{l}.attn.k.weight", "blocks.{l}.attn.q.weight",
                          "blocks.{l}.attn.v.weight", "blocks.{l}.experts.{e}.fc1.weight",
                          "blocks.{l}.experts.{e}.fc2.weight", "tok.weight"}));
}

TEST(Draft, AListOfOptimizersBesideTheModelIsTheirState) {
  Checkpoint c = model(with(with(kNorms, kLatent), kMlp), "state_dict.",
                       {{"optimizer_states.0.state.0.exp_avg", {3}}});
  Draft d = drafted(c);
  EXPECT_EQ(d.prefix, "state_dict.");
  EXPECT_TRUE(d.unknown.empty());
}

TEST(Draft, NoLineSpeaksOfAnIndexOfHeadsThatAreLeftOut) {
  // A head with a block of its own and rope frequencies, but none of the norms of the paper's.
  std::vector<Named> layer = with(with(kNorms, kLatent), kMlp), heads;
  layer.push_back({"attn.rope.inv_freq", {2}});
  for (const Named& n : layer) heads.push_back({"mtp.0.block." + n.name, n.shape});
  heads.push_back({"mtp.0.projection.weight", {24, 48}});
  CheckpointMaker maker;
  const Checkpoint plain = model(layer, "", heads);
  for (const SourceTensor& t : plain.tensors) {
    const std::string name = t.name;
    const bool frequencies = name.ends_with("inv_freq");
    maker.add(name, t.tensor.shape(), [name, frequencies](std::uint64_t i) {
      return frequencies ? (i == 0 ? 1.0f : 0.01f) : test::element(name, i);
    });
  }
  Draft d = drafted(maker.make());  // drafted() parses it: an undeclared index is a mistake
  EXPECT_NE(d.toml.find("rope frequencies"), std::string::npos);
  EXPECT_EQ(d.toml.find("{m}"), std::string::npos) << d.toml;
  EXPECT_TRUE(d.unknown.empty());
}

}  // namespace wb::draft
