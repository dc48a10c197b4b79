// JSON of strangers: bounds, keys that are there twice, and what the messages name.
#include "base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "unit/error_of.h"

namespace wb {
namespace {

using nlohmann::json;
using testing::HasSubstr;

Error error_of(const std::string& text, const JsonLimits& limits = {}) {
  Error error = wb::error_of([&] { parse_json(text, "some/config.json", "Do this.", limits); },
                             text.substr(0, 40));
  EXPECT_EQ(error.file(), "some/config.json");
  EXPECT_EQ(error.advice(), "Do this.");
  return error;
}

TEST(Json, IsWhatTheLibraryReads) {
  for (const char* text :
       {"{}", "[]", "1", "-3", "1.5", "1e300", "\"\\u00e9\\n\"", "null", "true", "false", "[[],{}]",
        R"({"a": [1, {"b": null, "c": [2.5, "x"]}], "d": {"e": {"f": -7}}, "g": []})"}) {
    EXPECT_EQ(parse_json(text, "f", "a"), json::parse(text)) << text;
  }
  EXPECT_TRUE(parse_json("18446744073709551615", "f", "a").is_number_unsigned());
}

TEST(Json, WhatIsNoneNamesTheFileAndThePlace) {
  EXPECT_EQ(error_of("{\"a\": ").code(), Code::config_invalid);
  EXPECT_THAT(error_of("{\"a\": ").sentence(),
              HasSubstr("some/config.json: is not JSON: parse error at line 1, column 7"));
  EXPECT_THAT(error_of("{\"a\": NaN}").sentence(), HasSubstr("invalid literal"));
  EXPECT_THAT(error_of("{\"a\": 1e999}").sentence(), HasSubstr("number overflow"));
  EXPECT_THAT(error_of("{\"a\": \"\xff\"}").sentence(), HasSubstr("ill-formed UTF-8"));
  EXPECT_THAT(error_of("{} {}").sentence(), HasSubstr("is not JSON"));
  EXPECT_THAT(error_of("").sentence(), HasSubstr("unexpected end of input"));
  EXPECT_THAT(error_of(std::string("{}\0{\"b\": 1}", 11)).sentence(), HasSubstr("a NUL byte"));
}

TEST(Json, AKeyTwiceIsRefusedWhereverItStands) {
  EXPECT_THAT(error_of(R"({"a": 1, "a": 2})").sentence(),
              HasSubstr("has the key \"a\" twice in one object"));
  EXPECT_THAT(error_of(R"([{"x": {"b": 1, "c": [], "b": 1}}])").sentence(),
              HasSubstr("has the key \"b\" twice"));
  EXPECT_NO_THROW(parse_json(R"([{"a": 1}, {"a": {"a": 2}}])", "f", "a"));
  EXPECT_THAT(error_of("{\"\\u001b[2J\": 1, \"\\u001b[2J\": 2}").sentence(), HasSubstr("\\x1b[2J"));
}

TEST(Json, NestingValuesAndBytesHaveBounds) {
  const JsonLimits limits{.bytes = 100, .depth = 3, .values = 5};
  EXPECT_NO_THROW(parse_json("[[[]]]", "f", "a", limits));
  Error e = error_of("[[[[]]]]", limits);
  EXPECT_EQ(e.code(), Code::limit_exceeded);
  EXPECT_THAT(e.sentence(), HasSubstr("nests too deep: expected at most 3 levels"));
  EXPECT_EQ(error_of("{\"a\":[{\"b\":[]}]}", limits).code(), Code::limit_exceeded);
  EXPECT_NO_THROW(parse_json("[1,2,3,4]", "f", "a", limits));
  e = error_of("[1,2,3,4,5]", limits);
  EXPECT_EQ(e.code(), Code::limit_exceeded);
  EXPECT_THAT(e.sentence(), HasSubstr("too many values: expected at most 5"));
  e = error_of(std::string(101, ' '), limits);
  EXPECT_EQ(e.code(), Code::limit_exceeded);
  EXPECT_THAT(e.sentence(), HasSubstr("at most 100 bytes, found 101"));
  // Far beyond what a parser that recurses would survive.
  EXPECT_EQ(error_of(std::string(1 << 20, '[')).code(), Code::limit_exceeded);
}

TEST(Json, AMemberThatIsNoTextIsNotTaken) {
  const json value = json::parse(R"({"a": "x", "b": 1, "c": null})");
  EXPECT_EQ(text_member(value, "a"), "x");
  EXPECT_EQ(text_member(value, "b", "other"), "other");
  EXPECT_EQ(text_member(value, "d"), "");
  EXPECT_EQ(text_member(json::parse("[1]"), "a", "other"), "other");
}

}  // namespace
}  // namespace wb
