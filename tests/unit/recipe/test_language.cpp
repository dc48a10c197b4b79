// The expression language by itself: names, numbers, lookups and tensor steps, each held
// against values worked out by hand or by index arithmetic on the source values.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "recipe/check_expr.h"
#include "recipe/eval.h"
#include "tensor/read.h"
#include "unit/error_of.h"
#include "unit/recipe/reference_layout.h"

namespace wb {
namespace {

using test::CheckpointMaker;
using test::element;
using testing::ElementsAre;
using testing::HasSubstr;

DocValue as_document(const std::string& text) {
  DocValue out;
  out.kind = ValueKind::text;
  out.text = text;
  for (unsigned i = 0; i <= text.size(); ++i) out.places.push_back({1, i + 1});
  return out;
}

template <typename T>
std::vector<std::byte> bytes(std::initializer_list<T> values) {
  std::vector<std::byte> out(values.size() * sizeof(T));
  std::memcpy(out.data(), values.begin(), out.size());
  return out;
}

// Evaluates one expression over a checkpoint with index variables i (2 values) and j (3).
class Language : public testing::Test {
 protected:
  Language() {
    maker_.add("a.weight", {4, 6}, [](std::uint64_t i) { return float(i); })
        .add("b.weight", {4, 6}, [](std::uint64_t i) { return 100 + float(i); })
        .add("row", {6}, [](std::uint64_t i) { return float(i); })
        .add("part.0.w", {2, 2}, [](std::uint64_t i) { return float(i); })
        .add("part.1.w", {2, 2}, [](std::uint64_t i) { return 10 + float(i); })
        .add("odd-name/x", {3}, [](std::uint64_t i) { return float(i); })
        .add("0.weight", {7}, [](std::uint64_t i) { return float(i); })
        .add("gap.0.w", {1}, [](std::uint64_t) { return 0.f; })
        .add("gap.3.w", {1}, [](std::uint64_t) { return 0.f; })
        .add("late.4.w", {1}, [](std::uint64_t) { return 0.f; })
        .add("late.9.w", {1}, [](std::uint64_t) { return 0.f; })
        .add("twin", {4, 6}, [](std::uint64_t i) { return float(i); })
        .add("angles", {2, 2},
             [](std::uint64_t i) {
               // cos 0, cos 0; cos 1, cos 0.1, by hand
               return std::vector<float>{1.f, 1.f, 0.540302306f, 0.995004165f}[i];
             })
        .add("tens", {4}, [](std::uint64_t i) { return 10 * float(i); })
        .add("half", {}, [](std::uint64_t) { return 0.5f; })
        .add("grid", {2, 2},
             [](std::uint64_t i) { return (i < 2 ? 1.f : 2.f) * (i % 2 == 0 ? 1.f : 10.f); })
        .raw("codes", DType::I8, {2, 3}, bytes<std::int8_t>({-3, -2, -1, 0, 1, 2}))
        .raw("shape", DType::I32, {2}, bytes<std::int32_t>({3, 5}))
        .raw("words", DType::I32, {1, 2}, bytes<std::uint32_t>({0x76543210u, 0x8000000fu}))
        .view("view", "a.weight")
        .fact("config.n", 5)
        .fact("meta", {{"b.1.w", {{"scale", 0.5}}}, {"b._orig_mod.2.w", {{"scale", 0.25}}}})
        .config(
            {{"rope", {{"theta", 50000.5}}}, {"act", "silu"}, {"list", {1, 2}}, {"null", nullptr}});
    checkpoint_ = maker_.make();
    names_.variables = {{"i", {}}, {"j", {}}};
    names_.scalars = {{"six", {1, 1}, false, Type::number}, {"word", {1, 1}, true, Type::symbol}};
    names_.slots = {{"six", 0}, {"word", 1}};
  }
  Value eval(const std::string& text, Type type = Type::scalar) {
    mistakes_.clear();
    ExprPtr expr = parse_expr(as_document(text), mistakes_);
    ExprContext context;
    context.bound = bound_;
    if (expr != nullptr) ExprChecker(names_, mistakes_).check(*expr, type, context);
    if (!mistakes_.empty()) {
      ADD_FAILURE() << text << ": " << mistakes_[0].text;
      return std::int64_t{0};
    }
    Source source(checkpoint_, "");
    Evaluator evaluator(recipe_, source);
    evaluator.scalars = {Value(std::int64_t{6}), Value(std::string("yes"))};
    evaluator.counts = {{"i", 2}, {"j", 3}};
    for (const auto& name : bound_) evaluator.indices[name] = 1;
    Value out = evaluator.eval(*expr);
    difference_ = evaluator.difference;
    return out;
  }
  std::int64_t whole(const std::string& text) {
    Value value = eval(text, Type::number);
    EXPECT_TRUE(std::holds_alternative<std::int64_t>(value)) << text;
    return std::get<std::int64_t>(value);
  }
  double real(const std::string& text) { return std::get<double>(eval(text, Type::number)); }
  bool truth(const std::string& text) { return std::get<bool>(eval(text, Type::boolean)); }
  Tensor tensor(const std::string& text) { return std::get<Tensor>(eval(text, Type::tensor)); }
  std::vector<float> values(const std::string& text) { return read_f32(tensor(text)); }
  Error error(const std::string& text, Type type = Type::scalar) {
    return error_of([&] { eval(text, type); }, text);
  }

