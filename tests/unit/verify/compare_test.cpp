// The formulas of verify/, on numbers small enough to be worked out by hand.
#include "verify/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "verify/judge.h"
#include "verify/report.h"
#include "verify/verify.h"

namespace wb {
namespace {

using testing::HasSubstr;
using testing::Not;

// softmax(log 1, log 3) = (1/4, 3/4); softmax(log 1, log 1) = (1/2, 1/2).
TEST(Compare, KlOfKnownDistributions) {
  LogitComparison c;
  const float a[] = {0.0f, std::log(3.0f)}, b[] = {5.0f, 5.0f};
  c.add(a, b, 2);
  LogitStats s = c.result();
  EXPECT_NEAR(s.mean_kl, 0.25 * std::log(0.5) + 0.75 * std::log(1.5), 1e-7);
  EXPECT_NEAR(s.max_abs, 5.0, 1e-7);
  EXPECT_EQ(s.positions, 1u);
  EXPECT_EQ(s.top1, 0.0);  // b's tie goes to the lower index
  EXPECT_EQ(s.top5, 1.0);  // both tokens are among b's five
  EXPECT_NEAR(s.rms, std::log(3.0) / 2, 1e-7);
}

TEST(Compare, ShiftedLogitsAreTheSameDistribution) {
  LogitComparison c;
  const float a[] = {1, 2, 3, 4, 5, 6, 7, 8}, b[] = {11, 12, 13, 14, 15, 16, 17, 18};
  c.add(a, b, 8);
  EXPECT_NEAR(c.result().mean_kl, 0, 1e-14);  // a few roundings of f64
  EXPECT_EQ(c.result().top1, 1.0);
  EXPECT_EQ(c.result().max_abs, 10.0);
}

TEST(Compare, TopFiveCountsWhatIsShared) {
  LogitComparison c;
  const float a[] = {9, 8, 7, 6, 5, 1, 1, 1}, b[] = {9, 8, 7, 1, 1, 6, 5, 1};
  c.add(a, b, 8);
  EXPECT_NEAR(c.result().top5, 3.0 / 5, 1e-12);
  EXPECT_EQ(c.result().top1, 1.0);
}

TEST(Compare, NotANumberNeverPasses) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  LogitComparison c;
  const float a[] = {1, 2}, b[] = {nan, 2};
  c.add(a, b, 2);
  c.add(a, a, 2);  // what comes after a NaN does not hide it
  HiddenComparison h;
  h.add(a, b);
  h.add(a, a);
  ModelComparison m;
  m.logits = c.result();
  m.layers.push_back({h.result(), {}, 1e-5});
  m.tolerances = {1e3, 1e3, {1e-5}};
  for (const Check& check : judge(m, {}, true)) {
    EXPECT_FALSE(check.pass) << check.name;
  }
}

TEST(Compare, LossesHaveTheirStandardError) {
  LossSum sum;
  for (double x : {1.0, 2.0, 3.0, 6.0}) sum.add(x);
  LossStats s = sum.result();
  EXPECT_NEAR(s.mean_nll, 3.0, 1e-12);
  // variance (4 + 1 + 0 + 9) / 3 = 14/3; of the mean 14/12
  EXPECT_NEAR(s.standard_error, std::sqrt(14.0 / 12.0), 1e-12);
  EXPECT_NEAR(s.perplexity(), std::exp(3.0), 1e-9);
  EXPECT_NEAR(s.perplexity_error(), std::exp(3.0) * std::sqrt(14.0 / 12.0), 1e-9);
  const float row[] = {0.0f, std::log(3.0f)};
  EXPECT_NEAR(log_probability(row, 1), std::log(0.75), 1e-7);
}

TEST(Compare, HiddenAndRouterStatistics) {
  HiddenComparison h;
  const float a[] = {3, 4}, b[] = {3, 3.5f};
  h.add(a, b);
  EXPECT_NEAR(h.result().relative, 0.1, 1e-12);
  EXPECT_NEAR(h.result().max_abs, 0.5, 1e-12);
  RouterComparison r;
  const std::uint32_t ea[] = {0, 1, 2, 3}, eb[] = {1, 0, 2, 5};
  const float wa[] = {0.6f, 0.4f, 0.7f, 0.3f}, wb[] = {0.5f, 0.5f, 0.7f, 0.3f};
  r.add(ea, wa, 2, eb, wb, 2);
  RouterStats s = r.result();
  EXPECT_EQ(s.tokens, 2u);
  EXPECT_NEAR(s.same_choice, 0.5, 1e-12);
  EXPECT_NEAR(s.agreement, 0.75, 1e-12);
  EXPECT_NEAR(s.weight_error, (0.1 + 0.1 + 0.0) / 3, 1e-7);  // shared: 0, 1 and 2
}

TEST(Compare, WindowsDropAShortEndUnlessItIsAll) {
  std::vector<std::uint32_t> tokens(10);
  for (std::uint32_t i = 0; i < 10; ++i) tokens[i] = i;
  Windows w = cut_windows(tokens, 4, 99);
  ASSERT_EQ(w.tokens.size(), 2u);
  EXPECT_EQ(w.tokens[1], (std::vector<std::uint32_t>{4, 5, 6, 7}));
  EXPECT_EQ(cut_windows(tokens, 16, 99).tokens.size(), 1u);
  EXPECT_EQ(cut_windows(tokens, 4, 1).tokens.size(), 1u);
}

TEST(Compare, TolerancesGrowWithDepthAndWithCoarserWeights) {
  ModelSpec spec;
  spec.hidden_size = 64;
  spec.num_hidden_layers = 3;
  Tolerances fine = rounding_tolerances(spec, 0x1p-24, 2.0);
  Tolerances coarse = rounding_tolerances(spec, 0x1p-8, 2.0);
  // One block of sums of 64 products: sqrt(6) * (2^-24 * 8 + 2^-24).
  EXPECT_NEAR(fine.hidden_relative[0], std::sqrt(6.0) * 9 * 0x1p-24, 1e-12);
  EXPECT_LT(fine.hidden_relative[0], fine.hidden_relative[2]);
  EXPECT_NEAR(fine.logits_max_abs, 6 * std::sqrt(24.0) * 9 * 0x1p-24 * 2.0, 1e-10);
  EXPECT_GT(coarse.mean_kl, 1e4 * fine.mean_kl);
}

ModelComparison example(double kl) {
  ModelComparison m;
  m.windows = 1;
  m.window = 4;
  m.logits.positions = 4;
  m.logits.mean_kl = kl;
  m.logits.top1 = m.logits.top5 = 1.0;
  m.tolerances = {1e-4, 1e-9, {1e-5, 1e-5}};
  m.layers.push_back({{1e-7, 1e-8}, {4, 1, 1, 0}, 1e-5});
  m.layers.push_back({{1e-7, kl > 0 ? 0.5 : 0.0}, {}, 1e-5});
  m.tokens = {
      {0, 1.0f, 1.0f, true}, {1, 1.0f, 3.0f, false}, {2, 2.0f, 1.9f, false}, {3, 1, 1, false}};
  m.scatter = {{-1, -1}, {2, 2}, {3, 1}};
  return m;
}

TEST(Judge, AFaithfulCopyIsHeldToRoundingAndAnApproximationToItsCost) {
  EXPECT_TRUE(all_pass(judge(example(0), {}, true)));
  EXPECT_FALSE(all_pass(judge(example(0.02), {}, true)));
  EXPECT_TRUE(all_pass(judge(example(0.02), {}, false)));
  EXPECT_FALSE(all_pass(judge(example(0.9), {}, false)));
  Thresholds strict;
  strict.max_kl = 0.01;
  EXPECT_FALSE(all_pass(judge(example(0.02), strict, false)));
  strict.max_kl = 0.03;
  strict.min_top1 = 1.0;
  EXPECT_TRUE(all_pass(judge(example(0.02), strict, false)));
}

// A rounded weight may send a token to another expert: its largest difference is not held.
TEST(Judge, NarrowedWeightsAreHeldInTheMean) {
  ModelComparison m = example(1e-5);
  m.logits.max_abs = 1.0;
  m.layers[1].hidden.relative = 1e-6;
  m.tolerances.mean_kl = 1e-4;
  m.weight_roundoff = 0x1p-8;
  EXPECT_TRUE(all_pass(judge(m, {}, true)));
  m.weight_roundoff = 0x1p-24;
  EXPECT_FALSE(all_pass(judge(m, {}, true)));
}

TEST(Report, SaysTheVerdictAndEscapesWhatItShows) {
  ModelComparison m = example(0.9);
  m.parts_at = 1;
  ReportInput in;
  in.source = "a<b>.pt";
  in.folder = "out";
  in.target = "shape-match";
  in.recipe = "r";
  in.version = "1";
  in.comparison = &m;
  in.checks = judge(m, {}, false);
  in.losses.push_back({1, "x & y", "x", {"wpe.weight"}});
  in.account.push_back({"wpe.weight", Fate::left_out, "positions", 100});
  in.account.push_back({"wte.weight", Fate::used, "embed.weight", 900});
  in.account.push_back({"wpe2.weight", Fate::used, "positions.weight", 300});
  in.arrived = {{"wte.weight", TensorOutcome::equal}, {"wpe2.weight", TensorOutcome::only_source}};
  in.token_text = [](std::uint32_t id) {
    return id == 1 ? std::string("<i>\xff") : std::string(" w");
  };
  std::string page = report_html(in);
  EXPECT_THAT(
      page,
      HasSubstr(
          "<b>Fails.</b> 1 of 1 checks do not hold: mean KL, nats is 0.9, the limit is 0.05"));
  EXPECT_THAT(page, HasSubstr("a&lt;b&gt;.pt"));
  EXPECT_THAT(
      page,
      HasSubstr(
          "class=\"t w3\" title=\"source 1.00, folder 3.00 nats\">&lt;i&gt;\xef\xbf\xbd</span>"));
  EXPECT_THAT(page, HasSubstr("x &amp; y"));
  EXPECT_THAT(page, HasSubstr("not needed: positions"));
  EXPECT_THAT(page, HasSubstr("<title>in the folder, unchanged</title>"));
  EXPECT_THAT(page, HasSubstr("<title>not in the folder</title>"));
  EXPECT_THAT(
      page,
      HasSubstr("The first layer whose output differs by more than rounding explains is layer 1."));
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("http")));
  m = example(0);
  in.checks = judge(m, {}, true);
  EXPECT_THAT(report_html(in), HasSubstr("<b>Holds.</b>"));
}

}  // namespace
}  // namespace wb
