// Shared by the tokenizer's tests: small tokenizer.json texts.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "tokenizer/json_node.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"
#include "unit/error_of.h"

namespace wb::testing_tokenizer {

using Ids = std::vector<std::uint32_t>;
using Json = nlohmann::json;

// A tokenizer.json with this model and nothing else; add to it before parsing.
inline Json file_with(Json model) {
  return {{"version", "1.0"},          {"truncation", nullptr},
          {"padding", nullptr},        {"added_tokens", Json::array()},
          {"normalizer", nullptr},     {"pre_tokenizer", nullptr},
          {"post_processor", nullptr}, {"decoder", nullptr},
          {"model", std::move(model)}};
}

inline Tokenizer parse(const Json& file) { return Tokenizer::parse(file.dump(), "t.json"); }

inline Json added(std::uint32_t id, const std::string& content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

// A random text of characters that tokenizers stumble over: letters and digits of several
// scripts, white space of every kind, punctuation, controls, emoji with joiners.
inline std::string random_text(std::mt19937& rng, int length) {
  static const std::vector<std::string> kParts = {"a",
                                                  "b",
                                                  "the",
                                                  "Z",
                                                  "'",
                                                  "'s",
                                                  "'ll",
                                                  "'re",
                                                  "'x",
                                                  "0",
                                                  "1",
                                                  "42",
                                                  "²",
                                                  "½",
                                                  "Ⅷ",
                                                  "٣",
                                                  " ",
                                                  "  ",
                                                  "\t",
                                                  "\n",
                                                  "\r\n",
                                                  "\xC2\xA0",
                                                  "\xE2\x80\x83",
                                                  "\xE3\x80\x80",
                                                  "\xC2\x85",
                                                  "\v",
                                                  "\f",
                                                  std::string(1, '\0'),
                                                  "\x01",
                                                  "\x7F",
                                                  "é",
                                                  "ß",
                                                  "Ж",
                                                  "ñ",
                                                  "中",
                                                  "文",
                                                  "かな",
                                                  "カ",
                                                  "한",
                                                  "글",
                                                  "🙂",
                                                  "👩‍👩‍👧",
                                                  "🇩🇪",
                                                  "e\xCC\x81",
                                                  "\xE2\x80\x8D",
                                                  "!",
                                                  "?!",
                                                  "...",
                                                  "—",
                                                  "，",
                                                  "。",
                                                  "_",
                                                  "-",
                                                  "$",
                                                  "€",
                                                  "+",
                                                  "\xEF\xBB\xBF",
                                                  "\xEF\xBF\xBD",
                                                  "𝒳",
                                                  "\xF4\x8F\xBF\xBF"};
  std::string text;
  std::uniform_int_distribution<std::size_t> pick(0, kParts.size() - 1);
  for (int i = 0; i < length; ++i) text += kParts[pick(rng)];
  return text;
}

}  // namespace wb::testing_tokenizer