  CheckpointMaker maker_;
  Checkpoint checkpoint_;
  Recipe recipe_;
  Names names_;
  std::vector<RecipeMistake> mistakes_;
  std::set<std::string, std::less<>> bound_;
  std::string difference_;
};

TEST_F(Language, ReckonsInWholeNumbersUntilARealComesIn) {
  EXPECT_EQ(whole("2 + 3 * 4 - 1"), 13);
  EXPECT_EQ(whole("(2 + 3) * 4"), 20);
  EXPECT_EQ(whole("12 / 3 / 2"), 2);
  EXPECT_EQ(whole("-six + 1"), -5);
  EXPECT_EQ(whole("10 - 2 - 3"), 5);
  EXPECT_DOUBLE_EQ(real("7 / 2.0"), 3.5);
  EXPECT_DOUBLE_EQ(real("1e-6"), 1e-6);
  EXPECT_DOUBLE_EQ(real("2.5E+3"), 2500.0);
  EXPECT_DOUBLE_EQ(real("pow(4 * six + 1, -0.5)"), 0.2);
  EXPECT_DOUBLE_EQ(real("sqrt(six * six)"), 6.0);
  EXPECT_EQ(whole("max(3, six, 2)"), 6);
  EXPECT_EQ(whole("min(3, six, 2)"), 2);
}

TEST_F(Language, AnInexactDivisionNamesBothNumbers) {
  Error e = error("a.weight[0] / six");
  EXPECT_EQ(e.code(), Code::dimension_mismatch);
  EXPECT_THAT(e.sentence(),
              HasSubstr("'a.weight[0] / six' is not exact: 4 cannot be divided by 6"));
  EXPECT_EQ(error("six / (six - 6)").code(), Code::dimension_mismatch);
  Error big = error("9223372036854775807 + 1");
  EXPECT_EQ(big.code(), Code::size_overflow);
  EXPECT_THAT(big.sentence(), HasSubstr("'9223372036854775807 + 1' does not fit 63 bits"));
  EXPECT_EQ(error("4611686018427387904 * 4").code(), Code::size_overflow);
}

TEST_F(Language, ComparesAndChooses) {
  EXPECT_TRUE(truth("six == 6.0"));
  EXPECT_TRUE(truth("six != 5 and not six < 6"));
  EXPECT_TRUE(truth("six <= 6 and six >= 6 and six > 5"));
  EXPECT_TRUE(truth("false or six == 6"));
  EXPECT_TRUE(truth("word == 'yes'"));
  EXPECT_FALSE(truth("word == 'no'"));
  EXPECT_EQ(whole("if(has(a.weight), 1, nothing.here[0])"), 1) << "the other branch is not read";
  EXPECT_TRUE(truth("true or nothing.here[0] == 1"));
  EXPECT_FALSE(truth("false and nothing.here[0] == 1"));
}

TEST_F(Language, RemaindersAreNotNegative) {
  EXPECT_EQ(whole("mod(7, 3)"), 1);
  EXPECT_EQ(whole("mod(-1, 3)"), 2);
  EXPECT_EQ(error("mod(1, 0)").code(), Code::config_invalid);
}

TEST_F(Language, AnIndexIsReckonedInsideOfAName) {
  bound_ = {"i"};  // 1
  EXPECT_THAT(values("part.{i - 1}.w"), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(values("part.{2 * i - 1}.w.slice(0, 0, 1)"), ElementsAre(10, 11));
  EXPECT_TRUE(truth("has(part.{six - 6}.w)"));
  EXPECT_FALSE(truth("has(part.{i + 1}.w)"));
  EXPECT_THAT(values("stack_over(i, part.{1 - i}.w).select(1, 0).reshape(4)"),
              ElementsAre(10, 11, 0, 1));
  EXPECT_EQ(error("part.{i - 2}.w", Type::tensor).code(), Code::config_invalid) << "below 0";
}

TEST_F(Language, ReadsSingleElements) {
  EXPECT_DOUBLE_EQ(real("item(a.weight, 7)"), 7.0);
  EXPECT_DOUBLE_EQ(real("item('odd-name/x'.slice(0, 2, 3))"), 2.0);
  EXPECT_EQ(whole("item(shape, 1)"), 5);
  Error several = error("item(a.weight)", Type::number);
  EXPECT_EQ(several.code(), Code::shape_mismatch);
  EXPECT_THAT(several.sentence(), HasSubstr("the only element of a tensor that has 24"));
  EXPECT_THAT(error("item(row, 6)", Type::number).sentence(),
              HasSubstr("an element that the tensor does not have"));
}

TEST_F(Language, AddsAndScalesByVectors) {
  EXPECT_THAT(values("add(row, b.weight.select(0, 0))"), ElementsAre(100, 102, 104, 106, 108, 110));
  EXPECT_EQ(error("add(row, a.weight)", Type::tensor).code(), Code::shape_mismatch);
  // Columns times 0...5, then rows times 0, 10, 20, 30.
  EXPECT_THAT(values("a.weight.scale_by(row, 1).select(0, 1)"), ElementsAre(0, 7, 16, 27, 40, 55));
  EXPECT_THAT(values("a.weight.scale_by(tens, 0).select(1, 2)"), ElementsAre(0, 80, 280, 600));
  EXPECT_THAT(values("tens.scale_by(tens, 0)"), ElementsAre(0, 100, 400, 900));
  Error e = error("a.weight.scale_by(row, 0)", Type::tensor);
  EXPECT_EQ(e.code(), Code::shape_mismatch);
  EXPECT_THAT(e.sentence(), HasSubstr("multiplies an axis of 4 by 6 factors"));
}

TEST_F(Language, MakesIdentitiesAndRopeTables) {
  EXPECT_THAT(values("eye(3)"), ElementsAre(1, 0, 0, 0, 1, 0, 0, 0, 1));
  EXPECT_TRUE(truth("equal(matmul(a.weight, eye(6)), a.weight)"));
  EXPECT_TRUE(truth("near(angles, rope_cos(2, 4, 100), 1e-7)"));
  EXPECT_FALSE(truth("near(angles, rope_cos(2, 4, 50), 1e-3)"));
  EXPECT_FALSE(truth("near(angles, rope_sin(2, 4, 100), 0.5)"));
  EXPECT_TRUE(truth("near(angles, rope_cos(2, 4, 50), 0.02)"));
  EXPECT_DOUBLE_EQ(real("log(1.0)"), 0.0);
}

TEST_F(Language, AVectorIsItsOwnTranspose) {
  EXPECT_THAT(values("row.t()"), ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST_F(Language, Dequantises) {
  // codes [2, 3] = -3 ... 2, by a scalar, by rows and by blocks with a ragged edge.
  EXPECT_THAT(values("codes.dequantise(half)"), ElementsAre(-1.5f, -1, -0.5f, 0, 0.5f, 1));
  EXPECT_THAT(values("codes.dequantise(grid.select(1, 0))"), ElementsAre(-3, -2, -1, 0, 2, 4));
  EXPECT_THAT(values("codes.dequantise(grid, 1, 2)"), ElementsAre(-3, -2, -10, 0, 2, 40));
  EXPECT_THAT(values("codes.dequantise(grid, 2, 2)"), ElementsAre(-3, -2, -10, 0, 1, 20))
      << "a grid that is larger than needed";
  EXPECT_EQ(tensor("codes.dequantise(half)").dtype(), DType::F32);
  EXPECT_EQ(error("codes.dequantise(grid, 1, 1)", Type::tensor).code(), Code::shape_mismatch);
  Error e = error("codes.dequantise(row)", Type::tensor);
  EXPECT_THAT(e.sentence(), HasSubstr("that is neither one number nor one per row"));
}

TEST_F(Language, Unpacks4BitNumbers) {
  // 0x76543210 + 0xf at the top: lowest bits first, less 8.
  EXPECT_THAT(values("words.unpack_int4()"),
              ElementsAre(-8, -7, -6, -5, -4, -3, -2, -1, 7, -8, -8, -8, -8, -8, -8, 0));
  EXPECT_EQ(tensor("words.unpack_int4()").shape(), (Shape{1, 16}));
  EXPECT_THAT(values("words.unpack_int4().slice(1, 5, 9)"), ElementsAre(-3, -2, -1, 7));
  EXPECT_EQ(error("row.unpack_int4()", Type::tensor).code(), Code::dtype_unsupported);
}

TEST_F(Language, ConfigLeadsIntoListsAndFallsBack) {
  EXPECT_EQ(whole("config(list.1)"), 2);
  EXPECT_EQ(whole("config(list.2, 9)"), 9);
  EXPECT_EQ(whole("config(null, config(also.missing, config(list.0)))"), 1);
  EXPECT_EQ(std::get<Numbers>(eval("config(list)")), (Numbers{1, 2}));
}

TEST_F(Language, ReadsShapesOfNamesOfEveryForm) {
  EXPECT_EQ(whole("a.weight[0]"), 4);
  EXPECT_EQ(whole("a.weight[1]"), 6);
  EXPECT_EQ(whole("row[0]"), 6);
  EXPECT_EQ(whole("0.weight[0]"), 7);
  EXPECT_EQ(whole("'odd-name/x'[0]"), 3);
  EXPECT_EQ(whole("a.weight.t()[0]"), 6);
  Error e = error("a.weight[2]");
  EXPECT_EQ(e.code(), Code::shape_mismatch);
  EXPECT_THAT(e.sentence(), HasSubstr("axis 2 of a tensor of rank 2"));
}

TEST_F(Language, CountsIndicesAndRefusesGaps) {
  EXPECT_EQ(whole("count(part.{i}.w)"), 2);
  EXPECT_EQ(whole("count(none.{i}.w)"), 0);
  EXPECT_EQ(whole("first(late.{i}.w)"), 4);
  Error e = error("count(gap.{i}.w)");
  EXPECT_EQ(e.code(), Code::dimension_mismatch);
  EXPECT_THAT(e.sentence(), HasSubstr("1 is missing and 3 is there"));
  EXPECT_TRUE(truth("has(part.{i}.w)"));
  EXPECT_FALSE(truth("has(part.2.w)"));
  bound_ = {"i"};  // i = 1
  EXPECT_TRUE(truth("has(part.{i}.w)"));
  EXPECT_FALSE(truth("has(gap.{i}.w)"));
}

TEST_F(Language, LooksBesideTheTensors) {
  EXPECT_EQ(whole("fact(config.n)"), 5);
  EXPECT_EQ(whole("fact('config.none', 9)"), 9);
  // Dicts nest, and their keys have dots; an index variable may stand in a path.
  EXPECT_EQ(real("fact(meta.b.1.w.scale)"), 0.5);
  EXPECT_EQ(real("fact('meta.b.2.w.scale')"), 0.25) << "without what torch.compile leaves in names";
  EXPECT_EQ(real("fact(meta.b.{six - 5}.w.scale)"), 0.5);
  bound_ = {"i"};
  EXPECT_EQ(real("fact('meta.b.{i}.w.scale')"), 0.5);
  bound_ = {};
  EXPECT_THAT(error("fact('meta.b.3.w.scale')", Type::number).sentence(),
              HasSubstr("needs the value of meta.b.3.w.scale, which stands beside the tensors"));
  EXPECT_DOUBLE_EQ(real("config(rope.theta)"), 50000.5);
  EXPECT_DOUBLE_EQ(real("config(rope.none, 2.5)"), 2.5);
  EXPECT_TRUE(truth("config(act) == 'silu'"));
  Error none = error("config(rope.none)");
  EXPECT_EQ(none.code(), Code::config_invalid);
  EXPECT_THAT(none.sentence(), HasSubstr("the recipe needs the value of rope.none"));
  EXPECT_EQ(error("config(rope)").code(), Code::config_invalid);
  EXPECT_EQ(error("2 * config(act)").code(), Code::config_invalid);
}

TEST_F(Language, TellsSameFromEqual) {
  EXPECT_TRUE(truth("same(a.weight, view)"));
  EXPECT_TRUE(truth("same(a.weight, twin)")) << "equal bytes in another storage";
  EXPECT_FALSE(truth("same(a.weight, b.weight)"));
  EXPECT_FALSE(truth("same(a.weight, row)"));
  EXPECT_TRUE(truth("equal(a.weight, twin)"));
  EXPECT_TRUE(truth("equal(a.weight.cast(f16), twin)")) << "0 to 23 are exact in f16";
  EXPECT_FALSE(truth("equal(a.weight, b.weight)"));
  EXPECT_THAT(difference_, HasSubstr("24 of 24 elements differ, the largest difference is 100"));
  EXPECT_FALSE(truth("equal(a.weight, row)"));
  EXPECT_THAT(difference_, HasSubstr("its shape is [4, 6], not [6]"));
  EXPECT_TRUE(truth("close(twin.scale(1.001), a.weight, 0.0011)"));
  EXPECT_FALSE(truth("close(twin.scale(1.001), a.weight, 0.0009)"));
  EXPECT_THAT(difference_, HasSubstr("23 of 24 elements differ")) << "0 is 0 at any scale";
  EXPECT_FALSE(truth("close(row, inv_freq(12, 10.0), 0.001)"));
  EXPECT_THAT(difference_, HasSubstr("6 of 6 elements differ"));
}

TEST_F(Language, ViewsMoveElementsWhereTheyShouldGo) {
  EXPECT_THAT(values("row.reshape(2, 3).t()"), ElementsAre(0, 3, 1, 4, 2, 5));
  EXPECT_THAT(values("row.reshape(1, 2, 3).permute(2, 0, 1).reshape(6)"),
              ElementsAre(0, 3, 1, 4, 2, 5));
  EXPECT_THAT(values("row.slice(0, 2, 5)"), ElementsAre(2, 3, 4));
  EXPECT_THAT(values("a.weight.select(0, 1)"), ElementsAre(6, 7, 8, 9, 10, 11));
  EXPECT_THAT(values("a.weight.select(1, 2)"), ElementsAre(2, 8, 14, 20));
  EXPECT_EQ(tensor("a.weight.split(1, 2)").shape(), (Shape{4, 2, 3}));
  EXPECT_EQ(tensor("a.weight.split(1, 2).merge(0)").shape(), (Shape{8, 3}));
  EXPECT_THAT(values("row.slice(0, 0, 2).pad(0, 1, 2)"), ElementsAre(0, 0, 1, 0, 0));
  EXPECT_THAT(values("concat(0, row.slice(0, 4, 6), row.slice(0, 0, 1))"), ElementsAre(4, 5, 0));
  EXPECT_THAT(values("stack(1, part.0.w.select(0, 0), part.1.w.select(0, 0))"),
              ElementsAre(0, 10, 1, 11));
  EXPECT_EQ(tensor("stack_over(i, part.{i}.w)").shape(), (Shape{2, 2, 2}));
  EXPECT_THAT(values("stack_over(i, part.{i}.w)"), ElementsAre(0, 1, 2, 3, 10, 11, 12, 13));
  EXPECT_THAT(values("concat_over(i, 1, part.{i}.w)"), ElementsAre(0, 1, 10, 11, 2, 3, 12, 13));
  EXPECT_THAT(values("concat_over(j, 0, row.slice(0, 2 * j, 2 * j + 1))"), ElementsAre(0, 2, 4));
  EXPECT_TRUE(tensor("stack_over(i, part.{i}.w).permute(2, 1, 0)").is_movement());
}

TEST_F(Language, ReordersRopeRowsBothWays) {
  // Interleaved pairs (0,1)(2,3)(4,5): first members, then second members; and back.
  EXPECT_THAT(values("row.half_split(0)"), ElementsAre(0, 2, 4, 1, 3, 5));
  EXPECT_THAT(values("row.interleaved(0)"), ElementsAre(0, 3, 1, 4, 2, 5));
  EXPECT_THAT(values("row.interleaved(0).half_split(0)"), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(values("a.weight.slice(0, 0, 1).half_split(1)"), ElementsAre(0, 2, 4, 1, 3, 5));
  EXPECT_EQ(error("0.weight.half_split(0)", Type::tensor).code(), Code::shape_mismatch);
}

TEST_F(Language, ComputesAndFills) {
  EXPECT_THAT(values("part.0.w.scale(six / 4.0)"), ElementsAre(0, 1.5, 3, 4.5));
  EXPECT_EQ(tensor("row.cast(bf16)").dtype(), DType::BF16);
  EXPECT_EQ(tensor("row.cast(f64)").dtype(), DType::F64);
  // [0 1; 2 3] x [10 11; 12 13]
  EXPECT_THAT(values("matmul(part.0.w, part.1.w)"), ElementsAre(12, 13, 56, 61));
  EXPECT_THAT(values("zeros(2)"), ElementsAre(0, 0));
  EXPECT_THAT(values("ones(1, 2)"), ElementsAre(1, 1));
  EXPECT_THAT(values("full(2.5, 2, 1)"), ElementsAre(2.5, 2.5));
  EXPECT_THAT(values("every(i, row.slice(0, 0, 2))"), ElementsAre(0, 1));
}

TEST_F(Language, StepsThatDoNotFitSayWhich) {
  Error split = error("a.weight.split(1, 4)", Type::tensor);
  EXPECT_EQ(split.code(), Code::shape_mismatch);
  EXPECT_THAT(split.sentence(), HasSubstr("splits an axis of 6 into 4 equal parts"));
  EXPECT_THAT(error("a.weight.select(0, 4)", Type::tensor).sentence(), HasSubstr("selects 4 of 4"));
  EXPECT_THAT(error("a.weight.merge(1)", Type::tensor).sentence(), HasSubstr("the last axis"));
  EXPECT_EQ(error("a.weight.reshape(5)", Type::tensor).code(), Code::shape_mismatch);
  EXPECT_EQ(error("a.weight.reshape(0 - 24)", Type::tensor).code(), Code::config_invalid);
}

TEST_F(Language, AMissingSourceIsNamedWithItsIndices) {
  try {
    eval("stack_over(j, part.{j}.w)", Type::tensor);
    FAIL();
  } catch (const MissingSource& gone) {
    EXPECT_EQ(gone.name, "part.2.w");
  }
}

TEST_F(Language, BytesOfPartialElementsAreNotCompared) {
  maker_.raw("p", DType::F4, {4}, std::vector<std::byte>(2))
      .raw("q", DType::F4, {4}, std::vector<std::byte>(2));
  checkpoint_ = maker_.make();
  EXPECT_EQ(error("same(p, q)").code(), Code::dtype_unsupported);
}

// Before a method as anywhere else: "0" is a number, "0.weight" a name.
TEST(Parsing, AMethodsReceiverIsWhatItsTextAloneIs) {
  const std::vector<std::pair<std::string, Expr::Kind>> cases = {
      {"0.f(1)", Expr::Kind::integer},    {"0.5.f(1)", Expr::Kind::real},
      {"true.f(1)", Expr::Kind::boolean}, {"0.weight.f(1)", Expr::Kind::name},
      {"'0'.f(1)", Expr::Kind::name},     {"a.b.f(1)", Expr::Kind::name}};
  for (const auto& [text, kind] : cases) {
    SCOPED_TRACE(text);
    std::vector<RecipeMistake> mistakes;
    const ExprPtr call = parse_expr(as_document(text), mistakes);
    ASSERT_NE(call, nullptr);
    ASSERT_EQ(call->kind, Expr::Kind::method);
    EXPECT_EQ(call->name, "f");
    EXPECT_EQ(call->args[0]->kind, kind);
    const ExprPtr alone = parse_expr(as_document(call->args[0]->text), mistakes);
    ASSERT_NE(alone, nullptr);
    EXPECT_EQ(alone->kind, kind);
  }
  for (const std::string text : {"and.f(1)", "0.f(1)(2)", "1 + not.f(1)"}) {
    std::vector<RecipeMistake> mistakes;
    EXPECT_EQ(parse_expr(as_document(text), mistakes), nullptr) << text;
    EXPECT_FALSE(mistakes.empty());
  }
}

TEST(PatternTest, CapturesAtAnyPlaceOfAName) {
  std::optional<Pattern::Problem> problem;
  Pattern p = Pattern::parse("h.{l}.fc{e}.w_{e}", false, problem);
  ASSERT_FALSE(problem);
  Indices found;
  EXPECT_TRUE(p.match("h.12.fc3.w_3", &found));
  EXPECT_EQ(found, (Indices{{"l", 12}, {"e", 3}}));
  EXPECT_FALSE(p.match("h.12.fc3.w_4")) << "one variable, one value";
  EXPECT_FALSE(p.match("h.012.fc3.w_3")) << "no leading zeros";
  EXPECT_FALSE(p.match("h.x.fc3.w_3"));
  EXPECT_FALSE(p.match("h.12.fc3.w_3.more"));
  EXPECT_FALSE(p.match("h.99999999999999999999.fc3.w_3"));
  EXPECT_EQ(p.expand({{"l", 7}, {"e", 0}}), "h.7.fc0.w_0");
  EXPECT_EQ(p.anonymous(), "h.{}.fc{}.w_{}");
  Pattern star = Pattern::parse("h.{l}.*_cache", true, problem);
  EXPECT_TRUE(star.match("h.3.attn.rope.cos_cache", &found));
  EXPECT_FALSE(star.match("h.3.attn.rope.cos"));
  Pattern::parse("h.{l", false, problem);
  ASSERT_TRUE(problem);
  EXPECT_EQ(problem->at, 2u);
}

TEST(PlainName, TakesCompileWrappersOutAnywhere) {
  EXPECT_EQ(plain_name("_orig_mod.h.0.w"), "h.0.w");
  EXPECT_EQ(plain_name("model._orig_mod.h.0._orig_mod.w"), "model.h.0.w");
  EXPECT_EQ(plain_name("my_orig_mod.w"), "my_orig_mod.w");
  EXPECT_EQ(plain_name("h.0.w"), "h.0.w");
}

}  // namespace
}  // namespace wb
