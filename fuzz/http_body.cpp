// Any bytes as the body of a request, the first byte saying to which of the two addresses: what is
// understood lies within the limits, what is refused says so in JSON.
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "input.h"
#include "serve/request.h"

namespace {

using wb::serve::Ask;
using wb::serve::Endpoint;
using wb::serve::Refusal;

void check_ask(const Ask& ask, Endpoint endpoint) {
  const wb::serve::RequestLimits limits;
  const bool chat = endpoint == Endpoint::chat;
  WB_CHECK(ask.endpoint == endpoint);
  WB_CHECK(chat ? ask.prompts.empty() : !ask.prompts.empty());
  WB_CHECK(chat ? !ask.messages.empty() : ask.messages.empty());
  WB_CHECK(ask.messages.size() <= limits.messages && ask.stop.size() <= limits.stops);
  for (const std::string& stop : ask.stop) {
    WB_CHECK(!stop.empty() && stop.size() <= limits.stop_bytes);
  }
  for (const auto& message : ask.messages) {
    WB_CHECK(message.at("role").is_string() && message.at("content").is_string());
  }
  WB_CHECK(ask.n >= 1 && ask.n * std::max<std::size_t>(1, ask.prompts.size()) <= limits.choices);
  WB_CHECK(!ask.max_tokens || *ask.max_tokens >= 1);
  WB_CHECK(!ask.logprobs || *ask.logprobs <= limits.top_logprobs);
  const auto& s = ask.sampling;
  WB_CHECK(s.temperature >= 0 && s.temperature <= 100 && s.top_p > 0 && s.top_p <= 1);
  WB_CHECK(s.min_p >= 0 && s.min_p <= 1 && s.repetition_penalty > 0);
  WB_CHECK(s.repetition_penalty <= 100);
}

void check_refusal(const Refusal& refusal) {
  WB_CHECK(refusal.status == 400 && !refusal.message.empty());
  const auto body = nlohmann::json::parse(wb::serve::refusal_body(refusal), nullptr, false);
  WB_CHECK(body.is_object() && body.at("error").at("message").is_string());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Endpoint endpoint = data[0] % 2 == 0 ? Endpoint::completions : Endpoint::chat;
  const std::string body = wb::fuzz::text_of(data + 1, size - 1);
  const auto answer = wb::serve::parse_request(endpoint, body);
  if (const auto* ask = std::get_if<Ask>(&answer)) check_ask(*ask, endpoint);
  if (const auto* refusal = std::get_if<Refusal>(&answer)) check_refusal(*refusal);
  return 0;
}
