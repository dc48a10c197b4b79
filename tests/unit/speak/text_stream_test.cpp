// Stop strings that lie across tokens, that begin and do not end, and that stand inside a token.
#include "speak/text_stream.h"

#include <gtest/gtest.h>

namespace wb::speak {
namespace {

class TextStreamTest : public ::testing::Test {
 protected:
  const Tokenizer tokenizer =
      Tokenizer::load(std::string(WB_SOURCE_DIR) + "/samples/tiny/tokenizer.json");

  // Every prefix of what comes out while `text` is pushed token by token, then the end.
  std::string run(const std::string& text, const std::vector<std::string>& stops, bool& stopped) {
    TextStream stream(tokenizer, stops);
    std::string out;
    for (std::uint32_t id : tokenizer.encode(text)) {
      out += stream.push(id);
      for (const std::string& stop : stops) {
        EXPECT_TRUE(stop.empty() || out.find(stop) == std::string::npos) << out;
      }
    }
    out += stream.finish();
    stopped = stream.stopped();
    return out;
  }
};

TEST_F(TextStreamTest, StopsBeforeTheString) {
  bool stopped = false;
  EXPECT_EQ(run("The king said: no more of it", {"no more"}, stopped), "The king said: ");
  EXPECT_TRUE(stopped);
  EXPECT_EQ(run("The king said: no more of it", {"xyz", "said", "no more"}, stopped), "The king ");
  EXPECT_TRUE(stopped);
  EXPECT_EQ(run("abcabd", {"abd"}, stopped), "abc");
  EXPECT_TRUE(stopped);
}

TEST_F(TextStreamTest, WhatOnlyBeginsIsGivenOut) {
  bool stopped = true;
  EXPECT_EQ(run("The king said: no mo", {"no more"}, stopped), "The king said: no mo");
  EXPECT_FALSE(stopped);
  EXPECT_EQ(run("aabaac", {"aabab", ""}, stopped), "aabaac");
  EXPECT_FALSE(stopped);
}

TEST_F(TextStreamTest, HoldsNoMoreThanItMust) {
  TextStream stream(tokenizer, {"zz"});
  std::string out;
  for (std::uint32_t id : tokenizer.encode("The king")) out += stream.push(id);
  EXPECT_EQ(out, "The king");  // nothing of it can begin "zz"
}

TEST_F(TextStreamTest, NothingAfterTheStop) {
  TextStream stream(tokenizer, {"king"});
  std::string out;
  for (std::uint32_t id : tokenizer.encode("The king king of France")) out += stream.push(id);
  EXPECT_EQ(out + stream.finish(), "The ");
}

}  // namespace
}  // namespace wb::speak
