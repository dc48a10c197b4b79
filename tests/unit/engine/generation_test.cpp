// Texts in the making: with the cache as without it, past learned positions as the source crops,
// with speculation as without.
#include "engine/generation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/load.h"
#include "unit/runtime/axes_fixture.h"
#include "unit/runtime/runtime_fixture.h"

namespace wb::engine {
namespace {

using Tokens = std::vector<std::uint32_t>;

Tokens make(Engine& engine, const Tokens& prompt, std::size_t n, const SamplerOptions& sampling,
            bool speculate, GenerationStats* stats = nullptr) {
  Generation g(engine, prompt, sampling, speculate);
  Tokens out(n);
  for (auto& t : out) t = g.next();
  if (stats != nullptr) *stats = g.stats();
  return out;
}

// Without a cache, by the plain decoder: every token from the whole text, cropped to what fits.
Tokens make_plainly(const Decoder& decoder, Tokens text, std::size_t n, std::size_t longest) {
  Tokens out;
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t window = std::min(text.size(), longest);
    const auto logits = decoder.forward(std::span(text).last(window)).logits;
    const auto last = logits.end() - static_cast<std::ptrdiff_t>(decoder.spec().vocab_size);
    out.push_back(static_cast<std::uint32_t>(std::max_element(last, logits.end()) - last));
    text.push_back(out.back());
  }
  return out;
}

class SampleGeneration : public ::testing::Test {
 protected:
  const Checkpoint source = open_checkpoint(sample("tiny-deepseek.pt"));
  const CanonicalModel model = ReferenceLayout(source, 2).build();
  const Tokens tokens = tokens_of(open_checkpoint(sample("golden.safetensors")), 0, 96);
};

TEST_F(SampleGeneration, GreedyIsTheDecodersPastTheContextToo) {
  const Decoder decoder(model);
  Engine engine(model, {.threads = 2});
  const std::size_t longest = engine.longest();
  Tokens prompt;
  while (prompt.size() + 6 < longest) {
    prompt.insert(prompt.end(), tokens.begin(), tokens.end());
  }
  prompt.resize(longest - 6);
  EXPECT_EQ(make(engine, prompt, 12, {}, false), make_plainly(decoder, prompt, 12, longest));
  EXPECT_EQ(make(engine, prompt, 12, {}, true), make_plainly(decoder, prompt, 12, longest));
}

TEST_F(SampleGeneration, SpeculationChangesNoGreedyTokenAndAcceptsSome) {
  Engine engine(model, {.threads = 2});
  const Tokens prompt(tokens.begin(), tokens.begin() + 20);
  GenerationStats stats;
  const Tokens plain = make(engine, prompt, 60, {}, false);
  EXPECT_EQ(make(engine, prompt, 60, {}, true, &stats), plain);
  EXPECT_EQ(stats.prompt_tokens, 20u);
  EXPECT_GE(stats.made, 60u);
  EXPECT_GT(stats.drafted, 20u);
  EXPECT_GT(stats.accepted, 0u);
  EXPECT_LE(stats.accepted, stats.drafted);
}

// What a server does between other texts: a prompt piece by piece, with the same tokens after it.
TEST(Generation, APromptInPiecesGivesTheSameTokens) {
  const nlohmann::json variants =
      nlohmann::json::parse(std::ifstream(fixture("runtime/axes.json")));
  std::size_t met = 0, with_heads = 0;
  for (const nlohmann::json& v : variants) {
    if (met > 0 && !v.contains("mtp")) continue;
    SCOPED_TRACE(v["name"].get<std::string>());
    test::TempFolder folder;
    write_variant(variants, v, folder.path());
    const CanonicalModel model = load_model(folder.path());
    Engine engine(model, {.threads = 1});
    Tokens prompt(Engine::kPromptPiece + 30);
    if (engine.longest() < prompt.size() + 8) continue;
    ++met;
    with_heads += engine.next_heads();
    for (std::size_t i = 0; i < prompt.size(); ++i) {
      prompt[i] = static_cast<std::uint32_t>(i * i % model.spec.vocab_size);
    }
    Generation pieces(engine, prompt, {}, /*speculate=*/true);
    EXPECT_FALSE(pieces.advance()) << "the prompt has two pieces";
    EXPECT_TRUE(pieces.advance());
    Tokens made;
    for (int i = 0; i < 8; ++i) {
      EXPECT_TRUE(pieces.advance());
      made.push_back(pieces.next());
    }
    EXPECT_EQ(made, make(engine, prompt, 8, {}, true));
    EXPECT_GE(pieces.stats().made, 8u);
    if (with_heads > 0) break;
  }
  EXPECT_GE(met, 1u);
  EXPECT_GE(with_heads, 1u);
}

// The scores of what was made are those of one pass over the whole text.
TEST_F(SampleGeneration, ScoresAreTheDecodersLogProbabilities) {
  const Decoder decoder(model);
  Engine engine(model, {.threads = 2});
  const Tokens prompt(tokens.begin(), tokens.begin() + 20);
  for (const bool speculate : {false, true}) {
    Generation g(engine, prompt, {.temperature = 0.7, .seed = 3}, speculate);
    g.keep_scores(2);
    Tokens text = prompt;
    std::vector<TokenScores> scores;
    for (int i = 0; i < 25; ++i) {
      text.push_back(g.next());
      scores.push_back(g.scores());
    }
    const std::size_t vocab = decoder.spec().vocab_size;
    const auto logits = decoder.forward(text).logits;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const auto row = std::span(logits).subspan((prompt.size() - 1 + i) * vocab, vocab);
      double sum = 0;
      for (const float v : row) sum += std::exp(static_cast<double>(v));
      const double wanted = static_cast<double>(row[text[prompt.size() + i]]) - std::log(sum);
      EXPECT_NEAR(scores[i].logprob, wanted, 1e-3) << i;
      ASSERT_EQ(scores[i].top.size(), 2u);
      EXPECT_GE(scores[i].top[0].logprob, scores[i].top[1].logprob);
      EXPECT_GE(scores[i].top[0].logprob, scores[i].logprob);
    }
  }
}

