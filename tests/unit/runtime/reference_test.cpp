// The decoder against PyTorch: seven small models of the reference layout, and the
// trained sample with the original implementation's numbers.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "unit/runtime/runtime_fixture.h"

namespace wb {
namespace {

constexpr double kBound = 1e-4;

ForwardOptions everything() {
  ForwardOptions o;
  o.hidden = o.router = o.mtp = true;
  return o;
}

class Reference : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string path = fixture("runtime/reference.") + GetParam();
    source = open_checkpoint(path + ".safetensors");
    golden = open_checkpoint(path + ".golden.safetensors");
    const std::string k = source.facts["__metadata__"]["top_k"];
    model = ReferenceLayout(source, std::stoull(k)).build();
  }
  Checkpoint source, golden;
  CanonicalModel model;
};

// Each step run alone, from the states that PyTorch had before it.
TEST_P(Reference, StepsRunAloneAreTorchs) {
  const Decoder decoder(model);
  const std::vector<std::uint32_t> tokens = tokens_of(golden);
  std::vector<float> h = decoder.embed(tokens), middle;
  for (std::size_t l = 0; l < model.spec.num_hidden_layers; ++l) {
    const std::vector<float> before = h;
    decoder.run_layer(l, h, 1, &middle);
    h = values(golden, "hidden." + std::to_string(l));
    std::vector<float> again = before;
    decoder.run_layer(l, again, 2);
    EXPECT_LE(max_difference(again, h), kBound) << l;
    EXPECT_EQ(middle.size(), h.size());
    EXPECT_GT(max_difference(middle, h), kBound) << l;
  }
  EXPECT_LE(max_difference(decoder.run_head(h, 1), values(golden, "logits")), kBound);
}

// Other constants on the same weights: bit for bit what a decoder made for them computes.
TEST_P(Reference, WithSpecIsADecoderOfThatSpec) {
  const Decoder decoder(model);
  const std::vector<std::uint32_t> tokens = tokens_of(golden);
  const std::vector<float> was = decoder.forward(tokens).logits;
  void (*changes[])(ModelSpec&) = {
      [](ModelSpec& s) { s.norm.eps = 0.1; },
      [](ModelSpec& s) { s.norm.eps_outside_root = !s.norm.eps_outside_root; },
      [](ModelSpec& s) { s.moe.routed.activation = Activation::relu; },
      [](ModelSpec& s) { s.moe.shared.activation = Activation::gelu_erf; },
      [](ModelSpec& s) { s.attention.softmax_scale = 0.7; },
      [](ModelSpec& s) { s.attention.kv_latent_factor = 3; },
      [](ModelSpec& s) { s.rope.base = 50; },
      [](ModelSpec& s) { s.rope.layout = RopeLayout::interleaved; },
      [](ModelSpec& s) { s.router.score = RouterScore::sigmoid; },
      [](ModelSpec& s) { s.router.routed_scaling_factor = 2; }};
  std::size_t felt = 0;
  for (auto change : changes) {
    CanonicalModel other = model;
    change(other.spec);
    const std::vector<float> logits = decoder.with_spec(other.spec).forward(tokens).logits;
    EXPECT_EQ(logits, Decoder(other).forward(tokens).logits);
    felt += logits != was ? 1 : 0;
  }
  EXPECT_GE(felt, 8u);  // of the ten; a variant may lack shared experts or the norm's effect
  EXPECT_EQ(decoder.forward(tokens).logits, was);
  ModelSpec wider = model.spec;
  wider.num_hidden_layers += 1;
  EXPECT_THROW(decoder.with_spec(wider), Error);
}

TEST_P(Reference, LogitsHiddenStatesAndHeadsAreTorchs) {
  for (ops::Kernels kernels : {ops::Kernels::plain, ops::Kernels::fast}) {
    const Decoder decoder(model, {kernels, 0});
    const ForwardResult r = decoder.forward(tokens_of(golden), everything());
    EXPECT_LE(max_difference(r.logits, values(golden, "logits")), kBound);
    EXPECT_LE(max_difference(r.final_hidden, values(golden, "hidden.final")), kBound);
    ASSERT_EQ(r.hidden.size(), model.spec.num_hidden_layers);
    for (std::size_t l = 0; l < r.hidden.size(); ++l) {
      EXPECT_LE(max_difference(r.hidden[l], values(golden, "hidden." + std::to_string(l))), kBound);
    }
    ASSERT_EQ(r.mtp.size(), model.spec.num_nextn_predict_layers);
    for (std::size_t m = 0; m < r.mtp.size(); ++m) {
      const std::string name = "mtp." + std::to_string(m);
      EXPECT_LE(max_difference(r.mtp[m].hidden, values(golden, name + ".hidden")), kBound);
      EXPECT_LE(max_difference(r.mtp[m].logits, values(golden, name + ".logits")), kBound);
    }
  }
}

TEST_P(Reference, StepsGiveTheSameLogits) {
  const Decoder decoder(model);
  const auto tokens = tokens_of(golden);
  for (const std::vector<std::size_t>& pieces :
       {std::vector<std::size_t>{}, {5}, {1, 6, 2}, {3, 3, 3}}) {
    EXPECT_LE(max_difference(logits_in_steps(decoder, tokens, pieces), values(golden, "logits")),
              kBound);
  }
}

