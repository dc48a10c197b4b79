// The shipped recipes: what is read off a text before it is parsed is what the parser says.
#include <gtest/gtest.h>

#include "recipe/recipe_impl.h"
#include "recipe/shipped.h"

namespace wb {
namespace {

TEST(Shipped, LiteralEvidenceIsWhatTheParserSays) {
  ASSERT_GT(embedded_recipes().size(), 10u);
  std::size_t own = 0;
  for (std::size_t i = 0; i < embedded_recipes().size(); ++i) {
    const std::vector<std::string> read = literal_evidence(embedded_recipes()[i].text);
    if (read.empty()) continue;  // it is parsed then, whatever the checkpoint
    ++own;
    std::vector<std::string> parsed;
    for (const Pattern& pattern : shipped_recipe(i)->recognise) {
      if (!pattern.has_capture()) parsed.push_back(pattern.text());
    }
    EXPECT_EQ(read, parsed) << embedded_recipes()[i].file;
  }
  EXPECT_GT(own, 10u);
}

TEST(Shipped, LiteralEvidenceOfOddTexts) {
  EXPECT_TRUE(literal_evidence("name = \"a\"\n").empty());
  EXPECT_TRUE(literal_evidence("\nrecognise = [").empty());
  EXPECT_TRUE(literal_evidence("\nrecognise = [\"a").empty());
  const std::vector<std::string> expected = {"a.b", "c"};
  EXPECT_EQ(literal_evidence("\nrecognise = [ # \"no\"]\n \"a.b\", \"x.{l}\", \"c\" ]\n\"d\""),
            expected);
}

}  // namespace
}  // namespace wb