TEST_F(SampleGeneration, SamplingRepeatsWithItsSeed) {
  Engine engine(model, {.threads = 2});
  const Tokens prompt(tokens.begin(), tokens.begin() + 20);
  const SamplerOptions warm{.temperature = 1.0, .top_p = 0.95, .seed = 5};
  const Tokens once = make(engine, prompt, 30, warm, false);
  EXPECT_EQ(make(engine, prompt, 30, warm, false), once);
  EXPECT_NE(make(engine, prompt, 30, {.temperature = 1.0, .top_p = 0.95, .seed = 6}, false), once);
  EXPECT_EQ(make(engine, prompt, 30, warm, true), make(engine, prompt, 30, warm, true));
}

// Runs `body` with each variant that has heads and its prompt; how many have more than one.
template <class Body>
std::size_t each_variant_with_heads(const Body& body) {
  const nlohmann::json variants =
      nlohmann::json::parse(std::ifstream(fixture("runtime/axes.json")));
  std::size_t several = 0;
  for (const nlohmann::json& v : variants) {
    if (!v.contains("mtp")) continue;
    SCOPED_TRACE(v["name"].get<std::string>());
    test::TempFolder folder;
    write_variant(variants, v, folder.path());
    const CanonicalModel model = load_model(folder.path());
    several += model.spec.num_nextn_predict_layers > 1 ? 1 : 0;
    Engine engine(model, {.threads = 1});
    body(engine, v["tokens"].get<Tokens>());
  }
  return several;
}

// Models with several heads: what is guessed on guesses must not stay.
TEST(Generation, SeveralHeadsChangeNoGreedyToken) {
  const std::size_t met = each_variant_with_heads([&](Engine& engine, const Tokens& prompt) {
    const std::size_t n = std::min<std::size_t>(20, engine.longest() - prompt.size());
    EXPECT_EQ(make(engine, prompt, n, {}, true), make(engine, prompt, n, {}, false));
  });
  EXPECT_GE(met, 1u);
}

// A restarted generation says what a new one says, and its heads guess what a new one's guess.
// How many places of the prompt it had kept.
std::size_t restarted_as_new(Generation& going, Engine& engine, const Tokens& prompt, std::size_t n,
                             const SamplerOptions& sampling, bool speculate) {
  GenerationStats fresh;
  const Tokens wanted = make(engine, prompt, n, sampling, speculate, &fresh);
  going.restart(prompt, sampling);
  const std::size_t reused = going.stats().reused;
  Tokens out(n);
  for (auto& t : out) t = going.next();
  EXPECT_EQ(out, wanted);
  EXPECT_EQ(going.stats().prompt_tokens, prompt.size());
  EXPECT_EQ(going.stats().made, fresh.made);
  EXPECT_EQ(going.stats().drafted, fresh.drafted);
  EXPECT_EQ(going.stats().accepted, fresh.accepted);
  return reused;
}

