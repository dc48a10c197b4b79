// The BPE model: joining by rank, what becomes of unknown characters, and its errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tokenizer/bpe.h"
#include "tokenizer/merge_table.h"
#include "tokenizer/piece_cache.h"
#include "unit/tokenizer/helpers.h"

namespace wb {
namespace {

using namespace testing_tokenizer;
using testing::ElementsAre;
using testing::HasSubstr;

Bpe bpe_of(const Json& model, bool byte_pieces = false) {
  return Bpe::parse(JsonNode(model, "t.json", "model"), byte_pieces);
}
Ids encode(const Json& model, const std::string& piece) {
  Ids ids;
  bpe_of(model).encode(piece, ids);
  return ids;
}

// The letters of "unrelated" and the merges of Hugging Face's own BPE example, in its order.
Json unrelated() {
  return {{"type", "BPE"},
          {"vocab",
           {{"u", 0},
            {"n", 1},
            {"r", 2},
            {"e", 3},
            {"l", 4},
            {"a", 5},
            {"t", 6},
            {"d", 7},
            {"re", 8},
            {"at", 9},
            {"ed", 10},
            {"un", 11},
            {"ated", 12},
            {"rel", 13},
            {"related", 14},
            {"unrelated", 15}}},
          {"merges", {"r e", "a t", "e d", "u n", "at ed", "re l", "rel ated", "un related"}}};
}

TEST(Bpe, JoinsByRank) {
  EXPECT_THAT(encode(unrelated(), "unrelated"), ElementsAre(15));
  EXPECT_THAT(encode(unrelated(), "related"), ElementsAre(14));
  // r e is ranked before e d: "red" is re d and not r ed.
  EXPECT_THAT(encode(unrelated(), "red"), ElementsAre(8, 7));
  EXPECT_THAT(encode(unrelated(), "aat"), ElementsAre(5, 9));
  EXPECT_THAT(encode(unrelated(), "u"), ElementsAre(0));
}

TEST(Bpe, EqualRanksJoinFromTheLeft) {
  Json model = {{"type", "BPE"}, {"vocab", {{"a", 0}, {"aa", 1}}}, {"merges", {"a a"}}};
  EXPECT_THAT(encode(model, "aaaaa"), ElementsAre(1, 1, 0));
}

TEST(Bpe, MergesAsPairsMayHoldSpaces) {
  Json model = {{"type", "BPE"},
                {"vocab", {{"a", 0}, {" ", 1}, {" a", 2}, {"a a", 3}}},
                {"merges", Json::array({Json::array({" ", "a"}), Json::array({"a", " a"})})}};
  EXPECT_THAT(encode(model, "a a"), ElementsAre(3));
}

TEST(Bpe, VersionLineHasNoRank) {
  Json model = unrelated();
  model["merges"].insert(model["merges"].begin(), "#version: 0.2");
  EXPECT_THAT(encode(model, "unrelated"), ElementsAre(15));
}

TEST(Bpe, UnknownCharacters) {
  Json model = {
      {"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}, {"<unk>", 2}}}, {"merges", Json::array()}};
  EXPECT_THAT(encode(model, "axyb"), ElementsAre(0, 1)) << "without unk_token they vanish";
  model["unk_token"] = "<unk>";
  EXPECT_THAT(encode(model, "axyb"), ElementsAre(0, 2, 2, 1));
  model["fuse_unk"] = true;
  EXPECT_THAT(encode(model, "axybz"), ElementsAre(0, 2, 1, 2));
}

TEST(Bpe, ByteFallback) {
  Json model = {{"type", "BPE"},
                {"vocab", {{"a", 0}, {"<unk>", 1}, {"<0xC3>", 2}, {"<0xA9>", 3}}},
                {"merges", Json::array()},
                {"unk_token", "<unk>"},
                {"byte_fallback", true}};
  EXPECT_THAT(encode(model, "aéa"), ElementsAre(0, 2, 3, 0));
  EXPECT_THAT(encode(model, "aèa"), ElementsAre(0, 1, 0)) << "C3 A8: not all bytes are known";
}

TEST(Bpe, IgnoreMergesTakesWholePieces) {
  Json model = {{"type", "BPE"},
                {"vocab", {{"Ġ", 0}, {"a", 1}, {"Ġa", 2}, {"aĠ", 3}}},
                {"merges", Json::array()},
                {"ignore_merges", true}};
  Ids ids;
  bpe_of(model, true).encode(" a", ids);
  EXPECT_THAT(ids, ElementsAre(2));
  ids.clear();
  bpe_of(model, true).encode(" a ", ids);
  EXPECT_THAT(ids, ElementsAre(0, 1, 0));
  model["ignore_merges"] = false;
  ids.clear();
  bpe_of(model, true).encode(" a", ids);
  EXPECT_THAT(ids, ElementsAre(0, 1));
}

TEST(Bpe, ByteWithoutATokenIsUnknown) {
  // No full alphabet: bytes are still seen through it, and 0x01 ("ā") has no token.
  Json model = {{"type", "BPE"},
                {"vocab", {{"a", 0}, {"?", 1}}},
                {"merges", Json::array()},
                {"unk_token", "?"}};
  Ids ids;
  bpe_of(model, true).encode("a\x01", ids);
  EXPECT_THAT(ids, ElementsAre(0, 1));
}

// The definition, as slowly as it reads.
Ids join_by_definition(const std::vector<std::array<std::uint32_t, 3>>& merges, Ids ids) {
  for (;;) {
    std::size_t best_rank = merges.size(), best_at = 0;
    for (std::size_t at = 0; at + 1 < ids.size(); ++at)
      for (std::size_t rank = 0; rank < best_rank; ++rank)
        if (merges[rank][0] == ids[at] && merges[rank][1] == ids[at + 1])
          best_rank = rank, best_at = at;
    if (best_rank == merges.size()) return ids;
    ids[best_at] = merges[best_rank][2];
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
  }
}

TEST(MergeTable, BothWaysEqualTheDefinition) {
  std::mt19937 rng(7);
  for (int round = 0; round < 400; ++round) {
    // Random merges over 3 symbols, each making a new symbol from two that exist.
    std::vector<std::array<std::uint32_t, 3>> merges;
    MergeTable table;
    std::uint32_t count = 3, wanted = 1 + rng() % 20;
    table.reserve(wanted);
    for (std::uint32_t rank = 0; rank < wanted; ++rank) {
      std::uint32_t a = rng() % count, b = rng() % count;
      if (table.find(a, b).rank != MergeTable::kNoMerge) continue;
      table.set(a, b, {static_cast<std::uint32_t>(merges.size()), count});
      merges.push_back({a, b, count++});
    }
    Ids start = {99};  // in front of `from`: must not be touched
    for (unsigned i = 0, n = rng() % 80; i < n; ++i) start.push_back(rng() % 3);
    Ids expected = join_by_definition(merges, {start.begin() + 1, start.end()});
    expected.insert(expected.begin(), 99);
    Ids quick = start, heap = start, chosen = start;
    table.join_short(quick, 1);
    table.join_long(heap, 1);
    table.join(chosen, 1);
    ASSERT_EQ(quick, expected);
    ASSERT_EQ(heap, expected);
    ASSERT_EQ(chosen, expected);
  }
}

TEST(MergeTable, LongPiecesTakeNoQuadraticTime) {
  MergeTable table;
  table.reserve(2);
  table.set(0, 0, {0, 1});
  table.set(1, 1, {1, 2});
  Ids ids(400'001, 0);
  table.join(ids, 0);
  Ids expected(100'000, 2);
  expected.push_back(0);
  EXPECT_EQ(ids, expected);
}

TEST(PieceCache, GivesWhatTheModelGives) {
  Bpe bpe = bpe_of(unrelated());
  PieceCache cache(bpe);
  std::mt19937 rng(3);
  std::vector<std::string> words;
  for (int i = 0; i < 3000; ++i) {
    std::string word;
    for (unsigned k = 0, n = 1 + rng() % 90; k < n; ++k) word += "unrelatd"[rng() % 8];
    words.push_back(word.substr(0, i % 3 == 0 ? 3 : word.npos));
  }
  for (int pass = 0; pass < 2; ++pass)
    for (const auto& word : words) {
      Ids plain, cached;
      bpe.encode(word, plain);
      cache.encode(word, cached);
      ASSERT_EQ(plain, cached) << word;
    }
}

struct BadModel {
  Json model;
  std::string sentence;
};
Json changed(const std::string& key, Json value) {
  Json model = unrelated();
  model[key] = std::move(value);
  return model;
}

TEST(BpeErrors, NameFileKeyAndReason) {
  const BadModel cases[] = {
      {changed("type", "Unigram"),
       "t.json: model.type: the model \"Unigram\" is not supported; "
       "supported are BPE."},
      {changed("dropout", 0.1), "t.json: model.dropout: is 0.1: with dropout"},
      {changed("unk_token", "<u>"), "t.json: model.unk_token: \"<u>\" is not in model.vocab."},
      {changed("end_of_word_suffix", "</w>"),
       "model.end_of_word_suffix: is \"</w>\"; only an empty"},
      {changed("continuing_subword_prefix", "##"), "model.continuing_subword_prefix: is \"##\""},
      {changed("byte_fallback", 1), "model.byte_fallback: must be true or false, is number."},
      {changed("shuffle", true), "model.shuffle: is not a member that this program knows."},
      {changed("vocab", Json::object()), "model.vocab: the vocabulary is empty."},
      {changed("vocab", {{"a", -1}}), "model.vocab.a: must be a whole number from 0"},
      {changed("vocab", {{"a", 1}, {"b", 1}}), "two tokens have the id 1: \"a\" and \"b\"."},
      {changed("vocab", Json::array()), "model.vocab: must be an object, is array."},
      {changed("merges", "r e"), "model.merges: must be an array, is string."},
      {changed("merges", Json::array({"r e", "re"})),
       "model.merges[1]: must be two tokens with one space"},
      {changed("merges", Json::array({"r e l"})),
       "model.merges[0]: must be two tokens with one space"},
      {changed("merges", Json::array({7})),
       "model.merges[0]: must be a string or a pair of strings."},
      {changed("merges", Json::array({Json::array({"r"})})),
       "model.merges[0]: must be a string or a pair"},
      {changed("merges", Json::array({"r x"})),
       "model.merges[0]: the token \"x\" is not in model.vocab."},
      {changed("merges", Json::array({"d d"})),
       "model.merges[0]: the token \"dd\" is not in model.vocab."},
  };
  for (const BadModel& c : cases) {
    Error e = error_of([&] { bpe_of(c.model); });
    EXPECT_EQ(e.code(), Code::config_invalid);
    EXPECT_EQ(e.file(), "t.json");
    EXPECT_THAT(e.sentence(), HasSubstr(c.sentence));
    EXPECT_FALSE(e.advice().empty());
  }
}

TEST(BpeErrors, IdTooHigh) {
  Error e = error_of([] { bpe_of(changed("vocab", {{"a", 4194304}})); });
  EXPECT_EQ(e.code(), Code::limit_exceeded);
  EXPECT_EQ(e.sentence(),
            "t.json: model.vocab.a: the token id is too high: expected at most 4194303, found "
            "4194304.");
}

}  // namespace
}  // namespace wb
