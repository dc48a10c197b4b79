// A model that is served: what an Ask means for it, and Makers of its texts. Owns nothing of the
// model: engine and tokenizer are the caller's and outlive it. Refuses what this model cannot do:
// text without a tokenizer, ids outside the vocabulary, more tokens than the server's bound.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "engine/engine.h"
#include "serve/request.h"
#include "serve/scheduler.h"
#include "tokenizer/tokenizer.h"

namespace wb::serve {

struct ServedModel {
  std::string id;
  engine::Engine* engine = nullptr;
  const Tokenizer* tokenizer = nullptr;  // null: token ids in, token ids out
  // The text that a conversation becomes, from the model's chat template; empty: it has none, and
  // the contents are put together, a line end between two.
  std::function<std::string(const nlohmann::ordered_json& messages)> chat;
  std::vector<std::string> chat_stops;  // texts that end an answer to a conversation
  bool speculate = true;                // let multi-token heads guess ahead
};

struct VoiceLimits {
  std::size_t most_tokens = 4096;       // prompt and answer of one text together
  std::size_t default_completion = 16;  // max_tokens of /v1/completions, as OpenAI has it
};

// One text that is asked for: choice i of the answer.
struct PlannedText {
  std::string echo;  // what precedes the answer's text; empty without `echo`
  std::vector<std::uint32_t> prompt;
  std::size_t max_tokens = 0;
  engine::SamplerOptions sampling;  // choice i of a prompt has the seed plus i
};

// The texts of `ask`: n for each prompt, in the order of the answer's indices. `seed`: for asks
// without one.
std::variant<std::vector<PlannedText>, Refusal> plan_texts(const ServedModel& model, const Ask& ask,
                                                           const VoiceLimits& limits,
                                                           std::uint64_t seed);
// Makes the tokens that `weightbridge generate` makes of the same prompt, options and seed.
MakerFactory maker_of(const ServedModel& model, const Ask& ask, const PlannedText& text);

}  // namespace wb::serve
