// Routers by hand: each switch on four experts whose numbers can be followed.
#include "ops/route.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace wb::ops {
namespace {

using Score = RouteArgs::Score;
using Bias = RouteArgs::Bias;
using ::testing::ElementsAre;

struct Choice {
  std::vector<std::uint32_t> experts;
  std::vector<float> weights;
};
Choice run(const RouteArgs& args, const std::vector<double>& logits) {
  Choice c{std::vector<std::uint32_t>(args.k), std::vector<float>(args.k)};
  route(args, logits, c.experts.data(), c.weights.data());
  return c;
}
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST(TopK, LargestFirstAndLowerIndexOnTies) {
  const std::vector<double> v = {1, 3, 2, 3};
  EXPECT_THAT(top_k(v, 3), ElementsAre(1u, 3u, 2u));
}

TEST(Route, SoftmaxOfChosenWithBiasInTheLogits) {
  const float bias[] = {0.0f, 5.0f, 0.0f, 0.0f};
  RouteArgs a;
  a.score = Score::softmax_of_chosen;
  a.bias = Bias::logits;
  a.expert_bias = bias;
  a.k = 2;
  const Choice c = run(a, {std::log(3.0) + 5, 0, -1, -2});  // chosen logits differ by ln 3
  EXPECT_THAT(c.experts, ElementsAre(0u, 1u));
  EXPECT_NEAR(c.weights[0], 0.75f, 1e-6f);
  EXPECT_NEAR(c.weights[1], 0.25f, 1e-6f);
}

TEST(Route, SoftmaxOverAllIsNotRenormalisedUnlessAsked) {
  RouteArgs a;
  a.score = Score::softmax;
  a.k = 2;
  a.factor = 2.0;
  const std::vector<double> logits = {std::log(1.0), std::log(2.0), std::log(5.0), std::log(2.0)};
  Choice c = run(a, logits);
  EXPECT_THAT(c.experts, ElementsAre(2u, 1u));
  EXPECT_NEAR(c.weights[0], 1.0f, 1e-6f);  // 0.5 * 2
  EXPECT_NEAR(c.weights[1], 0.4f, 1e-6f);
  a.norm = true;
  a.norm_eps = 0.3;
  c = run(a, logits);
  EXPECT_NEAR(c.weights[0], 1.0f, 1e-6f);  // 0.5 / (0.7 + 0.3) * 2
}

TEST(Route, SelectionBiasChoosesButDoesNotWeigh) {
  const float bias[] = {0.0f, 0.0f, 1.0f, 0.0f};
  RouteArgs a;
  a.bias = Bias::selection;
  a.expert_bias = bias;
  const Choice c = run(a, {2, 0, -3, 1});
  EXPECT_THAT(c.experts, ElementsAre(2u));
  EXPECT_NEAR(c.weights[0], sigmoid(-3), 1e-7);
}

TEST(Route, ScoresBiasChoosesAndWeighs) {
  const float bias[] = {0.0f, 0.0f, 1.0f, 0.0f};
  RouteArgs a;
  a.bias = Bias::scores;
  a.expert_bias = bias;
  const Choice c = run(a, {2, 0, -3, 1});
  EXPECT_THAT(c.experts, ElementsAre(2u));
  EXPECT_NEAR(c.weights[0], sigmoid(-3) + 1, 1e-6);
}

TEST(Route, GroupsByTheirTwoBestOrTheirBest) {
  RouteArgs a;
  a.groups = 2;
  a.groups_kept = 1;
  const std::vector<double> logits = {3, -4, 1, 1};  // sums .97, 1.46; maxima .95, .73
  EXPECT_THAT(run(a, logits).experts, ElementsAre(2u));
  a.group_by_max = true;
  EXPECT_THAT(run(a, logits).experts, ElementsAre(0u));
}

TEST(Route, MaskedGroupsAtZeroBeatNegativeScores) {
  const float bias[] = {-2.0f, -2.0f, -3.0f, -3.0f};
  RouteArgs a;
  a.bias = Bias::selection;
  a.expert_bias = bias;
  a.groups = 2;
  a.groups_kept = 1;
  EXPECT_THAT(run(a, {0, 1, 2, 3}).experts, ElementsAre(2u));  // group 1 is masked to 0 > -1
  a.mask_with_infinity = true;
  EXPECT_THAT(run(a, {0, 1, 2, 3}).experts, ElementsAre(1u));
  // Where the masked score itself weighs, it weighs nothing.
  a.mask_with_infinity = false;
  a.bias = Bias::scores;
  EXPECT_EQ(run(a, {0, 1, 2, 3}).weights[0], 0.0f);
}

}  // namespace
}  // namespace wb::ops
