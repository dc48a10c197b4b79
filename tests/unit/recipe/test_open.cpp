// Recipes that leave things open: "?" in [model], candidates of a setting, and the
// values that may stand in for both.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "recipe/recipe.h"
#include "recipe/shipped.h"
#include "unit/recipe/reference_layout.h"

namespace wb {
namespace {

using nlohmann::json;
using test::reference_layout;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string with(std::string text, const std::string& old, const std::string& now) {
  const std::size_t at = text.find(old);
  EXPECT_NE(at, text.npos) << old;
  return at == text.npos ? text : text.replace(at, old.size(), now);
}
std::string shipped_text() {
  for (const EmbeddedRecipe& r : embedded_recipes()) {
    if (r.file == "recipes/deepseek-from-scratch.toml") return std::string(r.text);
  }
  return "";
}
// The shipped recipe with its routing and its norm left open.
std::string open_text() {
  std::string text = with(shipped_text(), "score               = \"softmax_of_chosen\"",
                          "score               = \"?\"");
  return with(
      text, "norm                    = { kind = \"rms\", eps = 1e-6, eps_outside_root = true }",
      "norm                    = { kind = \"rms\", eps = \"?\", eps_outside_root = \"?\" }");
}
RecipePtr recipe_of(const std::string& text) {
  ParsedRecipe parsed = parse_recipe(text, "draft.toml");
  for (const RecipeMistake& m : parsed.mistakes) ADD_FAILURE() << m.line << ": " << m.text;
  return parsed.recipe;
}

TEST(OpenRecipe, IsRefusedWithEveryQuestion) {
  Checkpoint checkpoint = reference_layout().make();
  Recognition recognition = recognise(checkpoint, recipe_of(open_text()));
  try {
    apply(recognition, checkpoint, {});
    FAIL() << "an open recipe was applied";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::recipe_open);
    EXPECT_THAT(e.sentence(),
                AllOf(HasSubstr("draft.toml"), HasSubstr("3 fields"), HasSubstr("norm.eps (line"),
                      HasSubstr("epsilon of this norm"), HasSubstr("norm.eps_outside_root"),
                      HasSubstr("router.score"), HasSubstr("softmax of the chosen logits")));
    EXPECT_THAT(e.advice(), HasSubstr("weightbridge recipes solve SRC --recipe draft.toml"));
  }
}

TEST(OpenRecipe, OverridesStandIn) {
  Checkpoint checkpoint = reference_layout().make();
  Recognition recognition = recognise(checkpoint, recipe_of(open_text()));
  Overrides overrides;
  overrides.fields = {{"router.score", "sigmoid"},
                      {"norm.eps", 1e-5},
                      {"norm.eps_outside_root", false},
                      {"rope.base", 500000}};
  overrides.settings = {{"experts_per_token", 1}};
  CanonicalModel model = apply(recognition, checkpoint, {}, overrides);
  EXPECT_EQ(model.spec.router.score, RouterScore::sigmoid);
  EXPECT_EQ(model.spec.norm.eps, 1e-5);
  EXPECT_EQ(model.spec.norm.eps_outside_root, false);
  EXPECT_EQ(model.spec.rope.base, 500000.0);
  EXPECT_EQ(model.spec.router.num_experts_per_tok, 1u);
  EXPECT_EQ(model.settings.at(0).origin, "tried");
  // One that is left out is still refused, by name.
  overrides.fields.erase("norm.eps");
  try {
    apply(recognition, checkpoint, {}, overrides);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::recipe_open);
    EXPECT_THAT(e.sentence(), AllOf(HasSubstr("1 field of"), HasSubstr("norm.eps (line")));
    EXPECT_THAT(e.sentence(), testing::Not(HasSubstr("router.score")));
  }
  // A value out of a setting's range is refused as --set would be.
  overrides.fields["norm.eps"] = 1e-6;
  overrides.settings["experts_per_token"] = 4;  // of three experts
  EXPECT_THROW(apply(recognition, checkpoint, {}, overrides), Error);
}

TEST(OpenRecipe, QuestionsCarryWhatToTry) {
  Checkpoint checkpoint = reference_layout().make();
  Recognition recognition = recognise(checkpoint, recipe_of(open_text()));
  std::vector<Question> asked = questions(recognition, checkpoint, {});
  ASSERT_EQ(asked.size(), 4u);
  EXPECT_EQ(asked[0].key, "norm.eps");
  EXPECT_EQ(asked[0].kind, Question::Kind::field);
  EXPECT_TRUE(asked[0].candidates.empty());
  EXPECT_THAT(asked[1].candidates, ElementsAre(false, true));
  EXPECT_THAT(asked[2].candidates, ElementsAre("softmax_of_chosen", "softmax", "sigmoid"));
  EXPECT_EQ(asked[3].key, "experts_per_token");
  EXPECT_EQ(asked[3].kind, Question::Kind::setting);
  EXPECT_EQ(asked[3].default_value, 2);
  EXPECT_THAT(asked[3].candidates, ElementsAre(1, 2, 3));  // min to max: the experts that there are
  // What --set says is no question any more.
  EXPECT_EQ(questions(recognition, checkpoint, {{"experts_per_token", "2"}}).size(), 3u);
}

TEST(OpenRecipe, ANumberHasTheBoundsOfItsSetting) {
  Checkpoint checkpoint = reference_layout().make();
  auto asked = [&](const std::string& bounds) {
    const std::string text = shipped_text() + "\n[ask.factor]\ndefault = 1.0\nhelp = \"f\"\n" +
                             bounds + "[assert]\n\"it is used\" = \"factor > 0.0\"\n";
    return questions(recognise(checkpoint, recipe_of(text)), checkpoint, {}).back();
  };
  Question q = asked("min = 0.25\nmax = \"2.0 * hidden_size\"\n");
  EXPECT_EQ(q.key, "factor");
  EXPECT_EQ(q.least, 0.25);
  EXPECT_EQ(q.most, 2.0 * test::ReferenceSizes{}.hidden);
  EXPECT_EQ(asked("min = 0.25\n").least, 0) << "one bound is none";
}

TEST(OpenRecipe, CandidatesGoBeforeTheRange) {
  std::string text = with(shipped_text(), "max     = \"n_routed_experts\"",
                          "max     = \"n_routed_experts\"\ncandidates = [2, 3]");
  Checkpoint checkpoint = reference_layout().make();
  std::vector<Question> asked = questions(recognise(checkpoint, recipe_of(text)), checkpoint, {});
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_THAT(asked[0].candidates, ElementsAre(2, 3));
  // They are of the default's type, or a mistake.
  ParsedRecipe wrong = parse_recipe(with(text, "[2, 3]", "[2, \"many\"]"), "draft.toml");
  ASSERT_EQ(wrong.mistakes.size(), 1u);
  EXPECT_THAT(wrong.mistakes[0].text, HasSubstr("default's type"));
}

}  // namespace
}  // namespace wb
