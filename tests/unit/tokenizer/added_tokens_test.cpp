// Added tokens and normalizers: what is found where, and what a file must not say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tokenizer/added_tokens.h"
#include "unit/tokenizer/helpers.h"

namespace wb {
namespace {

using namespace testing_tokenizer;
using testing::ElementsAre;
using testing::HasSubstr;

// Letters a to e, space and underscore as tokens 0 to 6.
Json letters() {
  return {{"type", "BPE"},
          {"vocab", {{"a", 0}, {"b", 1}, {"c", 2}, {"d", 3}, {"e", 4}, {" ", 5}, {"_", 6}}},
          {"merges", Json::array()}};
}
Json with_added(std::vector<Json> tokens) {
  Json file = file_with(letters());
  file["added_tokens"] = std::move(tokens);
  return file;
}
Json flagged(Json token, std::initializer_list<const char*> flags) {
  for (const char* flag : flags) token[flag] = true;
  return token;
}

TEST(AddedTokens, AreFoundFirstAndLongest) {
  Tokenizer t = parse(with_added({added(10, "<s>"), added(11, "<s>a"), added(12, "ab")}));
  EXPECT_THAT(t.encode("b<s>ab<s>"), ElementsAre(1, 11, 1, 10));
  EXPECT_THAT(t.encode("aab<s"), ElementsAre(0, 12));
  EXPECT_THAT(t.encode("<s><s>a"), ElementsAre(10, 11));
  EXPECT_THAT(t.encode(""), ElementsAre());
}

TEST(AddedTokens, StripTakesWhiteSpaceAlong) {
  Tokenizer t = parse(
      with_added({flagged(added(10, "<l>"), {"lstrip"}), flagged(added(11, "<r>"), {"rstrip"}),
                  flagged(added(12, "<b>"), {"lstrip", "rstrip"})}));
  EXPECT_THAT(t.encode("a  <l> b"), ElementsAre(0, 10, 5, 1));
  EXPECT_THAT(t.encode("a <r> \n b"), ElementsAre(0, 5, 11, 1));
  EXPECT_THAT(t.encode("a\xE3\x80\x80<b>\tb"), ElementsAre(0, 12, 1)) << "an ideographic space";
  // What one token took is not there for the next.
  EXPECT_THAT(t.encode("<r>  <l>"), ElementsAre(11, 10));
}

TEST(AddedTokens, ATokenInsideStrippedSpaceIsGone) {
  Tokenizer t = parse(with_added({flagged(added(10, "<r>"), {"rstrip"}), added(11, "  ")}));
  EXPECT_THAT(t.encode("<r>  a  b"), ElementsAre(10, 0, 11, 1));
}

TEST(AddedTokens, SingleWord) {
  Tokenizer t = parse(with_added({flagged(added(10, "cd"), {"single_word"})}));
  EXPECT_THAT(t.encode("a cd b"), ElementsAre(0, 5, 10, 5, 1));
  EXPECT_THAT(t.encode("acd cda _cd"), ElementsAre(0, 2, 3, 5, 2, 3, 0, 5, 6, 2, 3));
  EXPECT_THAT(t.encode("cd"), ElementsAre(10));
  EXPECT_THAT(t.encode("écd"), ElementsAre(2, 3)) << "é is a word character, though not a token";
}

TEST(AddedTokens, SpecialOnesCanBeLeftAsText) {
  Json plain = added(11, "ab");
  plain["special"] = false;
  Tokenizer t = parse(with_added({added(10, "de"), plain}));
  EXPECT_THAT(t.encode("abde"), ElementsAre(11, 10));
  EXPECT_THAT(t.encode("abde", {.find_special = false}), ElementsAre(11, 3, 4));
  EXPECT_TRUE(t.is_special(10));
  EXPECT_FALSE(t.is_special(11));
  EXPECT_FALSE(t.is_special(0));
}

TEST(AddedTokens, NormalizedOnesAreFoundInNormalizedText) {
  Json file = with_added({flagged(added(10, "a-b"), {"normalized"}), added(11, "c-d")});
  file["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", "-"}}}, {"content", "_"}};
  Tokenizer t = parse(file);
  // As given, a-b becomes a_b and is found so; c-d is looked for before that.
  EXPECT_THAT(t.encode("a-b"), ElementsAre(10));
  EXPECT_THAT(t.encode("a_b"), ElementsAre(10));
  EXPECT_THAT(t.encode("c-d"), ElementsAre(11));
  EXPECT_THAT(t.encode("c_d"), ElementsAre(2, 6, 3));
}

TEST(AddedTokens, NamesAndSizes) {
  Tokenizer t = parse(with_added({added(10, "<s>"), flagged(added(3, "d"), {"normalized"})}));
  EXPECT_EQ(t.token_id("<s>"), 10U);
  EXPECT_EQ(t.token_id("d"), 3U);
  EXPECT_EQ(t.token_id("e"), 4U);
  EXPECT_EQ(t.token_id("zz"), std::nullopt);
  EXPECT_EQ(t.token_name(10), "<s>");
  EXPECT_EQ(t.token_name(5), " ");
  EXPECT_EQ(t.token_name(7), std::nullopt);
  EXPECT_EQ(t.vocab_size(), 11U);
}

