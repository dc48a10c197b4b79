// The sampler's steps one by one on logits small enough to work out by hand, and the exactness of
// speculation: drawn often, drafts and judgement together give the wanted distribution.
#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/error.h"

namespace wb::engine {
namespace {

const std::vector<float> kLogits = {std::log(4.0f), std::log(1.0f), std::log(3.0f),
                                    std::log(2.0f)};  // probabilities .4 .1 .3 .2

Distribution of(SamplerOptions options, const std::vector<std::uint32_t>& before = {}) {
  if (options.temperature == 0) options.temperature = 1;
  Sampler sampler(options);
  Distribution out;
  sampler.distribution(kLogits, before, out);
  return out;
}
void expect(const Distribution& d, const std::vector<std::uint32_t>& tokens,
            const std::vector<double>& probabilities) {
  EXPECT_EQ(d.tokens, tokens);
  ASSERT_EQ(d.probabilities.size(), probabilities.size());
  for (std::size_t i = 0; i < probabilities.size(); ++i) {
    EXPECT_NEAR(d.probabilities[i], probabilities[i], 1e-6);
  }
}

TEST(Sampler, EachStepAlone) {
  expect(of({}), {0, 2, 3, 1}, {.4, .3, .2, .1});
  expect(of({.temperature = 0.5}), {0, 2, 3, 1}, {16 / 30., 9 / 30., 4 / 30., 1 / 30.});
  expect(of({.top_k = 2}), {0, 2}, {4 / 7., 3 / 7.});
  expect(of({.top_p = 0.5}), {0, 2}, {4 / 7., 3 / 7.});  // .4 is not half of all, .7 is
  expect(of({.top_p = 0.3}), {0}, {1});                  // never none
  expect(of({.min_p = 0.6}), {0, 2}, {4 / 7., 3 / 7.});  // .6 of .4 is .24
  // A positive logit is divided, a negative one multiplied; 4^(1/2) = 2, met twice or once.
  expect(of({.repetition_penalty = 2}, {0, 0}), {2, 0, 3, 1}, {3 / 8., 2 / 8., 2 / 8., 1 / 8.});
}

TEST(Sampler, GreedyIsTheLargestLowestId) {
  Sampler sampler({});
  Distribution d;
  sampler.distribution(std::vector<float>{1, 3, 3, 2}, {}, d);
  expect(d, {1}, {1});
  EXPECT_EQ(sampler.draw(d), 1u);
}

TEST(Sampler, SeedsRepeatAndDiffer) {
  const Distribution d = of({});
  auto drawn = [&](std::uint64_t seed) {
    Sampler sampler({.temperature = 1, .seed = seed});
    std::vector<std::uint32_t> out(40);
    for (auto& t : out) t = sampler.draw(d);
    return out;
  };
  EXPECT_EQ(drawn(1), drawn(1));
  EXPECT_NE(drawn(1), drawn(2));
}

// n draws of a probability p lie within 5 standard deviations of n p.
void expect_drawn(const std::map<std::uint32_t, int>& counts, const Distribution& d, int n) {
  for (std::size_t i = 0; i < d.tokens.size(); ++i) {
    const double p = d.probabilities[i], mean = n * p, slack = 5 * std::sqrt(n * p * (1 - p));
    auto it = counts.find(d.tokens[i]);
    EXPECT_NEAR(it == counts.end() ? 0 : it->second, mean, slack) << "token " << d.tokens[i];
  }
}

TEST(Sampler, DrawsByProbability) {
  const Distribution d = of({});
  Sampler sampler({.temperature = 1, .seed = 3});
  std::map<std::uint32_t, int> counts;
  for (int i = 0; i < 100000; ++i) ++counts[sampler.draw(d)];
  expect_drawn(counts, d, 100000);
}

TEST(Sampler, SpeculationKeepsTheWantedDistribution) {
  const Distribution wanted = of({});
  // Drafts that know other tokens than are wanted, and weigh the common ones otherwise.
  const std::vector<Distribution> drafts = {
      {{1, 3}, {.5, .5}}, {{0, 9}, {.7, .3}}, {{0, 1, 2, 3}, {.25, .25, .25, .25}}, wanted};
  for (const Distribution& draft : drafts) {
    Sampler sampler({.temperature = 1, .seed = 4});
    std::map<std::uint32_t, int> counts;
    int accepted = 0;
    for (int i = 0; i < 100000; ++i) {
      std::uint32_t token = sampler.draw(draft), instead = 0;
      const bool kept = sampler.accept(token, draft, wanted, instead);
      ++counts[kept ? token : instead];
      accepted += kept ? 1 : 0;
    }
    expect_drawn(counts, wanted, 100000);
    EXPECT_EQ(accepted == 100000, &draft == &drafts.back());
  }
}

TEST(Sampler, RefusesValuesOutOfRange) {
  EXPECT_THROW(Sampler({.temperature = -1}), Error);
  EXPECT_THROW(Sampler({.temperature = NAN}), Error);
  EXPECT_THROW(Sampler({.top_p = 0}), Error);
  EXPECT_THROW(Sampler({.top_p = 1.5}), Error);
  EXPECT_THROW(Sampler({.min_p = -0.1}), Error);
  EXPECT_THROW(Sampler({.repetition_penalty = 0}), Error);
}

}  // namespace
}  // namespace wb::engine