Tokens together(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST_F(SampleGeneration, ARestartComputesOnlyWhatIsNew) {
  Engine engine(model, {.threads = 2});
  const Tokens prompt(tokens.begin(), tokens.begin() + 20);
  const Tokens more(tokens.begin() + 60, tokens.begin() + 75);
  const SamplerOptions warm{.temperature = 0.8, .top_p = 0.95, .seed = 4};
  for (const bool speculate : {false, true}) {
    for (const SamplerOptions& sampling : {SamplerOptions{}, warm}) {
      SCOPED_TRACE(speculate ? "with guesses" : "without");
      Generation g(engine, prompt, sampling, speculate);
      auto again = [&](const Tokens& next) {
        return restarted_as_new(g, engine, next, 15, sampling, speculate);
      };
      Tokens text = prompt;
      for (int i = 0; i < 12; ++i) text.push_back(g.next());
      text = together(text, more);
      // The last token that was given out need not have been fed; what a head knows of the last
      // places may rest on other tokens, and these are fed again where its states are gone.
      EXPECT_GE(again(text), speculate ? 29u : 31u);
      const Tokens middle(text.begin(), text.begin() + 25);
      for (int i = 0; i < 2; ++i) {
        EXPECT_GE(again(middle), speculate ? 23u : 24u);
        EXPECT_LE(g.stats().reused, 24u);
      }
      EXPECT_EQ(again(more), 0u);
      EXPECT_EQ(again(Tokens(more.begin(), more.begin() + 1)), 0u);
    }
  }
}

TEST_F(SampleGeneration, ARestartPastTheContextIsCroppedAsANewText) {
  Engine engine(model, {.threads = 2});
  const std::size_t longest = engine.longest();
  Tokens whole;
  while (whole.size() < 2 * longest) whole.insert(whole.end(), tokens.begin(), tokens.end());
  auto first = [&](std::size_t n) {
    return Tokens(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
  };
  for (const bool speculate : {false, true}) {
    SCOPED_TRACE(speculate ? "with guesses" : "without");
    Generation g(engine, first(longest - 10), {}, speculate);
    for (int i = 0; i < 4; ++i) g.next();
    auto again = [&](const Tokens& next) {
      return restarted_as_new(g, engine, next, 14, {}, speculate);
    };
    // Into the window, past it, well past it, and back to where everything fits.
    EXPECT_GE(again(first(longest - 4)), longest - 12);
    EXPECT_EQ(again(first(longest + 40)), 0u) << "every place has another token";
    again(first(longest + 41));
    EXPECT_EQ(again(first(40)), 0u);
    EXPECT_GE(again(first(longest - 20)), 38u);
    // The window that is held already, whatever precedes it.
    g.restart(first(longest + 7), {});
    g.next();
    g.restart(together({1, 2, 3}, first(longest + 7)), {});
    EXPECT_EQ(g.stats().reused, longest - 1);
    EXPECT_EQ(g.next(), make(engine, first(longest + 7), 1, {}, false)[0]);
  }
}

// With several heads too, from every place, whether the heads had guessed or not, and when the
// prompt before had been left half way.
TEST(Generation, EveryVariantWithHeadsRestartsAnywhere) {
  std::size_t with_pieces = 0;
  const std::size_t met = each_variant_with_heads([&](Engine& engine, const Tokens& prompt) {
    const std::size_t room = engine.longest() - prompt.size();
    for (const std::size_t made : {0, 1, 6}) {
      for (std::size_t kept = 1; kept <= prompt.size(); ++kept) {
        Generation g(engine, prompt, {}, true);
        for (std::size_t i = 0; i < made; ++i) g.next();
        Tokens next(prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(kept));
        if (kept < prompt.size()) next.push_back((prompt[kept] + 1) % engine.spec().vocab_size);
        const std::size_t reused =
            restarted_as_new(g, engine, next, std::min<std::size_t>(8, room - 1), {}, true);
        EXPECT_LE(reused, kept);
        if (made > 1) {
          EXPECT_GE(reused + engine.next_heads() + 1, kept);
        }
      }
    }
    if (room < Engine::kPromptPiece + 60) return;
    ++with_pieces;
    Tokens far(Engine::kPromptPiece + 30);
    for (std::size_t i = 0; i < far.size(); ++i) {
      far[i] = static_cast<std::uint32_t>(i * i % engine.spec().vocab_size);
    }
    Generation g(engine, far, {}, true);
    EXPECT_FALSE(g.advance());
    far.back() ^= 1;
    far.push_back(1);
    EXPECT_EQ(restarted_as_new(g, engine, far, 8, {}, true), Engine::kPromptPiece);
  });
  EXPECT_GE(met, 1u);
  EXPECT_GE(with_pieces, 1u);
}

TEST_F(SampleGeneration, RefusesAnEmptyPrompt) {
  Engine engine(model, {.threads = 1});
  EXPECT_THROW(Generation(engine, {}, {}), Error);
  Generation g(engine, {1, 2}, {});
  EXPECT_THROW(g.restart({}, {}), Error);
}

}  // namespace
}  // namespace wb::engine
