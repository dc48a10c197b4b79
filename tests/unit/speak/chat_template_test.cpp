// What templates may not do: every refusal by its sentence, every limit reached; and what a
// folder says of chats. That templates render as Jinja renders them is tested beside Jinja
// (tests/blackbox/chat_template_test.py).
#include "speak/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "speak/jinja_bounds.h"
#include "tokenizer/tokenizer.h"
#include "unit/error_of.h"

namespace wb::speak {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

std::string render(const std::string& text, const Json& variables = Json::object()) {
  return ChatTemplate(text, "t.jinja").render(variables);
}

// The error that reading or rendering throws.
Error failure(const std::string& text, const Json& variables = Json::object()) {
  return error_of([&] { render(text, variables); }, text.substr(0, 200));
}

std::string repeat(const std::string& part, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) out += part;
  return out;
}

TEST(ChatTemplate, RefusalsNameTemplateLineAndWhatWasMet) {
  const std::pair<const char*, const char*> cases[] = {
      {"a\n\n{{ x|nope }}", "line 3 of the chat template: the filter \"nope\""},
      {"{{ 1 is nope }}", "the test \"nope\""},
      {"{{ 'a'.isdigit() }}", "the method isdigit of a str"},
      {"{{ {}.update }}", "the method update is named and not called"},
      {"{% include 'x' %}", "the tag \"include\""},
      {"\n{% raw %}{% endraw %}", "line 2 of the chat template: {% raw %}"},
      {"{% for x in [] recursive %}{% endfor %}", "recursive"},
      {"{{ 2 ** 3 }}", "the power **"},
      {"{{ '%s' % 1 }}", "not formatted with %"},
      {"{{ strftime_now('%Y') }}", "asks for the date"},
      {"{{ 'é'|upper }}", "upper and lower case of U+00E9"},
      {"{{ 9223372036854775807 + 1 }}", "more than 63 bits"},
      {"{{ 9223372036854775808 }}", "too large"},
      {"{{ range(3)|tojson }}", "does not know how to write a range"},
      {"{{ [namespace()] }}", "a namespace cannot be kept in a list"},
      {"{% set n = namespace() %}{% set n.n = n %}", "a namespace cannot be kept in a list"},
      {"{% for x in [1] %}{% macro m() %}{% endmacro %}{% endfor %}", "outermost level"},
      {"{{ f(*[1]) }}", "arguments by * and **"},
      {"{{ [1]|join(',', by=2) }}", "the filter join has no argument \"by\""},
      {"{{ 'a'|trim('b', 2) }}", "the filter trim takes 1 arguments"},
      {"{{ ''.__class__ }}", "__class__"},
      {"{{ x.y }}", "'x' is undefined"},
      {"{% if x %}\n\n", "line 1 of the chat template: the tag \"endif\""},
      {"\n{{ 'abc", "line 2 of the chat template: a text in quotes has no end"}};
  for (const auto& [text, words] : cases) {
    const Error error = failure(text);
    EXPECT_EQ(error.code(), Code::config_invalid) << text;
    EXPECT_THAT(error.sentence(), HasSubstr(words)) << text;
    EXPECT_EQ(error.file(), "t.jinja");
    EXPECT_THAT(error.advice(), HasSubstr("docs/chat.md")) << text;
  }
}

TEST(ChatTemplate, WhatTheTemplateItselfRefusesIsTheCallersMistake) {
  const Error error = failure("{{ raise_exception('roles must alternate') }}");
  EXPECT_EQ(error.code(), Code::usage);
  EXPECT_THAT(error.sentence(), HasSubstr("refuses the conversation: roles must alternate"));
}

TEST(ChatTemplate, LimitsHold) {
  const std::string deep_list =
      "{% set n = namespace(l=[]) %}{% for i in range(200) %}{% set n.l = [n.l] %}{% endfor %}";
  const std::string doubling =
      "{% set n = namespace(l=['x']) %}{% for i in range(90) %}{% set n.l = [n.l, n.l] %}"
      "{% endfor %}";
  const std::string text_doubling =
      "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}";
  const std::string cases[] = {
      repeat("x", jinja::kMaxTemplate + 1),
      "{{ " + repeat("(", 5000) + "1" + repeat(")", 5000) + " }}",
      "{{ " + repeat("[", 5000) + repeat("]", 5000) + " }}",
      "{{ " + repeat("-", 5000) + "1 }}",
      "{{ " + repeat("not ", 5000) + "1 }}",
      "{{ 1" + repeat(" + 1", 5000) + " }}",
      "{{ x" + repeat("|trim", 5000) + " }}",
      "{{ x" + repeat(".a", 5000) + " }}",
      "{{ 1" + repeat(" if 1 else 1", 5000) + " }}",
      "{{ 1" + repeat(" if 1", 5000) + " }}",
      repeat("{% if 1 %}", 5000),
      "{% set a %}" + repeat("{% for x in [] %}", 5000),
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{% macro f() %}{% set a %}{{ f() }}{% endset %}{% endmacro %}{{ f() }}",
      deep_list,
      doubling + "{{ n.l }}",
      doubling + "{{ n.l|tojson }}",
      doubling + "{% set a = n.l %}" + doubling + "{{ n.l == a }}",
      text_doubling,
      "{{ 'x' * 1000000000000 }}",
      "{{ [1] * 1000000000000 }}",
      "{{ range(1000000) }}",
      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
      "{% set s = 'x' * 10000000 %}{% for a in range(100000) %}{% if 'y' in s %}{% endif %}{% "
      "endfor %}",
      "{% set s = 'x' * 10000000 %}{% for a in range(100000) %}{{ s }}{% endfor %}",
      "{% set s = 'x' * 10000000 %}{% for a in range(100000) %}{{ s|length }}{% endfor %}",
      "{{ ('a' * 1000000).rsplit('a' * 400000 ~ 'b') }}",
      "{{ ('a' * 1000000).strip('ab' * 400000) }}",
      "{{ 'a'|indent(1000) ~ ('\\n' * 1000000)|indent(1000, blank=true) }}",
      "{{ ('x' * 100000)|replace('', 'y' * 100000) }}",
      "{{ ('x,' * 100000).split(',')|join('y' * 100000) }}"};
  for (const std::string& text : cases) {
    const Error error = failure(text);
    EXPECT_EQ(error.code(), Code::limit_exceeded) << text.substr(0, 200) << error.sentence();
    EXPECT_THAT(error.sentence(), HasSubstr("of the chat template: more than"));
  }
}

