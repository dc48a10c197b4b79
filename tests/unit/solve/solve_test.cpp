// solve on one gallery model: readings are what apply() gives, a lie in the reference is not
// accepted, answers are written where they belong.
#include "solve/solve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/spec_values.h"
#include "solve/equivalence.h"
#include "solve/looks.h"
#include "solve/numbers.h"
#include "solve/router_bound.h"
#include "solve/space.h"
#include "tensor/read.h"
#include "unit/solve/solve_fixture.h"

namespace wb {
namespace {

using nlohmann::json;
using test::Draft;
using test::gallery;
using testing::HasSubstr;

// The scoring of its router, its shared factor and its norm's epsilon are open.
Draft smol() {
  return Draft("smol-deepseek",
               {{"score               = \"softmax\"", "score = \"?\""},
                {"shared_scale     = \"1.0 / n_shared_experts\"", "shared_scale = \"?\""},
                {"expert_bias         = \"logits\"", "expert_bias = \"?\""},
                {"layout = \"interleaved\"", "layout = \"?\""}});
}
std::vector<Unknown> unknowns(const Draft& d) {
  return unknowns_of(questions(d.recognition, d.checkpoint, d.settings));
}
std::size_t place(const std::vector<Unknown>& all, const std::string& key) {
  for (std::size_t u = 0; u < all.size(); ++u) {
    if (all[u].key == key) return u;
  }
  ADD_FAILURE() << key;
  return 0;
}
// What the witness was made with (its golden file's header says so).
Assignment truth(const std::vector<Unknown>& all) {
  const std::map<std::string, json> values{
      {"router.score", "softmax"},    {"moe.shared_scale", 0.5}, {"router.expert_bias", "logits"},
      {"rope.layout", "interleaved"}, {"top_k_experts", 2},      {"rope_theta", 1e5},
      {"rms_norm_eps", 1e-5}};
  Assignment out;
  for (const Unknown& u : all) out.push_back(values.at(u.key));
  return out;
}

TEST(Space, AReadingIsWhatApplyingTheRecipeGives) {
  const Draft d = smol();
  const std::vector<Unknown> all = unknowns(d);
  const Space space(d.recognition, d.checkpoint, d.settings, all);
  // In an order that makes it remember parts of one for the other.
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, json>>{{"rope_theta", 1e4},
                                                 {"top_k_experts", 3},
                                                 {"router.score", "sigmoid"},
                                                 {"rope_theta", 1e5}}) {
    const Assignment at = with(truth(all), place(all, key), value);
    const Reading reading = space.read(at);
    ASSERT_NE(reading.decoder, nullptr) << reading.impossible;
    const CanonicalModel applied = space.model(at);
    EXPECT_TRUE(compare(reading.decoder->spec(), applied.spec).empty()) << key;
    const std::vector<std::uint32_t> tokens{1, 5, 9};
    EXPECT_EQ(reading.decoder->forward(tokens).logits, Decoder(applied).forward(tokens).logits);
  }
}

TEST(Space, EqualEffectsAreOfReadingsThatComputeTheSame) {
  const Draft d = smol();
  const std::vector<Unknown> all = unknowns(d);
  const Space space(d.recognition, d.checkpoint, d.settings, all);
  const Assignment at = truth(all);
  const std::string effect = space.read(at).effect;
  EXPECT_EQ(space.read(Assignment(at)).effect, effect);
  for (std::size_t u = 0; u < all.size(); ++u) {
    const ModelSpec spec = space.read(at).decoder->spec();
    for (const json& value : values_to_try(all[u], spec)) {
      const Reading other = space.read(with(at, u, value));
      if (value == at[u] || other.decoder == nullptr) continue;
      EXPECT_NE(other.effect, effect) << all[u].key << " = " << value;
    }
  }
}

TEST(Space, AValueThatDoesNotFitIsASentence) {
  const Draft d = smol();
  const std::vector<Unknown> all = unknowns(d);
  const Space space(d.recognition, d.checkpoint, d.settings, all);
  const Assignment at = truth(all);
  ASSERT_NE(space.read(at).decoder, nullptr);
  // Out of the range that the recipe states, before and after it was seen with other values.
  for (double theta : {1e4, 1e5, 1e4}) {
    const Assignment other =
        with(with(at, place(all, "rope_theta"), theta), place(all, "top_k_experts"), 6);
    const Reading reading = space.read(other);
    EXPECT_EQ(reading.decoder, nullptr);
    EXPECT_THAT(reading.impossible, HasSubstr("top_k_experts"));
  }
}

TEST(Space, AWidthThatComesOutNegativeDoesNotFit) {
  const std::string rows = "model.layers.0.self_attn.kv_b_proj.weight[0] / num_attention_heads";
  const Draft d("smol-deepseek", {{rows, rows + " - if(top_k_experts > 3, 100000, 0)"}});
  const std::vector<Unknown> all = unknowns(d);
  const Space space(d.recognition, d.checkpoint, d.settings, all);
  const Assignment at = truth(all);
  EXPECT_NE(space.read(at).decoder, nullptr);
  const Reading reading = space.read(with(at, place(all, "top_k_experts"), 4));
  EXPECT_EQ(reading.decoder, nullptr);
  EXPECT_THAT(reading.impossible, HasSubstr("negative"));
}

// A limit that hangs on another setting is asked for each pair, though both values were seen.
TEST(Space, LimitsThatHangOnOtherSettingsHold) {
  const Draft d("smol-deepseek", {{"max     = \"n_routed_experts\"",
                                   "max     = \"if(rope_theta > 50000.0, n_routed_experts, 2)\""}});
  const std::vector<Unknown> all = unknowns(d);
  const Space space(d.recognition, d.checkpoint, d.settings, all);
  auto read = [&](double theta, int k) {
    return space.read(
        with(with(truth(all), place(all, "rope_theta"), theta), place(all, "top_k_experts"), k));
  };
  EXPECT_NE(read(1e5, 3).decoder, nullptr);
  EXPECT_NE(read(1e4, 2).decoder, nullptr);
  EXPECT_EQ(read(1e4, 3).decoder, nullptr);
  EXPECT_NE(read(1e5, 2).decoder, nullptr);
}

TEST(View, SketchesAreLinearAndKeepLengths) {
  const Draft d = smol();
  const std::vector<Unknown> all = unknowns(d);
  const Space space(d.recognition, d.checkpoint, d.settings, all);
  const Evidence evidence =
      read_evidence(open_checkpoint(gallery("smol-deepseek.golden.safetensors")), 8, 128);
  const Reading right = space.read(truth(all));
  const View view(View::Kind::logits, evidence, 8, 13, *right.decoder);
  const std::vector<float> predicted = view.predict(*right.decoder, 1);
  const Fit fit = view.fit(predicted);
  EXPECT_TRUE(fit.solved);
  EXPECT_LT(fit.relative, 1e-5);
  // A wrong reading: its sketch is as long as its errors, row by row.
  const Reading wrong = space.read(with(truth(all), place(all, "moe.shared_scale"), 1.0));
  const std::vector<float> other = view.predict(*wrong.decoder, 1);
  EXPECT_FALSE(view.fit(other).solved);
  double square = 0;
  for (float x : view.sketch(other)) square += static_cast<double>(x) * static_cast<double>(x);
  double wanted = 0;  // by hand: each row's error over its spread about its mean
  const std::size_t vocab = evidence.vocab, rows = view.rows();
  for (std::size_t r = 0; r < rows; ++r) {
    const float* t = evidence.logits[0].data() + r * vocab;
    double mean = 0, spread = 0, miss = 0;
    for (std::size_t i = 0; i < vocab; ++i)
      mean += static_cast<double>(t[i]) / static_cast<double>(vocab);
    for (std::size_t i = 0; i < vocab; ++i) {
      spread += std::pow(static_cast<double>(t[i]) - mean, 2);
      miss += std::pow(static_cast<double>(t[i]) - static_cast<double>(other[r * vocab + i]), 2);
    }
    wanted += miss / spread;
  }
  EXPECT_NEAR(square, wanted, 1e-4 * wanted);
}

TEST(Numbers, AreFittedTogetherAndNamed) {
  const Draft d = smol();
  const std::vector<Unknown> all = unknowns(d);
  const Space space(d.recognition, d.checkpoint, d.settings, all);
  const Evidence evidence =
      read_evidence(open_checkpoint(gallery("smol-deepseek.golden.safetensors")), 8, 128);
  const View view(View::Kind::logits, evidence, 8, 13, *space.read(truth(all)).decoder);
  std::vector<Field> fields;
  for (const Unknown& u : all) fields.push_back({u, std::nullopt});
  double work = 1e11;
  Looks looks(space, view, fields, 1, work);
  const std::size_t scale = place(all, "moe.shared_scale"), base = place(all, "rope_theta");
  fields[base].unknown.least = 10;
  fields[base].unknown.most = 1e9;
  const Assignment start = with(with(truth(all), scale, 0.47), base, 93000.0);
  const std::optional<Assignment> found = fit_numbers(looks, start, {scale, base}, true);
  ASSERT_TRUE(found);
  EXPECT_NEAR((*found)[scale].get<double>(), 0.5, 1e-5);
  EXPECT_NEAR((*found)[base].get<double>(), 1e5, 10);
  EXPECT_EQ(plain_numbers(looks, *found, {scale})[scale], 0.5);
}

TEST(Solve, FindsWhatIsOpen) {
  const Draft d = smol();
  const Checkpoint reference = open_checkpoint(gallery("smol-deepseek.golden.safetensors"));
  const Solution s = solve(d.recognition, d.checkpoint, d.settings, reference, {});
  EXPECT_TRUE(s.solved);
  std::map<std::string, json> found;
  for (const FieldReport& f : s.fields) found[f.unknown.key] = f.value;
  EXPECT_EQ(found["router.expert_bias"], "logits");
  EXPECT_EQ(found["moe.shared_scale"], 0.5);
  EXPECT_EQ(found["rope.layout"], "interleaved");
  EXPECT_EQ(found["rms_norm_eps"], 1e-5);
  EXPECT_EQ(s.model.spec.moe.shared_scale, 0.5);
}

TEST(Solve, SaysWhatTheNearestComplainsOfWhenNothingFits) {
  const Draft d(
      "deepseek-lm",
      {{"layers.{l}.self_attn.w_uk.weight\"         = [\"num_attention_heads * qk_nope_head_dim\"",
        "layers.{l}.self_attn.w_uk.weight\"         = [\"7 * num_attention_heads\""}});
  const Checkpoint reference = open_checkpoint(gallery("deepseek-lm.golden.safetensors"));
  try {
    solve(d.recognition, d.checkpoint, d.settings, reference, {});
    FAIL() << "a recipe that fits no weights was solved";
  } catch (const Error& e) {
    EXPECT_THAT(e.sentence(),
                HasSubstr("no values of what the recipe leaves open fit this checkpoint"));
    EXPECT_THAT(e.advice(), HasSubstr("[shapes]"));
  }
}

TEST(RouterBound, IsOfTheWeights) {
  CanonicalModel m;
  m.spec.hidden_size = 4;
  m.spec.num_hidden_layers = 1;
  m.spec.moe.n_routed_experts = 2;
  m.spec.router.score = RouterScore::sigmoid;
  m.spec.router.num_experts_per_tok = 1;
  m.tensors.emplace("layers.0.mlp.router.weight", Tensor::fill(DType::F32, {2, 4}, 0.5));
  m.tensors.emplace("layers.0.mlp_norm.weight", Tensor::fill(DType::F32, {4}, 2.0));
  // |logit| <= sqrt(4) * |0.5 * 2 * (1, 1, 1, 1)| = 4.
  EXPECT_NEAR(least_divisor(m), 1 / (1 + std::exp(4.0)), 1e-12);
  // A bias in the choice that nothing can beat, unless its group is out of the choice.
  const Tensor rows[] = {Tensor::fill(DType::F32, {1, 4}, 0.5),
                         Tensor::fill(DType::F32, {1, 4}, 0)};
  const Tensor biases[] = {Tensor::fill(DType::F32, {1}, 0), Tensor::fill(DType::F32, {1}, 9)};
  m.tensors.at("layers.0.mlp.router.weight") = Tensor::concat(0, rows);
  m.tensors.emplace("layers.0.mlp.router.expert_bias", Tensor::concat(0, biases));
  m.spec.router.expert_bias = ExpertBias::selection;
  EXPECT_EQ(least_divisor(m), 0.5);
  m.spec.router.n_group = 2;
  m.spec.router.topk_group = 1;
  EXPECT_EQ(least_divisor(m), 0);  // masked with 0
  m.spec.router.group_mask = GroupMask::negative_infinity;
  EXPECT_NEAR(least_divisor(m), 1 / (1 + std::exp(4.0)), 1e-12);
  m.spec.router.topk_group = 2;
  m.spec.router.expert_bias = ExpertBias::none;
  m.spec.norm.kind = NormKind::none;
  EXPECT_EQ(least_divisor(m), 0);
  m.spec.router.score = RouterScore::softmax;
  EXPECT_EQ(least_divisor(m), 0.5);
}

FieldReport answer(const std::string& key, const json& value, bool setting = false) {
  FieldReport f;
  f.unknown.key = key;
  f.unknown.setting = setting;
  f.value = value;
  return f;
}

TEST(Answers, TakeThePlaceOfTheQuestion) {
  EXPECT_EQ(
      with_answers("[model]\nnorm = { kind = \"rms\", eps = \"?\" }  # why\n[ask.k]\ndefault = 0\n",
                   {answer("norm.eps", 1e-6), answer("k", 3, true)}),
      "[model]\nnorm = { kind = \"rms\", eps = 1e-06 }  # why\n[ask.k]\ndefault = 3\n");
}

TEST(Answers, ToInheritedQuestionsAreNewLines) {
  const std::string child =
      "extends = \"base.toml\"\n[model]\nnorm = { kind = \"rms\" }\n[model.rope]\nlayout = "
      "\"half_split\"";
  const std::string out =
      with_answers(child, {answer("norm.eps", 1e-5), answer("rope.base", 5e5),
                           answer("router.score", "sigmoid"), answer("top_k", 4, true)});
  EXPECT_EQ(out,
            "extends = \"base.toml\"\n[model]\nrouter.score = \"sigmoid\"\nnorm = { eps = 1e-05, "
            "kind = \"rms\" }\n"
            "[model.rope]\nbase = 500000.0\nlayout = \"half_split\"\n\n[ask.top_k]\ndefault = 4\n");
  EXPECT_EQ(with_answers("extends = \"base.toml\"\n", {answer("norm.eps", 1e-5)}),
            "extends = \"base.toml\"\n\n[model]\nnorm.eps = 1e-05\n");
}

}  // namespace
}  // namespace wb
