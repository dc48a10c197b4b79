// Calibration: the solver against hand-worked systems, the fit against properties that
// hold for any least squares, steps by name.
#include "calibrate/calibrate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/error.h"
#include "runtime/decoder.h"
#include "tensor/read.h"

namespace wb {
namespace {

TEST(Calibrate, SolvesWorkedSystems) {
  // [4 2; 2 3] x = [10; 9]: x = (1.5, 2).
  std::vector<double> x = solve_ridge({4, 2, 2, 3}, {10, 9}, 0);
  EXPECT_NEAR(x[0], 1.5, 1e-12);
  EXPECT_NEAR(x[1], 2.0, 1e-12);
  // Singular [1 1; 1 1] x = [2; 2]: with a ridge the shortest solution, (1, 1).
  x = solve_ridge({1, 1, 1, 1}, {2, 2}, 1e-9);
  EXPECT_NEAR(x[0], 1.0, 1e-6);
  EXPECT_NEAR(x[1], 1.0, 1e-6);
}

TEST(Calibrate, StepsAreChosenByName) {
  EXPECT_TRUE(steps_from_names("all").spare);
  CalibrationSteps some = steps_from_names("biases,positions");
  EXPECT_TRUE(some.biases && some.positions);
  EXPECT_FALSE(some.router || some.spare);
  EXPECT_FALSE(steps_from_names("none").biases);
  try {
    steps_from_names("biases,wings");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::usage);
    EXPECT_STREQ(e.what(),
                 "there is no calibration step of this name: expected biases, router, positions, "
                 "spare, all or none, found \"wings\".");
  }
}

// A small random model of the reference kind.
CanonicalModel model() {
  CanonicalModel m;
  ModelSpec& s = m.spec;
  s.vocab_size = 50;
  s.hidden_size = 16;
  s.num_hidden_layers = 2;
  s.max_position_embeddings = 32;
  s.positions = Positions::learned;
  s.tie_word_embeddings = true;
  s.norm = {NormKind::rms, 1e-6, true, false};
  s.attention.num_attention_heads = 2;
  s.attention.kv_lora_rank = 8;
  s.attention.qk_nope_head_dim = s.attention.v_head_dim = 8;
  s.attention.qk_rope_head_dim = 4;
  s.attention.rope_keys = RopeKeys::per_head;
  s.moe.n_routed_experts = 4;
  s.moe.routed = {Activation::silu, true, 12, true};
  s.router.num_experts_per_tok = 2;
  s.router.expert_bias = ExpertBias::logits;
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const CanonicalTensor& t : canonical_tensors(s)) {
    std::vector<float> values(numel(t.shape));
    bool norm = t.name.find("norm") != std::string::npos;
    for (float& v : values) v = norm ? 1.0f + 0.1f * normal(random) : 0.3f * normal(random);
    m.tensors.emplace(t.name, Tensor::values(t.name, values, t.shape));
  }
  return m;
}

std::vector<std::vector<std::uint32_t>> text() {
  std::mt19937 random(4);
  std::vector<std::vector<std::uint32_t>> out(20);
  for (auto& window : out) {
    for (int i = 0; i < 32; ++i) window.push_back(static_cast<std::uint32_t>(random() % 50));
  }
  return out;
}

TEST(Calibrate, FitsAreLeastSquaresAndTheSpareDimensionHelps) {
  CanonicalModel m = model();
  auto windows = text();
  CalibrationSteps plain;
  plain.spare = false;
  CalibrationResult without = calibrate_stock(m, windows, plain, 1),
                    with = calibrate_stock(m, windows, {}, 1);
  EXPECT_EQ(without.tokens, 640u);
  EXPECT_EQ(without.values.spare, 0u);
  ASSERT_EQ(with.values.spare, 48u);  // 16 + 48 = 64, a multiple of the group
  for (std::size_t l = 0; l < 2; ++l) {
    EXPECT_EQ(without.values.layers[l].one.size(), 16u);
    EXPECT_EQ(with.values.layers[l].one.size(), 64u);
    EXPECT_GT(without.fit_error[l], 0.0);
    EXPECT_LT(without.fit_error[l], 1.0);  // v = 0 errs by 1
    EXPECT_LT(with.fit_error[l], without.fit_error[l]);
    EXPECT_EQ(with.values.layers[l].router_shift, 20.0);
    for (std::size_t i = 17; i < 64; ++i) EXPECT_EQ(with.values.layers[l].one[i], 0.0f);
  }
}

// The error that is reported is the error that is there: 1 - one.x over the text, from the
// decoder's own stream and the norm's definition.
TEST(Calibrate, ReportsTheErrorThatIsThere) {
  CanonicalModel m = model();
  auto windows = text();
  CalibrationSteps steps;
  steps.spare = false;
  CalibrationResult fit = calibrate_stock(m, windows, steps, 1);
  // The fit is taken with the mean position everywhere, as the stock class has it.
  std::vector<float> table = read_f32(m.at("positions.weight")), flat(table.size());
  for (std::size_t i = 0; i < 16; ++i) {
    double mean = 0;
    for (std::size_t t = 0; t < 32; ++t) mean += static_cast<double>(table[t * 16 + i]) / 32;
    EXPECT_NEAR(fit.values.embedding_shift[i], mean, 1e-6);
    for (std::size_t t = 0; t < 32; ++t) flat[t * 16 + i] = static_cast<float>(mean);
  }
  m.tensors["positions.weight"] = Tensor::values("flat", flat, {32, 16});
  Decoder decoder(m);
  ForwardOptions options;
  options.middle = true;
  std::vector<double> square(2, 0.0);
  for (const auto& window : windows) {
    ForwardResult r = decoder.forward(window, options);
    for (std::size_t l = 0; l < 2; ++l) {
      std::vector<float> w = read_f32(m.at("layers." + std::to_string(l) + ".mlp_norm.weight"));
      for (std::size_t t = 0; t < 32; ++t) {
        const float* h = &r.middle[l][t * 16];
        double ms = 0, dot = 0;
        for (int i = 0; i < 16; ++i)
          ms += static_cast<double>(h[i]) * static_cast<double>(h[i]) / 16;
        for (std::size_t i = 0; i < 16; ++i) {
          dot += static_cast<double>(fit.values.layers[l].one[i]) * static_cast<double>(w[i]) *
                 static_cast<double>(h[i]) / (std::sqrt(ms) + 1e-6);
        }
        square[l] += (1 - dot) * (1 - dot) / 640;
      }
    }
  }
  for (std::size_t l = 0; l < 2; ++l) EXPECT_NEAR(fit.fit_error[l], std::sqrt(square[l]), 1e-4);
}

TEST(Calibrate, StepsThatAreLeftOutLeaveNothing) {
  CalibrationResult r = calibrate_stock(model(), text(), steps_from_names("positions"), 1);
  EXPECT_EQ(r.values.embedding_shift.size(), 16u);
  EXPECT_TRUE(r.values.layers[0].one.empty());
  r = calibrate_stock(model(), text(), steps_from_names("biases"), 1);
  EXPECT_TRUE(r.values.embedding_shift.empty());
  EXPECT_EQ(r.values.layers[0].router_shift, 0.0);
  EXPECT_FALSE(r.values.layers[0].one.empty());
  EXPECT_THROW(calibrate_stock(model(), {}, {}, 1), Error);
}

}  // namespace
}  // namespace wb
