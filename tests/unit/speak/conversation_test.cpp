// Conversations on the sample: what is computed again, what is taken back, what is dropped, and
// what stays after an error. That answers are those of the rendered text is tested through the
// program (tests/blackbox/chat_test.py).
#include "speak/conversation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "unit/runtime/runtime_fixture.h"

namespace wb::speak {
namespace {

using ::testing::HasSubstr;

class SampleConversation : public ::testing::Test {
 protected:
  const Checkpoint source = open_checkpoint(sample("tiny-deepseek.pt"));
  const CanonicalModel model = ReferenceLayout(source, 2).build();
  engine::Engine engine{model, {.threads = 2}};
  const Tokenizer tokenizer = Tokenizer::load(sample("tokenizer.json"));
  const ChatFormat format{
      ChatTemplate("{% for m in messages %}{% if m.content == 'no' %}{{ raise_exception('no') }}"
                   "{% endif %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
                   "{% if add_generation_prompt %}assistant:{% endif %}",
                   "t.jinja"),
      "", "", Json::object()};
  const AnswerOptions brief{.sampling = {}, .max_tokens = 6, .stops = {}};

  Conversation talk(std::size_t context = 0) {
    return {engine, tokenizer, &format, {.context = context}};
  }
  std::vector<std::string> contents(const Conversation& c) {
    std::vector<std::string> out;
    for (const Message& m : c.messages()) out.push_back(m.content);
    return out;
  }
};

TEST_F(SampleConversation, OnlyWhatIsNewIsComputed) {
  Conversation c = talk();
  EXPECT_EQ(c.context(), 256u);
  EXPECT_EQ(c.tokens_in_use(), 0u);
  std::string streamed;
  AnswerListener listener;
  listener.text = [&](std::string_view part) { streamed += part; };
  const SpokenAnswer first = c.answer("In the beginning", brief, listener);
  EXPECT_EQ(streamed, first.text);
  EXPECT_EQ(first.end, AnswerEnd::length);
  EXPECT_EQ(first.tokens.size(), 6u);
  EXPECT_EQ(first.stats.reused, 0u);
  EXPECT_GT(c.tokens_in_use(), first.stats.prompt_tokens);
  const SpokenAnswer second = c.answer("And then", brief, {});
  EXPECT_GE(second.stats.reused + 2, first.stats.prompt_tokens);
  EXPECT_GT(second.stats.prompt_tokens, first.stats.prompt_tokens + 6);
}

TEST_F(SampleConversation, WhatIsStoppedBeforeItBeganIsTakenBack) {
  Conversation c = talk();
  c.answer("One", brief, {});
  const auto before = contents(c);
  AnswerListener impatient;
  impatient.stop = [] { return true; };
  EXPECT_TRUE(c.answer("Two", brief, impatient).taken_back);
  EXPECT_EQ(contents(c), before);
  EXPECT_TRUE(c.answer_again(brief, impatient)->taken_back);
  EXPECT_EQ(contents(c), before);
  std::size_t asked = 0;
  impatient.stop = [&] { return ++asked > 3; };
  const SpokenAnswer cut = c.answer("Two", brief, impatient);
  EXPECT_EQ(cut.end, AnswerEnd::stopped);
  EXPECT_FALSE(cut.taken_back);
  EXPECT_EQ(contents(c).back(), cut.text);
}

TEST_F(SampleConversation, AfterAnErrorNothingWasSaid) {
  Conversation c = talk();
  EXPECT_FALSE(c.answer_again(brief, {}).has_value());
  const SpokenAnswer one = c.answer("One", brief, {});
  EXPECT_THROW(c.answer("no", brief, {}), Error);
  EXPECT_EQ(contents(c), (std::vector<std::string>{"One", one.text}));
  c.set_messages({{"user", "no"}, {"assistant", "No?"}});
  EXPECT_THROW(c.answer_again(brief, {}), Error);
  EXPECT_EQ(contents(c), (std::vector<std::string>{"no", "No?"}));
}

TEST_F(SampleConversation, TheOldestTurnsAreDroppedAndKept) {
  Conversation c = talk(/*context=*/60);
  std::size_t dropped = 0, slides = 0;
  AnswerListener listener;
  listener.dropped = [&](std::size_t turns) { dropped += turns; };
  listener.slides = [&] { ++slides; };
  for (int i = 0; i < 8; ++i) {
    const SpokenAnswer a = c.answer("And it came to pass", brief, listener);
    EXPECT_LE(a.stats.prompt_tokens + a.tokens.size(), 60u);
    EXPECT_LE(c.tokens_in_use(), 60u);
  }
  EXPECT_GT(dropped, 3u);
  EXPECT_EQ(slides, 0u);
  EXPECT_EQ(c.messages().size(), 16u);
  std::string text;
  for (int i = 0; i < 100; ++i) text += "word ";
  try {
    c.answer(text, brief, listener);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::limit_exceeded);
    EXPECT_THAT(error.sentence(), HasSubstr("does not fit the context"));
  }
  EXPECT_EQ(c.messages().size(), 16u);
  Conversation whole = talk();  // learned positions slide
  for (int i = 0; i < 3; ++i) text += text;
  EXPECT_EQ(whole.answer(text, brief, listener).end, AnswerEnd::length);
  EXPECT_EQ(slides, 1u);
}

TEST_F(SampleConversation, MessagesTakeTurns) {
  Conversation c = talk();
  const std::vector<std::vector<Message>> wrong = {
      {{"user", "a"}}, {{"assistant", "a"}, {"user", "b"}}, {{"user", "a"}, {"user", "b"}}};
  for (const auto& messages : wrong) {
    EXPECT_THROW(c.set_messages(messages), Error);
    EXPECT_TRUE(c.messages().empty());
  }
  c.set_messages({});
  c.set_messages({{"user", "a"}, {"assistant", "b"}});
  EXPECT_EQ(contents(c), (std::vector<std::string>{"a", "b"}));
}

}  // namespace
}  // namespace wb::speak
