// Decoding whole lists and streams: Hugging Face's decoders by their definitions.
#include "tokenizer/decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/tokenizer/helpers.h"

namespace wb {
namespace {

using namespace testing_tokenizer;
using testing::HasSubstr;

const std::string R = "\xEF\xBF\xBD";

std::string decode(const Json& decoder, const std::vector<std::string>& tokens,
                   bool eager = false) {
  std::optional<JsonNode> node;
  if (!decoder.is_null()) node.emplace(decoder, "t.json", "decoder");
  TokenDecoder d = TokenDecoder::parse(node);
  DecodeRun run(d, eager);
  std::string out;
  for (const auto& token : tokens) run.push(token, out);
  run.finish(out);
  return out;
}
Json sequence(std::vector<Json> steps) { return {{"type", "Sequence"}, {"decoders", steps}}; }
Json strip(const std::string& content, int start, int stop) {
  return {{"type", "Strip"}, {"content", content}, {"start", start}, {"stop", stop}};
}
Json replace(const std::string& kind, const std::string& pattern, const std::string& content) {
  return {{"type", "Replace"}, {"pattern", {{kind, pattern}}}, {"content", content}};
}
const Json kByteLevel = {
    {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
const Json kByteFallback = {{"type", "ByteFallback"}};
const Json kFuse = {{"type", "Fuse"}};

TEST(TokenDecoder, NoneJoinsWithSpaces) {
  EXPECT_EQ(decode(nullptr, {"a", "b", "", "c"}), "a b  c");
  EXPECT_EQ(decode(nullptr, {}), "");
}

TEST(TokenDecoder, ByteLevelReadsTheAlphabet) {
  EXPECT_EQ(decode(kByteLevel, {"Hello", "Ġmy", "Ċ", "Ã", "©"}), "Hello my\né");
  // A token with a character outside the alphabet stands for itself.
  EXPECT_EQ(decode(kByteLevel, {"<｜endĠ｜>", "Ġa"}), "<｜endĠ｜> a");
}

TEST(TokenDecoder, ByteFallback) {
  // The examples of Hugging Face's own documentation of this decoder.
  EXPECT_EQ(decode(kByteFallback, {"Hey", "friend!"}), "Heyfriend!");
  EXPECT_EQ(decode(kByteFallback, {"<0x61>"}), "a");
  EXPECT_EQ(decode(kByteFallback, {"<0xE5>"}), R);
  EXPECT_EQ(decode(kByteFallback, {"<0xE5>", "<0x8f>"}), R + R);
  EXPECT_EQ(decode(kByteFallback, {"<0xE5>", "<0x8f>", "<0xab>"}), "叫");
  EXPECT_EQ(decode(kByteFallback, {"<0xE5>", "<0x8f>", "<0xab>", "a"}), "叫a");
  EXPECT_EQ(decode(kByteFallback, {"<0xE5>", "<0x8f>", "a"}), R + R + "a");
  EXPECT_EQ(decode(kByteFallback, {"<0xG1>", "<0x123>", "<0x1>"}), "<0xG1><0x123><0x1>");
}

TEST(TokenDecoder, ReplaceWorksOnTokens) {
  EXPECT_EQ(decode(replace("String", "▁", " "), {"▁a▁▁b", "c"}), " a  bc");
  EXPECT_EQ(decode(replace("Regex", "x+y", "-"), {"axx", "yxxy"}), "axxy-");
}

TEST(TokenDecoder, StripOfTokensAndOfTheText) {
  EXPECT_EQ(decode(strip("H", 1, 0), {"Hey", " friend!", "HHH"}), "ey friend!HH");
  EXPECT_EQ(decode(strip("y", 0, 1), {"Hey", " friend!", "y", "yy"}), "He friend!y");
  EXPECT_EQ(decode(sequence({kFuse, strip(" ", 1, 0)}), {" ", " a", " b "}), " a b ");
  EXPECT_EQ(decode(sequence({kFuse, strip(" ", 2, 2)}), {" ", " ", " a ", " ", " "}), " a ");
  EXPECT_EQ(decode(sequence({kFuse, strip(" ", 0, 1)}), {"a ", "b", " "}), "a b");
  EXPECT_EQ(decode(sequence({kFuse, strip("▁", 1, 1)}), {"▁▁", "x▁"}), "▁x");
}

TEST(TokenDecoder, LlamasSequence) {
  Json llama = sequence({replace("String", "▁", " "), kByteFallback, kFuse, strip(" ", 1, 0)});
  EXPECT_EQ(decode(llama, {"▁Hello", "▁", "<0xF0>", "<0x9F>", "<0x99>", "<0x82>", "▁!"}),
            "Hello 🙂 !");
}

TEST(TokenDecoder, EagerDiffersOnlyOnIllFormedRuns) {
  std::vector<std::string> good = {"<0xE5>", "<0x8F>", "<0xAB>", "<0x61>", "b"};
  EXPECT_EQ(decode(kByteFallback, good, true), decode(kByteFallback, good));
  std::vector<std::string> bad = {"<0x61>", "<0xE5>", "b"};
  EXPECT_EQ(decode(kByteFallback, bad), R + R + "b");
  EXPECT_EQ(decode(kByteFallback, bad, true), "a" + R + "b");
}

TEST(DecoderErrors, RefusedByName) {
  const std::pair<Json, std::string> cases[] = {
      {{{"type", "WordPiece"}},
       "t.json: decoder.type: the decoder \"WordPiece\" is not supported; supported are Sequence, "
       "ByteLevel, ByteFallback, Fuse, Replace and Strip."},
      {sequence({kFuse, kByteFallback}),
       "t.json: decoder.decoders[1]: the decoder \"ByteFallback\" behind Fuse is not supported."},
      {sequence({kFuse, kByteLevel}), "the decoder \"ByteLevel\" behind Fuse is not supported."},
      {sequence({kByteLevel, kFuse, strip(" ", 1, 0)}),
       "decoder.decoders[2]: the decoder \"Strip\" behind ByteLevel is not supported."},
      {strip("", 1, 0), "decoder.content: must be one character, is \"\"."},
      {strip("ab", 1, 0), "decoder.content: must be one character, is \"ab\"."},
      {replace("Glob", "*", ""), "decoder.pattern.Glob: is not a member"},
      {replace("String", "", ""), "decoder.pattern: the pattern is empty."},
      {{{"type", "Fuse"}, {"glue", true}}, "decoder.glue: is not a member"},
      {"Fuse", "decoder: must be an object, is string."},
  };
  for (const auto& [decoder, sentence] : cases) {
    Error e = error_of([&, &d = decoder] { decode(d, {}); });
    EXPECT_EQ(e.code(), Code::config_invalid);
    EXPECT_THAT(e.sentence(), HasSubstr(sentence));
  }
}

}  // namespace
}  // namespace wb
