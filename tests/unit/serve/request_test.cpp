// Bodies as clients send them, and everything that may be wrong with one: each refusal names the
// field and says what it has to be.
#include "serve/request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace wb::serve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Ask completion(const std::string& body) {
  const auto parsed = parse_request(Endpoint::completions, body);
  if (const auto* refusal = std::get_if<Refusal>(&parsed)) {
    ADD_FAILURE() << body << ": " << refusal->message;
    return {};
  }
  return std::get<Ask>(parsed);
}
Ask chat(const std::string& body) {
  const auto parsed = parse_request(Endpoint::chat, body);
  if (const auto* refusal = std::get_if<Refusal>(&parsed)) {
    ADD_FAILURE() << body << ": " << refusal->message;
    return {};
  }
  return std::get<Ask>(parsed);
}
Refusal refused(Endpoint endpoint, const std::string& body, const RequestLimits& limits = {}) {
  const auto parsed = parse_request(endpoint, body, limits);
  const auto* refusal = std::get_if<Refusal>(&parsed);
  EXPECT_NE(refusal, nullptr) << body << " was taken";
  return refusal == nullptr ? Refusal{} : *refusal;
}

TEST(Body, HoldsNoNul) {
  const Refusal refusal =
      refused(Endpoint::completions, std::string("{\"prompt\": \"a\"}\0{}", 18));
  EXPECT_EQ(refusal.code, "invalid_json");
  EXPECT_THAT(refusal.message, testing::HasSubstr("a NUL byte"));
}

TEST(Request, DefaultsAreOpenAIs) {
  const Ask ask = completion(R"({"prompt": "Once"})");
  EXPECT_EQ(ask.model, "");
  EXPECT_THAT(ask.prompts, ElementsAre(Prompt("Once")));
  EXPECT_EQ(ask.max_tokens, std::nullopt);
  EXPECT_EQ(ask.sampling.temperature, 1.0);
  EXPECT_EQ(ask.sampling.top_p, 1.0);
  EXPECT_EQ(ask.n, 1u);
  EXPECT_FALSE(ask.stream || ask.echo || ask.include_usage || ask.token_ids || ask.seeded);
  EXPECT_FALSE(ask.logprobs);
  EXPECT_TRUE(ask.stop.empty());
}

TEST(Request, EveryFieldOfCompletions) {
  const Ask ask = completion(
      R"({"model": "m", "prompt": ["a", "b"], "max_tokens": 7, "temperature": 0.5, "top_p": 0.9,
          "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1, "stop": ["x", "y"], "seed": -1,
          "n": 2, "stream": true, "stream_options": {"include_usage": true}, "echo": true,
          "return_token_ids": true, "user": "me", "presence_penalty": 0, "best_of": 2,
          "logit_bias": {}, "suffix": null})");
  EXPECT_EQ(ask.model, "m");
  EXPECT_THAT(ask.prompts, ElementsAre(Prompt("a"), Prompt("b")));
  EXPECT_EQ(ask.max_tokens, 7u);
  EXPECT_EQ(ask.sampling.temperature, 0.5);
  EXPECT_EQ(ask.sampling.top_p, 0.9);
  EXPECT_EQ(ask.sampling.top_k, 40u);
  EXPECT_EQ(ask.sampling.min_p, 0.05);
  EXPECT_EQ(ask.sampling.repetition_penalty, 1.1);
  EXPECT_EQ(ask.sampling.seed, 0xffffffffffffffff) << "negative seeds are their two's complement";
  EXPECT_TRUE(ask.seeded && ask.stream && ask.include_usage && ask.echo && ask.token_ids);
  EXPECT_THAT(ask.stop, ElementsAre("x", "y"));
  EXPECT_EQ(ask.n, 2u);
}

TEST(Request, PromptsOfTokens) {
  using Ids = std::vector<std::uint32_t>;
  EXPECT_THAT(completion(R"({"prompt": [1, 2, 3]})").prompts, ElementsAre(Prompt(Ids{1, 2, 3})));
  EXPECT_THAT(completion(R"({"prompt": [[1], [2, 3]]})").prompts,
              ElementsAre(Prompt(Ids{1}), Prompt(Ids{2, 3})));
}

