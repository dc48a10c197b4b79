// The engine against the plain decoder, in every form in which it can be fed: whole prompts, token
// by token, in pieces, after going back; for every switch of ModelSpec, every quantised golden
// folder, and the trained sample. Tolerances are the decoder's own against PyTorch and MLX.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/load.h"
#include "unit/runtime/axes_fixture.h"
#include "unit/runtime/runtime_fixture.h"

namespace wb::engine {
namespace {

using nlohmann::json;
using Tokens = std::vector<std::uint32_t>;

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

// All logits, fed in pieces of `piece` tokens.
std::vector<float> logits_by(Engine& engine, const Tokens& tokens, std::size_t piece) {
  Sequence sequence;
  std::vector<float> out;
  for (std::size_t at = 0; at < tokens.size(); at += piece) {
    const auto some = std::span(tokens).subspan(at, std::min(piece, tokens.size() - at));
    const auto logits = engine.feed(sequence, some, true);
    out.insert(out.end(), logits.begin(), logits.end());
  }
  EXPECT_EQ(sequence.size(), tokens.size());
  return out;
}

void expect_the_decoders(const CanonicalModel& model, const Tokens& tokens, double tolerance) {
  const Decoder plain(model, {ops::Kernels::plain, 0});
  const std::vector<float> want = plain.forward(tokens).logits;
  Engine engine(model, {.threads = 2});
  const std::size_t vocab = want.size() / tokens.size();
  EXPECT_LE(max_difference(logits_by(engine, tokens, tokens.size()), want), tolerance);
  EXPECT_LE(max_difference(logits_by(engine, tokens, 1), want), tolerance);
  EXPECT_LE(max_difference(logits_by(engine, tokens, 3), want), tolerance);
  // The last logits alone, after a turn that was taken back.
  Sequence sequence;
  engine.feed(sequence, std::span(tokens).first(2));
  const Tokens other(3, tokens[0]);
  engine.feed(sequence, other);
  sequence.truncate(2);
  const auto last = copy(engine.feed(sequence, std::span(tokens).subspan(2)));
  const std::vector<float> wanted(want.end() - static_cast<std::ptrdiff_t>(vocab), want.end());
  EXPECT_LE(max_difference(last, wanted), tolerance);
}

// The logits of every multi-token head at places that have all their tokens, one place at a time.
void expect_the_heads(const CanonicalModel& model, const Tokens& tokens, double tolerance) {
  const Decoder plain(model, {ops::Kernels::plain, 0});
  ForwardOptions options;
  options.mtp = true;
  const ForwardResult want = plain.forward(tokens, options);
  Engine engine(model, {.threads = 2});
  ASSERT_EQ(engine.next_heads(), want.mtp.size());
  const std::size_t hidden = model.spec.hidden_size, vocab = model.spec.vocab_size;
  Sequence sequence;
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    engine.feed(sequence, std::span(tokens).subspan(t, 1));
    std::vector<float> state = copy(engine.hidden());
    ASSERT_EQ(state.size(), hidden);
    for (std::size_t m = 0; m < want.mtp.size() && t + m + 1 < tokens.size(); ++m) {
      const auto logits =
          copy(engine.feed_next(sequence, m, state, std::span(tokens).subspan(t + m + 1, 1)));
      const auto from = want.mtp[m].logits.begin() + static_cast<std::ptrdiff_t>(t * vocab);
      const std::vector<float> wanted(from, from + static_cast<std::ptrdiff_t>(vocab));
      EXPECT_LE(max_difference(logits, wanted), tolerance) << "head " << m << ", place " << t;
    }
  }
}

TEST(Engine, EverySwitchIsTheDecoders) {
  const json variants = json::parse(std::ifstream(fixture("runtime/axes.json")));
  ASSERT_GT(variants.size(), 60u);
  for (const json& v : variants) {
    SCOPED_TRACE(v["name"].get<std::string>());
    test::TempFolder folder;
    write_variant(variants, v, folder.path());
    float largest = 10.0f;  // without norms logits grow, and rounding with them
    for (float w : v["logits"].get<std::vector<float>>()) {
      largest = std::max(largest, std::fabs(w));
    }
    const double tolerance = 1e-4 * static_cast<double>(largest) / 10.0;
    const CanonicalModel model = load_model(folder.path());
    expect_the_decoders(model, v["tokens"], tolerance);
    if (v.contains("mtp")) expect_the_heads(model, v["tokens"], tolerance);
  }
}

class Goldens : public ::testing::TestWithParam<const char*> {};

TEST_P(Goldens, FoldersAreTheDecoders) {
  const std::string folder = fixture("goldens/") + GetParam();
  const Checkpoint golden = open_checkpoint(folder + "/golden.safetensors");
  expect_the_decoders(load_model(folder), tokens_of(golden), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Folders, Goldens,
                         ::testing::Values("deepseek_v2", "deepseek_v3-4bit",
                                           "deepseek_v3-longrope-no-q-rank",
                                           "deepseek_v3-yarn-groups"));

class SampleEngine : public ::testing::Test {
 protected:
  const Checkpoint source = open_checkpoint(sample("tiny-deepseek.pt"));
  const CanonicalModel model = ReferenceLayout(source, 2).build();
  const Tokens tokens = tokens_of(open_checkpoint(sample("golden.safetensors")), 0, 96);
};

TEST_F(SampleEngine, EverythingIsTheDecoders) {
  expect_the_decoders(model, tokens, 1e-4);
  expect_the_heads(model, Tokens(tokens.begin(), tokens.begin() + 24), 1e-4);
}

TEST_F(SampleEngine, ThreadsChangeNothing) {
  Engine one(model, {.threads = 1}), three(model, {.threads = 3});
  for (std::size_t piece : {std::size_t{1}, std::size_t{5}, tokens.size()}) {
    EXPECT_EQ(logits_by(one, tokens, piece), logits_by(three, tokens, piece));
  }
}

TEST_F(SampleEngine, RefusesTokensAndLengthsThatItHasNoRowsFor) {
  Engine engine(model, {.threads = 1});
  Sequence sequence;
  const Tokens stranger = {1, 4096};
  EXPECT_THROW(engine.feed(sequence, stranger), Error);
  EXPECT_EQ(sequence.size(), 0u);
  const Tokens all(engine.longest() + 1, 1);
  EXPECT_THROW(engine.feed(sequence, all), Error);
}

}  // namespace
}  // namespace wb::engine
