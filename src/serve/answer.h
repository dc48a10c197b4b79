// What is said to a client about texts in the making: OpenAI's documents for both endpoints, whole
// or in chunks. Owns their shape and the counts of tokens. Beyond OpenAI's fields a choice has
// "token_ids" where the request wants them, and "cut" ("time_limit" or "shutdown") where the
// server ended the text; its finish_reason is "length" then, which every client knows.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "serve/request.h"
#include "serve/scheduler.h"
#include "serve/voice.h"

namespace wb::serve {

class Answer {
 public:
  // `model` and `ask` outlive it. `created`: seconds since 1970.
  Answer(const ServedModel& model, const Ask& ask, const std::vector<PlannedText>& texts,
         std::string id, std::int64_t created);

  // For an answer in one piece: takes an event in; then the whole document.
  void add(const JobEvent& event);
  std::string document() const;

  // For a streamed one: server-sent events, each "data: ...\n\n". What precedes the first token,
  // what an event is to the client (may be empty), and the end.
  std::string opening() const;
  std::string chunk(const JobEvent& event);
  std::string closing() const;
  static std::string error_event(const Refusal& refusal);

  std::uint64_t prompt_tokens() const { return prompt_tokens_; }
  std::uint64_t made_tokens() const { return made_tokens_; }

 private:
  using Json = nlohmann::ordered_json;
  struct Choice {
    std::string echo, text;
    std::size_t characters = 0;  // of echo and text so far
    Json token_ids = Json::array();
    Json logprobs;  // in the endpoint's shape; null without
    Finish finish = Finish::none;
  };

  bool chat() const { return ask_.endpoint == Endpoint::chat; }
  Json head(const char* chat_object) const;
  Json usage() const;
  std::string token_text(std::uint32_t token) const;
  void add_scores(const MadeToken& made, std::size_t offset, Json& logprobs) const;
  Json chunk_of(std::size_t index, const Json& content, const char* finish) const;

  const ServedModel& model_;
  const Ask& ask_;
  const std::string id_;
  const std::int64_t created_;
  std::vector<Choice> choices_;
  std::uint64_t prompt_tokens_ = 0, made_tokens_ = 0;
};

}  // namespace wb::serve