TEST(AddedTokens, ManyThatShareBeginnings) {
  std::vector<Json> tokens;
  for (std::uint32_t i = 0; i < 800; ++i)
    tokens.push_back(added(100 + i, "<｜place▁holder▁no▁" + std::to_string(i) + "｜>"));
  Tokenizer t = parse(with_added(tokens));
  EXPECT_THAT(t.encode("a<｜place▁holder▁no▁7｜><｜place▁holder▁no▁799｜>b"),
              ElementsAre(0, 107, 899, 1));
  EXPECT_EQ(t.encode("<｜place▁holder▁no▁800｜>").size(), 5U) << "a, c, e, d, e are tokens";
}

TEST(Normalizer, StepsInOrder) {
  Json file = file_with(
      {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}, {"▁", 2}}}, {"merges", Json::array()}});
  Json strip = {{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}};
  Json prepend = {{"type", "Prepend"}, {"prepend", "▁"}};
  Json replace = {{"type", "Replace"}, {"pattern", {{"Regex", "\\s+"}}}, {"content", "▁"}};
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", {strip, prepend, replace}}};
  EXPECT_THAT(parse(file).encode("\n a \t b  "), ElementsAre(2, 0, 2, 1));
  EXPECT_THAT(parse(file).encode("  "), ElementsAre());
  file["normalizer"] = strip;
  file["normalizer"]["strip_left"] = false;
  file["model"]["vocab"][" "] = 3;
  EXPECT_THAT(parse(file).encode(" a "), ElementsAre(3, 0));
  file["normalizer"] = strip;
  file["normalizer"]["strip_right"] = false;
  EXPECT_THAT(parse(file).encode(" a "), ElementsAre(0, 3));
  EXPECT_THAT(parse(file).encode("  "), ElementsAre());
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json::array()}};
  EXPECT_THAT(parse(file).encode(" a"), ElementsAre(3, 0));
}

TEST(NormalizerErrors, UnicodeFormsAreRefusedByName) {
  for (const char* type : {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Precompiled"}) {
    Json file = file_with(letters());
    Json step = {{"type", type}};
    file["normalizer"] = {{"type", "Sequence"}, {"normalizers", {step}}};
    Error e = error_of([&] { parse(file); });
    EXPECT_EQ(e.code(), Code::config_invalid);
    EXPECT_EQ(e.sentence(),
              std::string("t.json: normalizer.normalizers[0].type: the normalizer \"") + type +
                  "\" is not supported; supported are Sequence, Replace, Prepend and "
                  "Strip.");
  }
}

TEST(NormalizerErrors, Nesting) {
  Json step = {{"type", "Sequence"}, {"normalizers", Json::array()}};
  for (int i = 0; i < 17; ++i) {
    Json outer = {{"type", "Sequence"}, {"normalizers", Json::array({step})}};
    step = outer;
  }
  Json file = file_with(letters());
  file["normalizer"] = step;
  Error e = error_of([&] { parse(file); });
  EXPECT_EQ(e.code(), Code::limit_exceeded);
  EXPECT_THAT(e.sentence(), HasSubstr("components nest too deeply: expected at most 16 levels, "
                                      "found 17"));
}

struct BadTokens {
  std::vector<Json> tokens;
  std::string sentence;
};

TEST(AddedTokensErrors, NameTheKey) {
  Json incomplete = added(10, "<s>");
  incomplete.erase("lstrip");
  const BadTokens cases[] = {
      {{incomplete}, "t.json: added_tokens[0].lstrip: is missing."},
      {{added(10, "")}, "added_tokens[0].content: the token is empty."},
      {{added(10, "<s>"), added(11, "<s>")}, "added_tokens[1].content: \"<s>\" is listed twice."},
      {{added(10, "<s>"), added(10, "<t>")}, "added_tokens[1].id: the id 10 is listed twice."},
      {{added(10, "a")}, "added_tokens[0].id: \"a\" has the id 0 in model.vocab, and 10 here."},
      {{added(4, "<s>")}, "added_tokens[0].id: the id 4 of \"<s>\" is \"e\" in model.vocab."},
      {{flagged(added(10, "<s>"), {"bold"})}, "added_tokens[0].bold: is not a member"},
  };
  for (const BadTokens& c : cases) {
    Error e = error_of([&] { parse(with_added(c.tokens)); });
    EXPECT_EQ(e.code(), Code::config_invalid);
    EXPECT_THAT(e.sentence(), HasSubstr(c.sentence));
  }
  Error high = error_of([] { parse(with_added({added(4000000000, "<s>")})); });
  EXPECT_EQ(high.code(), Code::limit_exceeded);
  EXPECT_THAT(high.sentence(), HasSubstr("added_tokens[0].id: the token id is too high"));
}

TEST(AddedTokensErrors, NormalizedAway) {
  Json file = with_added({flagged(added(10, "-"), {"normalized"})});
  file["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", "-"}}}, {"content", ""}};
  Error e = error_of([&] { parse(file); });
  EXPECT_EQ(e.code(), Code::config_invalid);
  EXPECT_THAT(e.sentence(), HasSubstr("content: the token is empty once normalized"));
  file["added_tokens"] = {flagged(added(10, "x-"), {"normalized"}),
                          flagged(added(11, "x"), {"normalized"})};
  e = error_of([&] { parse(file); });
  EXPECT_EQ(e.code(), Code::config_invalid);
  EXPECT_THAT(e.sentence(),
              HasSubstr("added_tokens[1].content: another token is \"x\" once normalized"));
}

}  // namespace
}  // namespace wb