TEST(Request, ConversationsInEveryShape) {
  const Ask ask = chat(
      R"({"messages": [{"role": "developer", "content": "Be brief."},
          {"role": "user", "content": [{"type": "text", "text": "Good "}, {"type": "text", "text": "day"}]},
          {"role": "assistant", "content": "Hello", "refusal": null, "annotations": []},
          {"role": "user", "content": "", "name": "ann"}],
          "max_completion_tokens": 3, "logprobs": true, "top_logprobs": 2, "tools": [], "tool_choice": "none",
          "response_format": {"type": "text"}})");
  const nlohmann::ordered_json wanted = {{{"role", "system"}, {"content", "Be brief."}},
                                         {{"role", "user"}, {"content", "Good day"}},
                                         {{"role", "assistant"}, {"content", "Hello"}},
                                         {{"role", "user"}, {"content", ""}}};
  EXPECT_EQ(ask.messages, wanted);
  EXPECT_EQ(ask.max_tokens, 3u);
  EXPECT_EQ(ask.logprobs, 2u);
  EXPECT_FALSE(
      chat(R"({"messages": [{"role": "user", "content": "a"}], "logprobs": false})").logprobs);
}

struct Bad {
  Endpoint endpoint;
  const char* body;
  const char* param;
  const char* says;
};
constexpr Endpoint kText = Endpoint::completions, kChat = Endpoint::chat;

class BadRequest : public ::testing::TestWithParam<Bad> {};

TEST_P(BadRequest, SaysWhatIsWrongAndWhere) {
  const Bad& bad = GetParam();
  const Refusal refusal = refused(bad.endpoint, bad.body);
  EXPECT_EQ(refusal.status, 400);
  EXPECT_EQ(refusal.type, "invalid_request_error");
  EXPECT_EQ(refusal.param, bad.param) << refusal.message;
  EXPECT_THAT(refusal.message, HasSubstr(bad.says));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadRequest,
    ::testing::Values(
        Bad{kText, "", "", "empty"}, Bad{kText, " \n", "", "empty"},
        Bad{kText, "{\"prompt\": \"a\"", "", "line 1, column"},
        Bad{kText, "prompt=a", "", "not JSON"},
        Bad{kText, "[1]", "", "has to be a JSON object; it is a list of 1"},
        Bad{kText, "{\"prompt\": \"\xff\"}", "", "not JSON"},
        Bad{kText, "{\"prompt\": \"a\"} x", "", "not JSON"},
        Bad{kText, "{\"prompt\": \"a\", \"seed\": 1e999}", "", "not JSON"},
        Bad{kText, R"({"prompt": "a", "prompt": "b"})", "prompt", "twice"},
        Bad{kText, R"({"a": [[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]})", "", "18 deep"},
        Bad{kText, "{}", "prompt", "'prompt' is missing"},
        Bad{kText, R"({"prompt": null})", "prompt", "'prompt' is missing"},
        Bad{kText, R"({"prompt": 5})", "prompt",
            "a list of token ids, or a list of such lists; it is 5"},
        Bad{kText, R"({"prompt": []})", "prompt", "it is a list of 0"},
        Bad{kText, R"({"prompt": [{}]})", "prompt", "it is an object"},
        Bad{kText, R"({"prompt": ["a", 1]})", "prompt[1]", "a string; it is 1"},
        Bad{kText, R"({"prompt": [1, -1]})", "prompt[1]", "4294967295; it is -1"},
        Bad{kText, R"({"prompt": [1, "a"]})", "prompt[1]", "it is \"a\""},
        Bad{kText, R"({"prompt": [[1], []]})", "prompt[1]", "a list of token ids"},
        Bad{kText, R"({"prompt": "a", "max_tokens": 0})", "max_tokens", "1 or more; it is 0"},
        Bad{kText, R"({"prompt": "a", "max_tokens": 1.5})", "max_tokens", "it is 1.5"},
        Bad{kText, R"({"prompt": "a", "max_tokens": "9"})", "max_tokens", "it is \"9\""},
        Bad{kText, R"({"prompt": "a", "temperature": -0.1})", "temperature",
            "from 0 to 100; it is -0.1"},
        Bad{kText, R"({"prompt": "a", "temperature": "hot"})", "temperature", "a number"},
        Bad{kText, R"({"prompt": "a", "top_p": 0})", "top_p", "above 0 and at most 1; it is 0"},
        Bad{kText, R"({"prompt": "a", "min_p": 1.5})", "min_p", "from 0 to 1"},
        Bad{kText, R"({"prompt": "a", "top_k": -2})", "top_k", "it is -2"},
        Bad{kText, R"({"prompt": "a", "repetition_penalty": 0})", "repetition_penalty", "above 0"},
        Bad{kText, R"({"prompt": "a", "seed": 1.5})", "seed", "a whole number"},
        Bad{kText, R"({"prompt": "a", "stop": 1})", "stop", "a string"},
        Bad{kText, R"({"prompt": "a", "stop": [""]})", "stop[0]", "1 to 256 bytes"},
        Bad{kText, R"({"prompt": "a", "n": 0})", "n", "from 1 to 16"},
        Bad{kText, R"({"prompt": ["a", "b", "c"], "n": 6})", "prompt", "18 texts; at most 16"},
        Bad{kText, R"({"prompt": "a", "stream": 1})", "stream", "true or false; it is 1"},
        Bad{kText, R"({"prompt": "a", "stream_options": {}})", "stream_options",
            "\"stream\": true"},
        Bad{kText, R"({"prompt": "a", "stream": true, "stream_options": {"x": 1}})",
            "stream_options.x", "not known"},
        Bad{kText, R"({"prompt": "a", "logprobs": true})", "logprobs", "from 0 to 20"},
        Bad{kText, R"({"prompt": "a", "logprobs": 1, "echo": true})", "logprobs", "one of the two"},
        Bad{kText, R"({"prompt": "a", "presence_penalty": 0.5})", "presence_penalty",
            "not supported"},
        Bad{kText, R"({"prompt": "a", "suffix": "b"})", "suffix", "not supported"},
        Bad{kText, R"({"prompt": "a", "best_of": 3})", "best_of", "not supported"},
        Bad{kText, R"({"prompt": "a", "temprature": 1})", "temprature",
            "\"temprature\" is not known"},
        Bad{kText, R"({"prompt": "a", "messages": []})", "messages", "not known"},
        Bad{kText, R"({"prompt": "a", "model": 1})", "model", "a string; it is 1"},
        Bad{kChat, R"({"prompt": "a"})", "prompt", "not known"},
        Bad{kChat, R"({"messages": []})", "messages", "1 to 4096 messages; it is a list of 0"},
        Bad{kChat, R"({"messages": ["a"]})", "messages[0]", "an object with role and content"},
        Bad{kChat, R"({"messages": [{"content": "a"}]})", "messages[0].role", "missing"},
        Bad{kChat, R"({"messages": [{"role": "user"}]})", "messages[0].content", "missing"},
        Bad{kChat,
            R"({"messages": [{"role": "user", "content": "a"}, {"role": "king", "content": "a"}]})",
            "messages[1].role", "it is \"king\""},
        Bad{kChat, R"({"messages": [{"role": "tool", "content": "a"}]})", "messages[0].role",
            "no tools"},
        Bad{kChat, R"({"messages": [{"role": "user", "content": 1}]})", "messages[0].content",
            "it is 1"},
        Bad{kChat, R"({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})",
            "messages[0].content[0].type", "text alone"},
        Bad{kChat, R"({"messages": [{"role": "user", "content": [{"type": "text"}]}]})",
            "messages[0].content[0].text", "missing"},
        Bad{kChat, R"({"messages": [{"role": "assistant", "content": "", "tool_calls": [{}]}]})",
            "messages[0].tool_calls", "not taken"},
        Bad{kChat, R"({"messages": [{"role": "user", "content": "a"}], "tools": [{}]})", "tools",
            "not supported"},
        Bad{kChat, R"({"messages": [{"role": "user", "content": "a"}], "top_logprobs": 2})",
            "top_logprobs", "\"logprobs\": true"},
        Bad{kChat,
            R"({"messages": [{"role": "user", "content": "a"}], "max_tokens": 1, "max_completion_tokens": 2})",
            "max_completion_tokens", "differ"}));