TEST_P(Reference, RouterTracesAreOfTheRightFormAndSumToOne) {
  const Decoder decoder(model);
  const ForwardResult r = decoder.forward(tokens_of(golden), everything());
  ASSERT_EQ(r.router.size(), model.spec.num_hidden_layers);
  for (const RouterTrace& t : r.router) {
    EXPECT_EQ(t.k, model.spec.router.num_experts_per_tok);
    ASSERT_EQ(t.experts.size(), r.tokens * t.k);
    for (std::size_t i = 0; i < r.tokens; ++i) {
      float sum = 0;
      for (std::size_t j = i * t.k; j < (i + 1) * t.k; ++j) {
        EXPECT_LT(t.experts[j], model.spec.moe.n_routed_experts);
        sum += t.weights[j];
      }
      EXPECT_NEAR(sum, 1.0f, 1e-6f);  // a softmax over the chosen
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Reference,
                         ::testing::Values("base", "wide-rope", "no-bias", "no-shared-expert",
                                           "two-mtp-heads", "top-1", "top-3"));

class Sample : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const Checkpoint source = open_checkpoint(sample("tiny-deepseek.pt"));
    decoder = std::make_unique<Decoder>(ReferenceLayout(source, 2).build());
    golden = open_checkpoint(sample("golden.safetensors"));
  }
  static void TearDownTestSuite() { decoder.reset(); }
  static std::unique_ptr<Decoder> decoder;
  static Checkpoint golden;
};
std::unique_ptr<Decoder> Sample::decoder;
Checkpoint Sample::golden;

TEST_F(Sample, EverythingIsTheOriginals) {
  for (std::size_t row : {0u, 1u}) {
    const ForwardResult r = decoder->forward(tokens_of(golden, row, 96), everything());
    auto want = [&](const std::string& name) { return row_of(values(golden, name), row, 2); };
    EXPECT_LE(max_difference(r.logits, want("logits")), kBound);
    EXPECT_LE(max_difference(r.final_hidden, want("hidden.final")), kBound);
    for (std::size_t l = 0; l < 4; ++l) {
      EXPECT_LE(max_difference(r.hidden[l], want("hidden." + std::to_string(l))), kBound);
    }
    EXPECT_LE(max_difference(r.mtp.at(0).hidden, want("mtp.0.hidden")), kBound);
    std::vector<float> first = r.mtp[0].logits;
    first.resize(24 * 4096);  // the golden file holds the first 24 positions
    EXPECT_LE(max_difference(first, want("mtp.0.logits")), kBound);
  }
}

TEST_F(Sample, StepsGiveTheSameLogitsToRounding) {
  const auto tokens = tokens_of(golden, 0, 96);
  const std::vector<float> whole = decoder->forward(tokens).logits;
  EXPECT_LE(max_difference(logits_in_steps(*decoder, tokens, {40}), whole), 2e-5);
}

TEST_F(Sample, TheCacheHoldsLatentsNotHeads) {
  KvCache cache;
  const std::vector<std::uint32_t> tokens = {1, 2, 3};
  decoder->step(cache, tokens);
  // 4 layers of 48 latent numbers and 4 heads' 16 rotated ones (keys and values: 4 * (2 * 32 +
  // 16)).
  EXPECT_EQ(cache.floats_per_token(), 4u * (48 + 4 * 16));
}

TEST_F(Sample, ThreadsChangeNothing) {
  const auto tokens = tokens_of(golden, 0, 96);
  ForwardOptions one, three;
  one.threads = 1;
  three.threads = 3;
  EXPECT_EQ(decoder->forward(tokens, one).logits, decoder->forward(tokens, three).logits);
  const std::vector<std::vector<std::uint32_t>> batch = {tokens, tokens_of(golden, 1, 96)};
  const auto both = decoder->forward_batch(batch, three);
  EXPECT_EQ(both.at(0).logits, decoder->forward(tokens, one).logits);
  EXPECT_EQ(both.at(1).logits, decoder->forward(batch[1], one).logits);
}

TEST_F(Sample, PerplexityOfTheTextIsTheOriginalsToFiveDigits) {
  const nlohmann::json facts = nlohmann::json::parse(std::ifstream(sample("golden.json")));
  std::ifstream in(sample("text-tokens.u16"), std::ios::binary);
  const std::vector<char> raw{std::istreambuf_iterator<char>(in), {}};
  // Non-overlapping windows of 256 tokens; a last one that is shorter is left out.
  std::vector<std::vector<std::uint32_t>> windows;
  for (std::size_t w = 0; (w + 1) * 512 <= raw.size(); ++w) {
    windows.emplace_back();
    for (std::size_t i = w * 512; i < (w + 1) * 512; i += 2) {
      windows.back().push_back(static_cast<unsigned char>(raw[i]) |
                               static_cast<std::uint32_t>(static_cast<unsigned char>(raw[i + 1]))
                                   << 8);
    }
  }
  double nll = 0;
  std::size_t predictions = 0;
  for (const auto& w : windows) {
    const std::vector<float> logits = decoder->forward(w).logits;
    for (std::size_t t = 0; t + 1 < w.size(); ++t, ++predictions) {
      const float* row = logits.data() + t * 4096;
      double sum = 0;
      for (std::size_t v = 0; v < 4096; ++v) sum += std::exp(static_cast<double>(row[v]));
      nll += std::log(sum) - static_cast<double>(row[w[t + 1]]);
    }
  }
  EXPECT_EQ(predictions, facts["perplexity"]["predictions"].get<std::size_t>());
  const double want = facts["perplexity"]["value"];
  EXPECT_NEAR(std::exp(nll / static_cast<double>(predictions)), want, want * 5e-6);
}

}  // namespace
}  // namespace wb
