// The whole tokenizer: the sample against the ids that its training used, families of
// tokenizers on hand-derived ids, round trips, streams, and the errors of a file as a whole.
#include "tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <thread>

#include "unit/tokenizer/helpers.h"

namespace wb {
namespace {

using namespace testing_tokenizer;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kSample = WB_SOURCE_DIR "/samples/tiny/";
const std::string kFixtures = WB_SOURCE_DIR "/tests/fixtures/tokenizer/";
const std::string R = "\xEF\xBF\xBD";

std::string file_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}
Ids sample_ids() {
  std::string bytes = file_bytes(kSample + "text-tokens.u16");
  Ids ids;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2)
    ids.push_back(static_cast<std::uint8_t>(bytes[i]) |
                  static_cast<std::uint32_t>(static_cast<std::uint8_t>(bytes[i + 1])) << 8);
  return ids;
}
const Tokenizer& sample() {
  static const Tokenizer tokenizer = Tokenizer::load(kSample + "tokenizer.json");
  return tokenizer;
}

TEST(Sample, EncodesToTheIdsOfItsTraining) {
  Ids expected = sample_ids();
  ASSERT_GT(expected.size(), 10000U);
  EXPECT_EQ(sample().encode(file_bytes(kSample + "text.txt")), expected);
}

TEST(Sample, DecodesBack) {
  EXPECT_EQ(sample().decode(sample_ids()), file_bytes(kSample + "text.txt"));
}

TEST(Sample, NamesAndSizes) {
  EXPECT_EQ(sample().vocab_size(), 4096U);
  EXPECT_EQ(sample().token_id("<|endoftext|>"), 4095U);
  EXPECT_EQ(sample().token_id("!"), 0U);
  EXPECT_EQ(sample().token_name(0), "!");
  EXPECT_EQ(sample().token_bytes(*sample().token_id("Ġt")), " t");
  EXPECT_EQ(sample().token_bytes(4096), "");
  EXPECT_TRUE(sample().is_special(4095));
}

TEST(Sample, SpecialTokensInText) {
  Ids ids = sample().encode("a<|endoftext|>a");
  ASSERT_EQ(ids.size(), 3U);
  EXPECT_EQ(ids[1], 4095U);
  EXPECT_EQ(sample().decode(ids), "a<|endoftext|>a");
  EXPECT_EQ(sample().decode(ids, true), "aa");
  Ids as_text = sample().encode("a<|endoftext|>a", {.find_special = false});
  EXPECT_EQ(std::count(as_text.begin(), as_text.end(), 4095U), 0);
  EXPECT_EQ(sample().decode(as_text), "a<|endoftext|>a");
}

TEST(RoundTrip, RandomTexts) {
  std::mt19937 rng(11);
  Tokenizer v3 = Tokenizer::load(kFixtures + "deepseek_v3.json");
  Tokenizer v2 = Tokenizer::load(kFixtures + "deepseek_v2.json");
  for (int round = 0; round < 800; ++round) {
    std::string text = random_text(rng, round % 60);
    for (const Tokenizer* t :
         {&sample(), static_cast<const Tokenizer*>(&v3), static_cast<const Tokenizer*>(&v2)})
      ASSERT_EQ(t->decode(t->encode(text)), text) << testing::PrintToString(text);
  }
}

TEST(RoundTrip, EveryByteAloneAndInvalidUtf8) {
  std::string controls;
  for (int c = 0; c < 128; ++c) controls += static_cast<char>(c);
  EXPECT_EQ(sample().decode(sample().encode(controls)), controls);
  EXPECT_EQ(sample().decode(sample().encode("a\xFFz\xE4\xB8")), "a" + R + "z" + R);
  EXPECT_EQ(sample().encode("\xFF"), sample().encode(R));
  EXPECT_THAT(sample().encode(""), ElementsAre());
}

TEST(RoundTrip, LongPieces) {
  std::string letters(100'000, 'x'), spaces(100'000, ' ');
  EXPECT_EQ(sample().decode(sample().encode(letters)), letters);
  EXPECT_EQ(sample().decode(sample().encode(spaces + "a")), spaces + "a");
}

TEST(RoundTrip, FromSeveralThreads) {
  std::string text = file_bytes(kSample + "text.txt").substr(0, 4000);
  Ids expected = sample().encode(text);
  std::vector<Ids> got(4);
  std::vector<std::thread> threads;
  for (Ids& ids : got) threads.emplace_back([&] { ids = sample().encode(text); });
  for (auto& thread : threads) thread.join();
  for (const Ids& ids : got) EXPECT_EQ(ids, expected);
}