TEST(Request, BoundsAreTheCallers) {
  RequestLimits limits;
  limits.choices = 2;
  EXPECT_EQ(refused(kText, R"({"prompt": "a", "n": 3})", limits).param, "n");
  limits.stops = 1;
  EXPECT_EQ(refused(kText, R"({"prompt": "a", "stop": ["a", "b"]})", limits).param, "stop");
  limits.messages = 1;
  EXPECT_EQ(refused(kChat, R"({"messages": [1, 2]})", limits).param, "messages");
  std::string many = "{";
  for (int i = 0; i < 300; ++i) many += "\"f" + std::to_string(i) + "\": 1, ";
  EXPECT_THAT(refused(kText, many + "\"prompt\": \"a\"}").message,
              HasSubstr("more than 256 fields"));
}

TEST(Request, MeansNothingByBytesCutOffAnywhere) {
  const std::string body =
      R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "G\u00fcn\ud83d\ude00"}]}], "stop": ["a"]})";
  for (std::size_t n = 0; n < body.size(); ++n)
    EXPECT_EQ(refused(kChat, body.substr(0, n)).status, 400) << n;
  EXPECT_EQ(chat(body).messages[0]["content"], "G\u00fcn\U0001F600");
}

TEST(Refusal, IsOpenAIsDocument) {
  EXPECT_EQ(refusal_body({400, "bad \xff", "invalid_request_error", "n", ""}),
            "{\"error\":{\"message\":\"bad \xef\xbf\xbd\",\"type\":\"invalid_request_error\","
            "\"param\":\"n\",\"code\":null}}");
}

}  // namespace
}  // namespace wb::serve