TEST(ChatTemplate, DeepJsonIsRefusedAndBrokenTextRepaired) {
  Json deep = "x";
  for (int i = 0; i < 200; ++i) deep = Json::array({deep});
  EXPECT_EQ(failure("{{ x }}", {{"x", deep}}).code(), Code::limit_exceeded);
  EXPECT_EQ(render("{{ x }}|{{ x|length }}", {{"x", "a\xFF\xC3"}}), "a\uFFFD\uFFFD|3");
  EXPECT_EQ(failure("{{ x }}", {{"x", UINT64_MAX}}).code(), Code::config_invalid);
}

class ChatFormatTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder = fs::temp_directory_path() /
             ("weightbridge-chat-" + std::to_string(reinterpret_cast<std::uintptr_t>(this)));
    fs::create_directories(folder);
  }
  void TearDown() override { fs::remove_all(folder); }
  void write(const char* name, const std::string& text) {
    std::ofstream(folder / name, std::ios::binary) << text;
  }
  fs::path folder;
  const Json messages = {{{"role", "user"}, {"content", "hi"}}};
};

TEST_F(ChatFormatTest, NothingWithoutATemplate) {
  EXPECT_FALSE(chat_format_of(folder));
  write("tokenizer_config.json", R"({"chat_template": null, "bos_token": "<s>"})");
  EXPECT_FALSE(chat_format_of(folder));
}

TEST_F(ChatFormatTest, AFileOfItsOwnComesFirst) {
  write("tokenizer_config.json", R"({"chat_template": "config", "bos_token": "<s>",
                                     "eos_token": {"content": "</s>", "lstrip": false}})");
  const auto config = chat_format_of(folder / "tokenizer.json");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->prompt(messages), "config");
  EXPECT_EQ(config->bos_token, "<s>");
  EXPECT_EQ(config->eos_token, "</s>");
  write("chat_template.jinja",
        "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ tools is none }}"
        "{% if add_generation_prompt %}>{% endif %}\n");
  const auto own = chat_format_of(folder);
  ASSERT_TRUE(own);
  EXPECT_EQ(own->prompt(messages), "<s>hi</s>True>");
  EXPECT_EQ(own->prompt(messages, false), "<s>hi</s>True");
}

TEST_F(ChatFormatTest, NamedTemplatesAndTokensOfTheMap) {
  write("tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "no"},
                                                       {"name": "default", "template": "{{ unk_token }}yes"}]})");
  write("special_tokens_map.json", R"({"bos_token": "<b>", "unk_token": {"content": "<u>"}})");
  const auto format = chat_format_of(folder);
  ASSERT_TRUE(format);
  EXPECT_EQ(format->prompt(messages), "<u>yes");
  EXPECT_EQ(format->bos_token, "<b>");
  EXPECT_EQ(format->eos_token, "");
}

TEST_F(ChatFormatTest, FilesThatCannotBeReadAreNamed) {
  const auto code = [&] {
    try {
      chat_format_of(folder);
    } catch (const Error& error) {
      EXPECT_EQ(error.file(), (folder / "tokenizer_config.json").string());
      return error.code();
    }
    return Code::usage;
  };
  for (const char* text : {"{", "[]", R"({"chat_template": 3})", R"({"chat_template": []})",
                           R"({"chat_template": [{"name": "rag", "template": "x"}]})",
                           R"({"chat_template": "{{ x|nope"})"}) {
    write("tokenizer_config.json", text);
    EXPECT_EQ(code(), Code::config_invalid) << text;
  }
}

// A rendered text holds the special tokens as text: they must come back as these tokens, once.
TEST(ChatTokens, SpecialTokensOfARenderedTextAreRecognised) {
  const Tokenizer tokenizer =
      Tokenizer::load(std::string(WB_SOURCE_DIR) + "/tests/fixtures/tokenizer/deepseek_v3.json");
  const auto bos = tokenizer.token_id("<｜begin▁of▁sentence｜>");
  const auto think = tokenizer.token_id("<think>");
  ASSERT_TRUE(bos && think);
  const std::string text =
      render("{{ bos_token }}{% for m in messages %}User: {{ m.content }}{% endfor %}<think>",
             {{"messages", {{{"role", "user"}, {"content", "hello there"}}}},
              {"bos_token", "<｜begin▁of▁sentence｜>"}});
  const auto ids = tokenizer.encode(text);
  EXPECT_EQ(ids.front(), *bos);
  EXPECT_EQ(ids.back(), *think);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), *bos), 1);
  EXPECT_EQ(tokenizer.decode(ids), text);
}

}  // namespace
}  // namespace wb::speak