// Ids below 256 are bytes; 256 "12", 257 "123", 258 "34", 259 " a", 260 E4 B8, 261 "中",
// 262 two spaces, 263 "!\n", 264 "a1", 265 ".x".
TEST(DeepSeekV3, HandDerivedIds) {
  Tokenizer t = Tokenizer::load(kFixtures + "deepseek_v3.json");
  EXPECT_THAT(t.encode("1234"), ElementsAre(257, '4')) << "123 and 4 are cut before 34 can join";
  EXPECT_THAT(t.encode("a1"), ElementsAre('a', '1')) << "digits stand apart";
  EXPECT_THAT(t.encode("  a"), ElementsAre(' ', 259)) << "the last space goes with the word";
  EXPECT_THAT(t.encode("a  "), ElementsAre('a', 262));
  EXPECT_THAT(t.encode("!\n\n"), ElementsAre(263, '\n'));
  EXPECT_THAT(t.encode("zz.x"), ElementsAre('z', 'z', 265)) << "a dot leads a word";
  EXPECT_THAT(t.encode("a中中 a"), ElementsAre('a', 261, 261, 259));
  EXPECT_THAT(t.encode("<think>12</think>"),
              ElementsAre(272, 256, '<', '/', 't', 'h', 'i', 'n', 'k', '>'));
  EXPECT_THAT(t.encode("<｜end▁of▁sentence｜> a"), ElementsAre(271, 259));
  EXPECT_THAT(t.encode("12", {.add_special = true}), ElementsAre(270, 256));
  EXPECT_EQ(t.decode(Ids{270, 261, 259, 0xE4, 0xB8, 263}),
            "<｜begin▁of▁sentence｜>中 a\xE4\xB8!\n");
  EXPECT_EQ(t.decode(Ids{270, 272, 261}, true), "<think>中") << "only special ones are skipped";
  EXPECT_EQ(t.vocab_size(), 273U);
}

TEST(DeepSeekV2, HandDerivedIds) {
  Tokenizer t = Tokenizer::load(kFixtures + "deepseek_v2.json");
  EXPECT_THAT(t.encode("1234"), ElementsAre('1', '2', '3', '4')) << "digits one by one";
  EXPECT_THAT(t.encode("!\n\n"), ElementsAre('!', '\n', '\n')) << "line ends stand apart";
  EXPECT_THAT(t.encode("  a  "), ElementsAre(' ', 259, 262));
  EXPECT_THAT(t.encode("zz.x"), ElementsAre('z', 'z', '.', 'x'));
  EXPECT_THAT(t.encode("a中"), ElementsAre('a', 261));
  EXPECT_THAT(t.encode("12", {.add_special = true}), ElementsAre('1', '2'));
  EXPECT_THAT(t.encode("<｜begin▁of▁sentence｜>a"), ElementsAre(270, 'a'));
}

TEST(ByteFallbackFamily, HandDerivedIds) {
  Tokenizer t = Tokenizer::load(kFixtures + "byte_fallback.json");
  // "▁a▁b" and the bytes of 🙂, F0 9F 99 82, each three above its value.
  Ids ids = {262, 259, 261, 0xF3, 0xA2, 0x9C, 0x85};
  EXPECT_EQ(t.encode("a b🙂"), ids);
  EXPECT_EQ(t.decode(ids), "a b🙂");
  EXPECT_THAT(t.encode("<s>a"), ElementsAre(1, 262)) << "each part gets its own prefix";
  EXPECT_EQ(t.decode(Ids{262, 0xF3, 0xA2}), "a" + R + R);
}

std::string stream(const Tokenizer& t, const Ids& ids, int* silent = nullptr) {
  StreamDecoder decoder(t);
  std::string all;
  for (std::uint32_t id : ids) {
    std::string part = decoder.push(id);
    EXPECT_TRUE(utf8::valid(part)) << testing::PrintToString(part);
    if (silent != nullptr && part.empty()) ++*silent;
    all += part;
  }
  std::string rest = decoder.finish();
  EXPECT_TRUE(utf8::valid(rest));
  return all + rest;
}

TEST(Stream, GivesWholeCharactersAndAllOfThem) {
  std::mt19937 rng(5);
  Tokenizer fallback = Tokenizer::load(kFixtures + "byte_fallback.json");
  int silent = 0;
  for (int round = 0; round < 300; ++round) {
    std::string text = random_text(rng, round % 40);
    ASSERT_EQ(stream(sample(), sample().encode(text), &silent), text);
    Ids ids = fallback.encode(text);
    ASSERT_EQ(stream(fallback, ids), fallback.decode(ids));
  }
  EXPECT_GT(silent, 100) << "characters of several tokens must have been held";
}

