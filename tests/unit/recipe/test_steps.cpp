// The steps that layouts call for (docs/recipes.md, "Some patterns"), for weights and biases
// alike: every element against index arithmetic on the source's values, which follow from
// names alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "recipe/check_expr.h"
#include "recipe/eval.h"
#include "tensor/read.h"
#include "unit/recipe/reference_layout.h"

namespace wb {
namespace {

using test::CheckpointMaker;
using test::element;

constexpr std::uint64_t kHeads = 2, kNope = 3, kRope = 4, kIn = 5, kWidth = 6, kExperts = 3;

class Steps : public testing::Test {
 protected:
  Steps() {
    auto add = [&](const std::string& name, Shape shape) {
      maker_.add(name, std::move(shape), [name](std::uint64_t i) { return element(name, i); });
    };
    add("q.weight", {kHeads * (kRope + kNope), kIn});  // rope before nope in each head
    add("q.bias", {kHeads * (kRope + kNope)});
    add("gu.weight", {2 * kWidth, kIn});  // gate and up rows in turn
    add("gu.bias", {2 * kWidth});
    add("w1.weight", {kExperts, kIn, kWidth});
    add("w1.bias", {kExperts, kWidth});
    for (std::uint64_t i = 0; i < kExperts; ++i) {
      add("x." + std::to_string(i) + ".weight", {kWidth, kIn});
      add("x." + std::to_string(i) + ".down", {kIn, kWidth});
      add("head." + std::to_string(i) + ".q", {kRope, kIn});
    }
    add("W", {4, 3});
    add("A", {3, 2});
    add("c", {3});
    add("b", {4});
    add("gain", {kHeads});
    checkpoint_ = maker_.make();
    names_.variables = {{"e", {}}, {"s", {}}};
  }
  // The values that `text` makes, in a line of [tensors] with this suffix, for expert `e`.
  std::vector<float> values(const std::string& text, const std::string& suffix = "",
                            std::uint64_t e = 0) {
    DocValue doc;
    doc.kind = ValueKind::text;
    doc.text = text;
    doc.places.resize(text.size() + 1);
    std::vector<RecipeMistake> mistakes;
    ExprPtr expr = parse_expr(doc, mistakes);
    ExprContext context;
    context.bound = {"e"};
    if (expr != nullptr) ExprChecker(names_, mistakes).check(*expr, Type::tensor, context);
    EXPECT_TRUE(mistakes.empty()) << text << ": " << mistakes[0].text;
    if (!mistakes.empty()) return {};
    Source source(checkpoint_, "");
    Evaluator evaluator(recipe_, source);
    evaluator.counts = {{"e", kExperts}, {"s", kExperts}};
    evaluator.indices["e"] = e;
    evaluator.suffix = suffix;
    Tensor made = evaluator.tensor(*expr);
    shape_ = made.shape();
    return read_f32(made);
  }
  // Row `of(r)` of the tensor `name` with `columns`, for each row r.
  static std::vector<float> rows(const std::string& name, std::uint64_t columns, std::uint64_t n,
                                 const std::function<std::uint64_t(std::uint64_t)>& of) {
    std::vector<float> out;
    for (std::uint64_t r = 0; r < n; ++r) {
      for (std::uint64_t c = 0; c < columns; ++c) out.push_back(element(name, of(r) * columns + c));
    }
    return out;
  }
  void both(const std::string& text, const std::string& name, std::uint64_t n, Shape shape,
            const std::function<std::uint64_t(std::uint64_t)>& of) {
    EXPECT_EQ(values(text, ".bias"), rows(name + ".bias", 1, n, of)) << text;
    EXPECT_EQ(shape_, shape);
    EXPECT_EQ(values(text, ".weight"), rows(name + ".weight", kIn, n, of)) << text;
    shape.push_back(kIn);
    EXPECT_EQ(shape_, shape);
  }

