// Log-probabilities against numbers by hand: logits that are logarithms of small whole numbers.
#include "engine/scores.h"

#include <gtest/gtest.h>

#include <cmath>

namespace wb::engine {
namespace {

TEST(Scores, AreLogarithmsOfShares) {
  // Weights 1, 4, 2, 1 of 8.
  const std::vector<float> logits = {std::log(1.0f), std::log(4.0f), std::log(2.0f),
                                     std::log(1.0f)};
  const TokenScores s = score(logits, 2, 3);
  EXPECT_NEAR(s.logprob, std::log(0.25), 1e-6);
  ASSERT_EQ(s.top.size(), 3u);
  EXPECT_EQ(s.top[0].token, 1u);
  EXPECT_NEAR(s.top[0].logprob, std::log(0.5), 1e-6);
  EXPECT_EQ(s.top[1].token, 2u);
  EXPECT_EQ(s.top[2].token, 0u) << "of equal ones the lowest id";
  EXPECT_EQ(score(logits, 0, 9).top.size(), 4u) << "no more than there are";
}

TEST(Scores, OfLargeLogitsDoNotOverflow) {
  const std::vector<float> logits = {1000.0f, 999.0f};
  EXPECT_NEAR(score(logits, 1, 0).logprob, -1 - std::log1p(std::exp(-1.0)), 1e-6);
  EXPECT_TRUE(score(logits, 1, 0).top.empty());
}

}  // namespace
}  // namespace wb::engine
