// What a client asks for: the body of POST /v1/completions or /v1/chat/completions, typed and
// checked. One pure function from bytes; owns the list of fields, their ranges and the sentences
// that say what is wrong and where. Refuses every field that it does not know, so that a name
// misspelt is not ignored in silence, and those of OpenAI's that would change the answer.
// Knows no model: tokens, templates and lengths are looked at later (voice.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/sampler.h"
#include "serve/refusal.h"

namespace wb::serve {

enum class Endpoint { completions, chat };

struct RequestLimits {
  std::size_t depth = 16;    // of nested lists and objects
  std::size_t choices = 16;  // prompts times n
  std::size_t messages = 4096;
  std::size_t stops = 16;        // strings in `stop`
  std::size_t stop_bytes = 256;  // in one of them
  std::size_t top_logprobs = 20;
};

// A prompt of /v1/completions: text, or token ids as they are.
using Prompt = std::variant<std::string, std::vector<std::uint32_t>>;

struct Ask {
  Endpoint endpoint = Endpoint::completions;
  std::string model;            // empty: the server's first
  std::vector<Prompt> prompts;  // completions: at least one
  // chat: [{"role": "system"|"user"|"assistant", "content": text}, ...], at least one; a list of
  // text parts is joined, "developer" is "system".
  nlohmann::ordered_json messages;
  std::optional<std::uint64_t> max_tokens;  // at least 1
  engine::SamplerOptions sampling{.temperature = 1.0};
  bool seeded = false;  // else sampling.seed is the server's to choose
  std::vector<std::string> stop;
  std::size_t n = 1;
  bool stream = false, include_usage = false, echo = false;
  bool token_ids = false;               // return_token_ids: the ids beside the text
  std::optional<std::size_t> logprobs;  // likeliest tokens to name beside each
};

// Throws nothing but std::bad_alloc, whatever the bytes are.
std::variant<Ask, Refusal> parse_request(Endpoint endpoint, std::string_view body,
                                         const RequestLimits& limits = {});

}  // namespace wb::serve
