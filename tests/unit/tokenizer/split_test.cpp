// Cutting texts: Hugging Face's documented behaviours of Split, GPT-2's splitting by hand
// against its regular expression, and the patterns of DeepSeek's tokenizers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tokenizer/char_classes.h"
#include "tokenizer/gpt2_split.h"
#include "tokenizer/pattern.h"
#include "tokenizer/pre_tokenizer.h"
#include "unit/tokenizer/helpers.h"

namespace wb {
namespace {

using namespace testing_tokenizer;
using testing::ElementsAre;

std::vector<std::string> pieces_of(const Json& pre_tokenizer, const std::string& text) {
  auto pre = PreTokenizer::parse(JsonNode(pre_tokenizer, "t.json", "pre_tokenizer"));
  Pieces pieces;
  pieces.views.push_back(text);
  pre.apply(pieces);
  return {pieces.views.begin(), pieces.views.end()};
}

Json split(const std::string& kind, const std::string& pattern, const std::string& behavior,
           bool invert = false) {
  return {{"type", "Split"},
          {"pattern", {{kind, pattern}}},
          {"behavior", behavior},
          {"invert", invert}};
}
Json byte_level(bool prefix, bool regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", prefix},
          {"trim_offsets", true},
          {"use_regex", regex}};
}
Json sequence(std::vector<Json> steps) { return {{"type", "Sequence"}, {"pretokenizers", steps}}; }

TEST(Split, BehavioursAsDocumentedByHuggingFace) {
  const std::string text = "the-final--countdown";
  EXPECT_THAT(pieces_of(split("String", "-", "Removed"), text),
              ElementsAre("the", "final", "countdown"));
  EXPECT_THAT(pieces_of(split("String", "-", "Isolated"), text),
              ElementsAre("the", "-", "final", "-", "-", "countdown"));
  EXPECT_THAT(pieces_of(split("String", "-", "MergedWithPrevious"), text),
              ElementsAre("the-", "final-", "-", "countdown"));
  EXPECT_THAT(pieces_of(split("String", "-", "MergedWithNext"), text),
              ElementsAre("the", "-final", "-", "-countdown"));
  EXPECT_THAT(pieces_of(split("String", "-", "Contiguous"), text),
              ElementsAre("the", "-", "final", "--", "countdown"));
}

TEST(Split, InvertSwapsMatchesAndGaps) {
  EXPECT_THAT(pieces_of(split("Regex", "[a-z]+", "Removed", true), "ab1cd--e"),
              ElementsAre("ab", "cd", "e"));
  EXPECT_THAT(pieces_of(split("Regex", "[a-z]+", "MergedWithPrevious", true), "ab1cd--e"),
              ElementsAre("ab1", "cd--", "e"));
}

TEST(Split, MatchesAtTheEndsAndNone) {
  EXPECT_THAT(pieces_of(split("String", "-", "MergedWithPrevious"), "-a-"), ElementsAre("-", "a-"));
  EXPECT_THAT(pieces_of(split("String", "-", "MergedWithNext"), "-a-"), ElementsAre("-a", "-"));
  EXPECT_THAT(pieces_of(split("String", "-", "Removed"), "--"), ElementsAre());
  EXPECT_THAT(pieces_of(split("String", "-", "Isolated"), "abc"), ElementsAre("abc"));
}

TEST(Split, StringPatternsAreLiteral) {
  EXPECT_THAT(pieces_of(split("String", "a.b*(c)|[\\", "Isolated"), "xa.b*(c)|[\\aXb"),
              ElementsAre("x", "a.b*(c)|[\\", "aXb"));
}

TEST(Split, EmptyMatchesCutBetweenCharacters) {
  // Before every capital, without consuming anything; é and 🙂 must not be torn.
  EXPECT_THAT(pieces_of(split("Regex", "(?=[A-Z])", "Isolated"), "éAb🙂Cd"),
              ElementsAre("é", "Ab🙂", "Cd"));
}

TEST(Digits, SingleOrTogether) {
  Json single = {{"type", "Digits"}, {"individual_digits", true}};
  Json together = {{"type", "Digits"}, {"individual_digits", false}};
  EXPECT_THAT(pieces_of(single, "Hey 123½!"), ElementsAre("Hey ", "1", "2", "3", "½", "!"));
  EXPECT_THAT(pieces_of(together, "Hey 123½!"), ElementsAre("Hey ", "123½", "!"));
}

TEST(ByteLevel, Gpt2Pieces) {
  EXPECT_THAT(
      pieces_of(byte_level(false, true), "Hello my  friend, it's 2024\n\n ok "),
      ElementsAre("Hello", " my", " ", " friend", ",", " it", "'s", " 2024", "\n\n", " ok", " "));
  EXPECT_THAT(pieces_of(byte_level(false, true), "don''t'LL we'll \t x"),
              ElementsAre("don", "''", "t", "'", "LL", " we", "'ll", " \t", " x"));
}

TEST(ByteLevel, PrefixSpaceAndNoRegex) {
  EXPECT_THAT(pieces_of(byte_level(true, false), "a b"), ElementsAre(" a b"));
  EXPECT_THAT(pieces_of(byte_level(true, true), " a b"), ElementsAre(" a", " b"));
}

TEST(ByteLevel, WritesTheAlphabetForStepsBehindIt) {
  // "é" is Ã© in the alphabet, so a later Split sees that character and not the byte.
  EXPECT_THAT(
      pieces_of(sequence({byte_level(false, false), split("String", "©", "Isolated")}), " é!"),
      ElementsAre("ĠÃ", "©", "!"));
}

TEST(Gpt2Split, EqualsItsRegularExpression) {
  Regex regex{kGpt2Pattern};
  std::mt19937 rng(20240501);
  for (int round = 0; round < 3000; ++round) {
    std::string text = random_text(rng, 1 + round % 40);
    std::vector<std::string_view> fast;
    gpt2_split(text, fast);
    std::vector<std::string_view> slow;
    cut(text, find_spans(regex, text), SplitBehavior::isolated, false, slow);
    ASSERT_EQ(fast, slow) << testing::PrintToString(text);
  }
}

TEST(Gpt2Split, EqualsItsRegularExpressionOnEveryCharacter) {
  Regex regex{kGpt2Pattern};
  // Every code point between two others whose kind is known, so that a wrong kind shows. Planes
  // 4 to 13 are empty, and the end of the private ones stands for them.
  for (char32_t first = 0; first < utf8::kCodePoints; first += 64) {
    if (first >= 0xD800 && first < 0xE000) continue;  // surrogates are no characters
    if (first >= 0x33000 && first < 0xE0000) continue;
    if (first >= 0xE0200 && first < 0x10FF80) continue;
    std::string text;
    for (char32_t code = first; code < first + 64; ++code) {
      text += "a";
      utf8::append(text, code);
      text += "1 ";
      utf8::append(text, code);
      text += "! ";
    }
    std::vector<std::string_view> fast, slow;
    gpt2_split(text, fast);
    cut(text, find_spans(regex, text), SplitBehavior::isolated, false, slow);
    ASSERT_EQ(fast, slow) << "from U+" << std::hex << static_cast<unsigned>(first);
  }
}

TEST(CharClasses, KnownCharacters) {
  const auto& classes = CharClasses::get();
  for (char32_t code : {U'a', U'é', U'中', U'ª', U'ǅ'}) EXPECT_EQ(classes.bits(code), 1 | 8);
  EXPECT_EQ(classes.bits(U'7'), CharClasses::kNumber | CharClasses::kWord);
  EXPECT_EQ(classes.bits(U'½'), CharClasses::kNumber);  // No: a number, not a word character
  for (char32_t code : {U' ', U'\n', U'\x85', U'\xA0', U'\x2003', U'\x3000'})
    EXPECT_EQ(classes.bits(code), CharClasses::kSpace);
  for (char32_t code : {U'\x200B', U'\xFEFF', U'!', U'€'}) EXPECT_EQ(classes.bits(code), 0);
  EXPECT_EQ(classes.bits(U'_'), CharClasses::kWord);
  EXPECT_EQ(classes.bits(U'\x301'), CharClasses::kWord);  // a mark
}

// The pre-tokenizers of DeepSeek's families, as in their tokenizer.json.
Json deepseek_v3() {
  const std::string cjk = "[一-龥぀-ゟ゠-ヿ]+";
  const std::string rest =
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?"
      "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  return sequence({split("Regex", "\\p{N}{1,3}", "Isolated"), split("Regex", cjk, "Isolated"),
                   split("Regex", rest, "Isolated"), byte_level(false, false)});
}
Json deepseek_v2() {
  Json digits = {{"type", "Digits"}, {"individual_digits", true}};
  return sequence({split("Regex", "[\\r\\n]", "Isolated"),
                   split("Regex", "\\s?[A-Za-zµÀ-ÖØ-öø-ƺ]+", "Isolated"),
                   split("Regex", "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "Isolated"),
                   split("Regex", "\\s+$", "Isolated"),
                   split("Regex", "[一-龥ࠀ-一가-퟿]+", "Isolated"), digits,
                   byte_level(false, false)});
}

TEST(DeepSeek, V3Pieces) {
  // Digits in threes from the left; CJK apart; one leading character with a word; punctuation
  // keeps the line ends behind it; of a run of spaces the last goes with the word.
  EXPECT_THAT(pieces_of(deepseek_v3(), "x=1234567+f(y)"),
              ElementsAre("x", "=", "123", "456", "7", "+f", "(y", ")"));
  EXPECT_THAT(pieces_of(deepseek_v3(), "Hello, world!\n\n  Bye   now "),
              ElementsAre("Hello", ",", " world", "!\n\n", " ", " Bye", "  ", " now", " "));
  EXPECT_THAT(pieces_of(deepseek_v3(), "我在2024年used かなGPT。"),
              ElementsAre("我在", "202", "4", "年", "used", " ", "かな", "GPT", "。"));
  EXPECT_THAT(pieces_of(deepseek_v3(), "it's \t\r\n a 🙂.done"),
              ElementsAre("it", "'s", " \t\r\n", " a", " 🙂.", "done"));
  EXPECT_THAT(pieces_of(deepseek_v3(), "cafe\xCC\x81 \xC2\xA0x"),
              ElementsAre("cafe\xCC\x81", " ", "\xC2\xA0x"));
}

TEST(DeepSeek, V2Pieces) {
  EXPECT_THAT(
      pieces_of(deepseek_v2(), "Hello, world!\n\n  Bye 12 "),
      ElementsAre("Hello", ",", " world", "!", "\n", "\n", " ", " Bye", " ", "1", "2", " "));
  EXPECT_THAT(pieces_of(deepseek_v2(), "我在2024年 used(é)  "),
              ElementsAre("我在", "2", "0", "2", "4", "年", " used", "(", "é", ")", "  "));
}

TEST(Regex, RefusesWhatDoesNotCompileNamingTheKey) {
  Error e = error_of([] { pieces_of(split("Regex", "(a", "Isolated"), "x"); });
  EXPECT_EQ(e.code(), Code::config_invalid);
  EXPECT_EQ(e.sentence(),
            "t.json: pre_tokenizer.pattern: the regular expression does not compile: end pattern "
            "with unmatched parenthesis.");
}

TEST(Regex, LengthAndDepthHaveBounds) {
  Error e = error_of([] { pieces_of(split("Regex", std::string(70'000, 'a'), "Isolated"), "x"); });
  EXPECT_EQ(e.code(), Code::config_invalid);
  EXPECT_THAT(e.sentence(), testing::HasSubstr("is too long: it has 70000 bytes, at most 65536"));
  const std::string deep = std::string(10'000, '(') + "a" + std::string(10'000, ')');
  e = error_of([&] { pieces_of(split("Regex", deep, "Isolated"), "x"); });
  EXPECT_EQ(e.code(), Code::config_invalid);
}

// A run of spaces is gone back over once for each of its ends; the budget grows with the text.
TEST(Regex, LongRunsStayWithinTheBudget) {
  const std::string spaces(300'000, ' ');
  EXPECT_EQ(
      pieces_of(split("Regex", R"(\s*[\r\n]+|\s+(?!\S)|\s+)", "Isolated"), spaces + "x").size(),
      3u);
}

TEST(ByteLevel, ManyBehindEachOtherAreRefused) {
  EXPECT_NO_THROW(pieces_of(sequence(std::vector<Json>(5, byte_level(false, false))), "x"));
  Error e =
      error_of([] { pieces_of(sequence(std::vector<Json>(7, byte_level(false, false))), "x"); });
  EXPECT_EQ(e.code(), Code::config_invalid);
  EXPECT_THAT(e.sentence(), testing::HasSubstr("more than 4 ByteLevel"));
}

TEST(Regex, StopsEndlessBacktracking) {
  // (a|a)*b tries 2^n ways on a run of n a's that a c ends; the b behind keeps the engine from
  // seeing at once that there is nothing to find.
  Error e = error_of(
      [] { pieces_of(split("Regex", "(a|a)*b", "Isolated"), std::string(60, 'a') + "cb"); });
  EXPECT_EQ(e.code(), Code::limit_exceeded);
  EXPECT_THAT(e.sentence(), testing::HasSubstr("(a|a)*b gave up on 62 bytes of text"));
  EXPECT_FALSE(e.advice().empty());
}

}  // namespace
}  // namespace wb