TEST(Stream, EqualsDecodeRepairedOnRandomIds) {
  std::mt19937 rng(6);
  for (int round = 0; round < 500; ++round) {
    Ids ids;
    for (int i = 0; i < 40; ++i) ids.push_back(rng() % 2 == 0 ? rng() % 256 : rng() % 4100);
    ASSERT_EQ(stream(sample(), ids), utf8::replace_invalid(sample().decode(ids)));
  }
}

TEST(Stream, HoldsReleasesAndBeginsAnew) {
  Tokenizer t = Tokenizer::load(kFixtures + "deepseek_v3.json");
  StreamDecoder decoder(t);
  EXPECT_EQ(decoder.push(0xE4), "");
  EXPECT_EQ(decoder.push(0xB8), "");
  EXPECT_EQ(decoder.push(0xAD), "中");
  EXPECT_EQ(decoder.push(260), "");
  EXPECT_EQ(decoder.push('a'), R + "a");
  EXPECT_EQ(decoder.push(0xE4), "");
  EXPECT_EQ(decoder.finish(), R);
  EXPECT_EQ(decoder.finish(), "");
  EXPECT_EQ(decoder.push(261), "中");
  EXPECT_EQ(decoder.push(9999), "") << "an id of no token";
  StreamDecoder skipping(t, true);
  EXPECT_EQ(skipping.push(271) + skipping.push('a'), "a");

  Tokenizer fallback = Tokenizer::load(kFixtures + "byte_fallback.json");
  StreamDecoder bytes(fallback);
  EXPECT_EQ(bytes.push(3 + 0xC3), "");
  EXPECT_EQ(bytes.push(3 + 0xA9), "é") << "as soon as it is whole, not at the end of the run";
  EXPECT_EQ(bytes.push(3 + 0xC3), "");
  bytes.finish();
  EXPECT_EQ(bytes.push(259), "") << "the first space of a new text is stripped again";
}

Json template_with(Json single) {
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", Json::array()},
          {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {1, 2}}, {"tokens", {"<", ">"}}}}}}};
}
const Json kText = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
const Json kSpecial = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}};
Json tiny_model() {
  return {{"type", "BPE"},
          {"vocab", {{"a", 0}, {"<", 1}, {">", 2}, {"b", 7}}},
          {"merges", Json::array()}};
}

TEST(PostProcessor, TemplateAroundTheText) {
  Json file = file_with(tiny_model());
  file["post_processor"] = template_with({kSpecial, kText, kSpecial});
  EXPECT_THAT(parse(file).encode("ab", {.add_special = true}), ElementsAre(1, 2, 0, 7, 1, 2));
  EXPECT_THAT(parse(file).encode("ab"), ElementsAre(0, 7));
  EXPECT_THAT(parse(file).encode("", {.add_special = true}), ElementsAre(1, 2, 1, 2));
}

TEST(TokenizerErrors, OfAFileAsAWhole) {
  Json good = file_with(tiny_model());
  auto with = [&](const char* key, Json value) {
    Json file = good;
    file[key] = std::move(value);
    return file;
  };
  Json no_model = good;
  no_model.erase("model");
  const Json unnamed = {{"SpecialToken", {{"id", "<x>"}, {"type_id", 0}}}};
  Json dangling = template_with({kSpecial, kText});
  dangling["special_tokens"]["<s>"]["ids"] = {1, 3};
  const std::pair<Json, std::string> cases[] = {
      {no_model, "t.json: model: is missing."},
      {Json::array(), "t.json: the whole file: must be an object, is array."},
      {with("version", "2.0"), "t.json: version: \"2.0\" is not a version"},
      {with("extra", 1), "t.json: extra: is not a member that this program knows."},
      {with("padding", 3), "t.json: padding: must be an object, is number."},
      {with("added_tokens", "x"), "t.json: added_tokens: must be an array, is string."},
      {with("pre_tokenizer", {{"type", "Metaspace"}}),
       "t.json: pre_tokenizer.type: the pre-tokenizer \"Metaspace\" is not supported; supported "
       "are Sequence, ByteLevel, Split and Digits."},
      {with("pre_tokenizer", {{"type", "Digits"}}), "pre_tokenizer.individual_digits: is missing."},
      {with("pre_tokenizer", {{"type", "ByteLevel"}, {"trim_offsets", true}}),
       "pre_tokenizer.add_prefix_space: is missing."},
      {with("pre_tokenizer", {{"kind", "Digits"}}), "pre_tokenizer.type: is missing."},
      {with("pre_tokenizer", {{"type", "Split"},
                              {"pattern", {{"Regex", "a"}}},
                              {"behavior", "Kept"},
                              {"invert", false}}),
       "pre_tokenizer.behavior: \"Kept\" is not one of Isolated, Removed"},
      {with("pre_tokenizer", {{"type", "Split"},
                              {"pattern", Json::object()},
                              {"behavior", "Removed"},
                              {"invert", false}}),
       "pre_tokenizer.pattern: must hold either \"String\" or \"Regex\"."},
      {with("post_processor", {{"type", "BertProcessing"}}),
       "t.json: post_processor.type: the post-processor \"BertProcessing\" is not supported; "
       "supported are Sequence, TemplateProcessing and ByteLevel."},
      {with("post_processor", template_with({unnamed, kText})),
       "post_processor.single[0].SpecialToken.id: \"<x>\" is not among special_tokens."},
      {with("post_processor", dangling),
       "post_processor.special_tokens.<s>.ids[1]: no token has the id 3."},
      {with("post_processor", template_with(nlohmann::json::array({kSpecial}))),
       "post_processor.single: the template for a single text must hold the sequence A once."},
      {with("post_processor", template_with({kText, kText})),
       "post_processor.single[1].Sequence: the template for a single text must hold"},
  };
  for (const auto& [file, sentence] : cases) {
    Error e = error_of([&, &f = file] { parse(f); });
    EXPECT_EQ(e.code(), Code::config_invalid);
    EXPECT_THAT(e.sentence(), HasSubstr(sentence));
    EXPECT_FALSE(e.advice().empty());
  }
}