  CheckpointMaker maker_;
  Checkpoint checkpoint_;
  Recipe recipe_;
  Names names_;
  Shape shape_;
};

TEST_F(Steps, PartsWithinAHead) {
  both("q.split(0, 2).slice(1, 4, 7)", "q", kHeads * kNope, {kHeads, kNope},
       [](std::uint64_t r) { return r / kNope * (kRope + kNope) + kRope + r % kNope; });
  // Back in one, nope before rope.
  both("concat(1, q.split(0, 2).slice(1, 4, 7), q.split(0, 2).slice(1, 0, 4)).merge(0)", "q",
       kHeads * (kRope + kNope), {kHeads * (kRope + kNope)}, [](std::uint64_t r) {
         std::uint64_t head = r / (kRope + kNope), i = r % (kRope + kNope);
         return head * (kRope + kNope) + (i < kNope ? kRope + i : i - kNope);
       });
}

TEST_F(Steps, RowOrderOfRopePerHead) {
  // Interleaved pairs (2j, 2j + 1) become (j, j + n/2), and back.
  both("q.split(0, 2).slice(1, 0, 4).half_split(1)", "q", kHeads * kRope, {kHeads, kRope},
       [](std::uint64_t r) {
         std::uint64_t i = r % kRope;
         return r / kRope * (kRope + kNope) + (i % 2) * 2 + i / 2;
       });
  both("q.split(0, 2).slice(1, 0, 4).half_split(1).interleaved(1)", "q", kHeads * kRope,
       {kHeads, kRope}, [](std::uint64_t r) { return r / kRope * (kRope + kNope) + r % kRope; });
}

TEST_F(Steps, GateAndUpRowsInTurn) {
  both("gu.split(0, 6).select(1, 0)", "gu", kWidth, {kWidth},
       [](std::uint64_t r) { return 2 * r; });
  both("gu.split(0, 6).select(1, 1)", "gu", kWidth, {kWidth},
       [](std::uint64_t r) { return 2 * r + 1; });
}

TEST_F(Steps, StackedExpertsTransposedWithBiases) {
  std::vector<float> want;
  for (std::uint64_t r = 0; r < kWidth; ++r) {
    for (std::uint64_t c = 0; c < kIn; ++c) {
      want.push_back(element("w1.weight", (2 * kIn + c) * kWidth + r));
    }
  }
  EXPECT_EQ(values("w1.select(0, e).t()", ".weight", 2), want);
  EXPECT_EQ(values("w1.select(0, e).t()", ".bias", 2),
            rows("w1.bias", 1, kWidth, [](std::uint64_t r) { return 2 * kWidth + r; }));
}

TEST_F(Steps, SharedExpertsBecomeOneWideOne) {
  std::vector<float> gate, down;
  for (std::uint64_t s = 0; s < kExperts; ++s) {
    for (std::uint64_t i = 0; i < kWidth * kIn; ++i) {
      gate.push_back(element("x." + std::to_string(s) + ".weight", i));
    }
  }
  for (std::uint64_t r = 0; r < kIn; ++r) {
    for (std::uint64_t c = 0; c < kExperts * kWidth; ++c) {
      down.push_back(element("x." + std::to_string(c / kWidth) + ".down", r * kWidth + c % kWidth));
    }
  }
  EXPECT_EQ(values("concat_over(s, 0, x.{s}.weight)"), gate);
  EXPECT_EQ(values("concat_over(s, 1, x.{s}.down)"), down);
  EXPECT_EQ(shape_, (Shape{kIn, kExperts * kWidth}));
}

TEST_F(Steps, IndicesThatBeginElsewhere) {
  EXPECT_EQ(values("x.{e + 1}.weight", "", 1),
            rows("x.2.weight", kIn, kWidth, [](std::uint64_t r) { return r; }));
  EXPECT_EQ(values("if(e == 0, W, x.{e - 1}.down)", "", 1),
            rows("x.0.down", kWidth, kIn, [](std::uint64_t r) { return r; }));
  EXPECT_EQ(values("if(e == 0, W, x.{e - 1}.down)", "", 0),
            rows("W", 3, 4, [](std::uint64_t r) { return r; }));
}

TEST_F(Steps, OneTensorPerHead) {
  std::vector<float> want;
  for (const char* name : {"head.0.q", "head.1.q", "head.2.q"}) {
    for (std::uint64_t i = 0; i < kRope * kIn; ++i) want.push_back(element(name, i));
  }
  EXPECT_EQ(values("stack_over(s, head.{s}.q)"), want);
  EXPECT_EQ(shape_, (Shape{kExperts, kRope, kIn}));
}

TEST_F(Steps, AGainPerHead) {
  std::vector<float> want, bias;
  std::uint64_t per = kRope + kNope;
  for (std::uint64_t i = 0; i < kHeads * per; ++i) {
    // A product of two f32 is exact in f64, and rounded once.
    bias.push_back(static_cast<float>(double{element("q.bias", i)} * element("gain", i / per)));
  }
  for (std::uint64_t i = 0; i < kHeads * per * kIn; ++i) {
    want.push_back(
        static_cast<float>(double{element("q.weight", i)} * element("gain", i / (per * kIn))));
  }
  EXPECT_EQ(values("q.bias.split(0, 2).scale_by(gain, 0)"), bias);
  EXPECT_EQ(values("q.weight.split(0, 2).scale_by(gain, 0)"), want);
}

TEST_F(Steps, AnAffineMapInAnother) {
  std::vector<float> product, bias;
  for (std::uint64_t r = 0; r < 4; ++r) {
    for (std::uint64_t c = 0; c < 2; ++c) {
      double sum = 0;
      for (std::uint64_t k = 0; k < 3; ++k) {
        sum += double{element("W", r * 3 + k)} * element("A", k * 2 + c);
      }
      product.push_back(static_cast<float>(sum));
    }
    double sum = 0;
    for (std::uint64_t k = 0; k < 3; ++k) sum += double{element("W", r * 3 + k)} * element("c", k);
    bias.push_back(static_cast<float>(double{static_cast<float>(sum)} + element("b", r)));
  }
  EXPECT_EQ(values("matmul(W, A)"), product);
  EXPECT_EQ(values("add(matmul(W, c.reshape(3, 1)).reshape(4), b)"), bias);
}

}  // namespace
}  // namespace wb