TEST(TokenizerErrors, ATokenTwiceAndNesting) {
  Error e = error_of([] {
    Tokenizer::parse(R"({"model": {"type": "BPE", "vocab": {"a": 0, "a": 1}, "merges": []}})",
                     "t.json");
  });
  EXPECT_EQ(e.code(), Code::config_invalid);
  EXPECT_THAT(e.sentence(), HasSubstr("t.json: has the key \"a\" twice"));
  e = error_of([] { Tokenizer::parse(std::string(1 << 20, '['), "t.json"); });
  EXPECT_EQ(e.code(), Code::limit_exceeded);
}

// Steps behind each other multiply what they make.
TEST(TokenizerErrors, TextsThatGrowWithoutEndAreStopped) {
  const Json thousandfold = {
      {"type", "Replace"}, {"pattern", {{"Regex", "."}}}, {"content", std::string(1000, 'x')}};
  Json file = file_with({{"type", "BPE"}, {"vocab", {{"x", 0}}}, {"merges", Json::array()}});
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", std::vector<Json>(4, thousandfold)}};
  Error e = error_of([&] { parse(file).encode("xx"); });
  EXPECT_EQ(e.code(), Code::limit_exceeded);
  EXPECT_THAT(e.sentence(), HasSubstr("t.json: the normalizer makes too long a text"));
  file["normalizer"] = nullptr;
  file["decoder"] = {{"type", "Sequence"}, {"decoders", std::vector<Json>(4, thousandfold)}};
  const std::uint32_t id = 0;
  e = error_of([&] { parse(file).decode({&id, 1}); });
  EXPECT_EQ(e.code(), Code::limit_exceeded);
  EXPECT_THAT(e.sentence(), HasSubstr("t.json: the decoder makes too long a text of one token"));
}

TEST(TokenizerErrors, NoJsonAndNoFile) {
  Error e = error_of([] { Tokenizer::parse("{\"version\": ", "t.json"); });
  EXPECT_EQ(e.code(), Code::config_invalid);
  EXPECT_THAT(e.sentence(), HasSubstr("t.json: is not JSON: "));
  e = error_of([] { Tokenizer::parse("{\"a\": \"\xFF\"}", "t.json"); });
  EXPECT_EQ(e.code(), Code::config_invalid);
  EXPECT_THAT(e.sentence(), HasSubstr("invalid string: ill-formed UTF-8 byte"));
  e = error_of([] { Tokenizer::load(kFixtures + "no such file"); });
  EXPECT_EQ(e.code(), Code::file_open);
}

TEST(TokenizerErrors, TooLarge) {
  // The length is refused before a byte is read, so the views may claim what is not there.
  Error e = error_of([] { sample().encode(std::string_view("x", std::size_t{1} << 31)); });
  EXPECT_EQ(e.code(), Code::limit_exceeded);
  EXPECT_EQ(e.sentence(),
            "the text is too long to encode at once: expected at most 2147483647 bytes, found "
            "2147483648.");
  e = error_of([] { Tokenizer::parse(std::string_view("x", (256U << 20) + 1), "t.json"); });
  EXPECT_EQ(e.code(), Code::limit_exceeded);
  EXPECT_EQ(e.sentence(),
            "t.json: is too long for a file of this kind: expected at most 268435456 bytes, found "
            "268435457.");
}

}  // namespace
}  // namespace wb
