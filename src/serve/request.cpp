// See request.h. Every take_ function reads one field and says what is wrong with it; values by
// type and range, which they share, are in request_values.cpp.
#include "serve/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "serve/request_values.h"

namespace wb::serve {

namespace {

using Json = nlohmann::ordered_json;

// --- fields of their own ---

void take_prompt(const Json& value, Ask& ask) {
  constexpr std::string_view kWanted =
      "a string, a list of strings, a list of token ids, or a list of such lists";
  if (value.is_string()) {
    ask.prompts.emplace_back(value.get<std::string>());
    return;
  }
  if (!value.is_array() || value.empty()) wrong("prompt", kWanted, value);
  if (value[0].is_number()) {
    ask.prompts.emplace_back(take_ids("prompt", value));
    return;
  }
  for (std::size_t i = 0; i < value.size(); ++i) {
    const std::string param = fmt::format("prompt[{}]", i);
    if (value[0].is_string()) {
      ask.prompts.emplace_back(take_text(param, value[i]));
    } else if (value[0].is_array()) {
      if (!value[i].is_array() || value[i].empty()) wrong(param, "a list of token ids", value[i]);
      ask.prompts.emplace_back(take_ids(param, value[i]));
    } else {
      wrong("prompt", kWanted, value[0]);
    }
  }
}

std::string take_content(const std::string& param, const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) wrong(param, "a string or a list of text parts", value);
  std::string out;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const std::string part = fmt::format("{}[{}]", param, i);
    const Json& p = value[i];
    if (!p.is_object() || !p.contains("type")) wrong(part, "{\"type\": \"text\", ...}", p);
    if (p["type"] != "text") {
      refuse(part + ".type",
             fmt::format("'{}.type' is {}; this server takes text alone.", part, shown(p["type"])),
             "unsupported_value");
    }
    if (!p.contains("text")) refuse(part + ".text", fmt::format("'{}.text' is missing.", part));
    out += take_text(part + ".text", p["text"]);
  }
  return out;
}

void take_role(const std::string& param, const Json& value, std::string& role) {
  role = take_text(param, value);
  if (role == "developer") role = "system";
  if (role == "system" || role == "user" || role == "assistant") return;
  if (role == "tool" || role == "function")
    refuse(param, fmt::format("'{}' is \"{}\"; this server calls no tools.", param, role),
           "unsupported_value");
  wrong(param, "\"system\", \"developer\", \"user\" or \"assistant\"", value);
}

Json take_message(const std::string& param, const Json& value) {
  // What clients send back of an answer, and means nothing for the next one.
  constexpr std::array<std::string_view, 5> kIgnored = {"name", "refusal", "annotations",
                                                        "reasoning_content", "reasoning"};
  if (!value.is_object()) wrong(param, "an object with role and content", value);
  std::string role, content;
  bool has_role = false, has_content = false;
  for (const auto& [name, v] : value.items()) {
    const std::string inner = param + "." + name;
    if (name == "role") {
      take_role(inner, v, role);
      has_role = true;
    } else if (name == "content") {
      has_content = true;
      content = take_content(inner, v);
    } else if (v.is_null() || (v.is_array() && v.empty()) ||
               std::find(kIgnored.begin(), kIgnored.end(), name) != kIgnored.end()) {
      continue;
    } else {
      refuse(inner, fmt::format("'{}' is not taken by this server.", inner), "unknown_field");
    }
  }
  if (!has_role) refuse(param + ".role", fmt::format("'{}.role' is missing.", param));
  if (!has_content) refuse(param + ".content", fmt::format("'{}.content' is missing.", param));
  return {{"role", role}, {"content", content}};
}

void take_messages(const Json& value, const RequestLimits& limits, Ask& ask) {
  if (!value.is_array() || value.empty() || value.size() > limits.messages)
    wrong("messages", fmt::format("a list of 1 to {} messages", limits.messages), value);
  ask.messages = Json::array();
  for (std::size_t i = 0; i < value.size(); ++i)
    ask.messages.push_back(take_message(fmt::format("messages[{}]", i), value[i]));
}

void take_stop(const Json& value, const RequestLimits& limits, Ask& ask) {
  auto one = [&](const std::string& param, const Json& v) {
    std::string text = take_text(param, v);
    if (text.empty() || text.size() > limits.stop_bytes)
      wrong(param, fmt::format("a string of 1 to {} bytes", limits.stop_bytes), v);
    ask.stop.push_back(std::move(text));
  };
  if (value.is_string()) return one("stop", value);
  if (!value.is_array() || value.size() > limits.stops)
    wrong("stop", fmt::format("a string or a list of at most {}", limits.stops), value);
  for (std::size_t i = 0; i < value.size(); ++i) one(fmt::format("stop[{}]", i), value[i]);
}

void take_stream_options(const Json& value, Ask& ask) {
  if (!value.is_object()) wrong("stream_options", "an object", value);
  for (const auto& [name, v] : value.items()) {
    const std::string param = "stream_options." + name;
    if (name == "include_usage") {
      ask.include_usage = take_bool(param, v);
    } else if (name != "include_obfuscation") {
      refuse(param, fmt::format("'{}' is not known.", param), "unknown_field");
    }
  }
}

void take_seed(const Json& value, Ask& ask) {
  if (!value.is_number_integer()) wrong("seed", "a whole number of 64 bits", value);
  // Negative ones, which OpenAI allows, are their two's complement.
  ask.sampling.seed = value.is_number_unsigned()
                          ? value.get<std::uint64_t>()
                          : static_cast<std::uint64_t>(value.get<std::int64_t>());
  ask.seeded = true;
}

// Chat: "logprobs": bool, "top_logprobs": n. Completions: "logprobs": n.
void take_logprobs(const Json& body, const RequestLimits& limits, Ask& ask) {
  auto given = [&](const char* name) {
    const auto it = body.find(name);
    return it == body.end() || it->is_null() ? nullptr : &*it;
  };
  const Json* logprobs = given("logprobs");
  if (ask.endpoint == Endpoint::completions) {
    if (logprobs) ask.logprobs = take_count("logprobs", *logprobs, 0, limits.top_logprobs);
    return;
  }
  const bool wanted = logprobs && take_bool("logprobs", *logprobs);
  if (wanted) ask.logprobs = 0;
  if (const Json* top = given("top_logprobs")) {
    const std::size_t n = take_count("top_logprobs", *top, 0, limits.top_logprobs);
    if (!wanted && n > 0)
      refuse("top_logprobs", "'top_logprobs' needs \"logprobs\": true.", "invalid_value");
    if (wanted) ask.logprobs = n;
  }
}

// --- what is ignored, and what is refused ---

// Sent by clients as a matter of course; no answer depends on them.
bool is_ignored(std::string_view name) {
  constexpr std::array<std::string_view, 13> kNames = {"user",
                                                       "store",
                                                       "metadata",
                                                       "service_tier",
                                                       "safety_identifier",
                                                       "prompt_cache_key",
                                                       "parallel_tool_calls",
                                                       "tool_choice",
                                                       "function_call",
                                                       "reasoning_effort",
                                                       "verbosity",
                                                       "prediction",
                                                       "prompt_cache_retention"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

// Of OpenAI's fields those that would change the answer: taken where they ask for nothing.
bool asks_nothing(std::string_view name, const Json& value, const Ask& ask) {
  if (name == "presence_penalty" || name == "frequency_penalty")
    return value.is_number() && value.get<double>() == 0;
  if (name == "best_of")
    return value.is_number() && value.get<double>() == static_cast<double>(ask.n);
  if (name == "response_format") return value == Json{{"type", "text"}};
  if (name == "modalities") return value == Json::array({"text"});
  if (name == "logit_bias" || name == "tools" || name == "functions") return value.empty();
  if (name == "suffix") return value.is_string() && value.get_ref<const std::string&>().empty();
  return false;
}

constexpr std::array<std::string_view, 11> kRefused = {"presence_penalty",
                                                       "frequency_penalty",
                                                       "best_of",
                                                       "response_format",
                                                       "modalities",
                                                       "logit_bias",
                                                       "tools",
                                                       "functions",
                                                       "suffix",
                                                       "audio",
                                                       "web_search_options"};

void take_other(const std::string& name, const Json& value, const Ask& ask) {
  if (is_ignored(name)) return;
  if (std::find(kRefused.begin(), kRefused.end(), name) != kRefused.end()) {
    if (asks_nothing(name, value, ask)) return;
    refuse(name, fmt::format("'{}' is not supported by this server.", name), "unsupported_field");
  }
  const std::string quoted = shown(Json(name));
  refuse(name, fmt::format("The field {} is not known. Leave it out.", quoted), "unknown_field");
}

void take_field(const std::string& name, const Json& value, const RequestLimits& limits, Ask& ask) {
  engine::SamplerOptions& s = ask.sampling;
  constexpr auto kMost = std::numeric_limits<std::uint64_t>::max();
  const bool chat = ask.endpoint == Endpoint::chat;
  if (name == "model") {
    ask.model = take_text(name, value);
  } else if (name == "prompt" && !chat) {
    take_prompt(value, ask);
  } else if (name == "messages" && chat) {
    take_messages(value, limits, ask);
  } else if (name == "max_tokens" || (name == "max_completion_tokens" && chat)) {
    const std::uint64_t v = take_count(name, value, 1, kMost);
    if (ask.max_tokens && *ask.max_tokens != v)
      refuse(name, "'max_tokens' and 'max_completion_tokens' differ.", "invalid_value");
    ask.max_tokens = v;
  } else if (name == "temperature") {
    s.temperature =
        take_number(name, value, "from 0 to 100", [](double v) { return v >= 0 && v <= 100; });
  } else if (name == "top_p") {
    s.top_p =
        take_number(name, value, "above 0 and at most 1", [](double v) { return v > 0 && v <= 1; });
  } else if (name == "min_p") {
    s.min_p = take_number(name, value, "from 0 to 1", [](double v) { return v >= 0 && v <= 1; });
  } else if (name == "repetition_penalty") {
    s.repetition_penalty = take_number(name, value, "above 0 and at most 100",
                                       [](double v) { return v > 0 && v <= 100; });
  } else if (name == "top_k") {
    s.top_k = value == -1 ? 0 : take_count(name, value, 0, 0xffffffff);
  } else if (name == "seed") {
    take_seed(value, ask);
  } else if (name == "stop") {
    take_stop(value, limits, ask);
  } else if (name == "stream") {
    ask.stream = take_bool(name, value);
  } else if (name == "stream_options") {
    take_stream_options(value, ask);
  } else if (name == "echo" && !chat) {
    ask.echo = take_bool(name, value);
  } else if (name == "return_token_ids") {
    ask.token_ids = take_bool(name, value);
  } else if (name == "n" || name == "logprobs" || (name == "top_logprobs" && chat)) {
    return;  // parse() has seen to them
  } else {
    take_other(name, value, ask);
  }
}

// What only all fields together show.
void check_together(const Json& body, const RequestLimits& limits, const Ask& ask) {
  const bool chat = ask.endpoint == Endpoint::chat;
  if (chat ? ask.messages.empty() : ask.prompts.empty()) {
    const std::string name = chat ? "messages" : "prompt";
    refuse(name, fmt::format("'{}' is missing.", name), "missing_field");
  }
  const std::size_t choices = ask.n * std::max<std::size_t>(1, ask.prompts.size());
  if (choices > limits.choices) {
    refuse(ask.prompts.size() > 1 ? "prompt" : "n",
           fmt::format("The request asks for {} texts; at most {} are made at once.", choices,
                       limits.choices),
           "invalid_value");
  }
  const auto options = body.find("stream_options");
  if (options != body.end() && !options->is_null() && !ask.stream)
    refuse("stream_options", "'stream_options' needs \"stream\": true.", "invalid_value");
  if (ask.echo && ask.logprobs)
    refuse("logprobs", "'logprobs' of an echoed prompt are not made; send one of the two.",
           "unsupported_value");
}

Ask parse(Endpoint endpoint, std::string_view body, const RequestLimits& limits) {
  const Json document = parse_document(body, limits);
  if (!document.is_object())
    refuse("", fmt::format("The body has to be a JSON object; it is {}.", shown(document)),
           "invalid_json");
  Ask ask;
  ask.endpoint = endpoint;
  if (const auto n = document.find("n"); n != document.end() && !n->is_null())
    ask.n = take_count("n", *n, 1, limits.choices);
  take_logprobs(document, limits, ask);
  for (const auto& [name, value] : document.items()) {
    // null is as if it were not there, whatever the name.
    if (!value.is_null()) take_field(name, value, limits, ask);
  }
  check_together(document, limits, ask);
  return ask;
}

}  // namespace

std::variant<Ask, Refusal> parse_request(Endpoint endpoint, std::string_view body,
                                         const RequestLimits& limits) {
  try {
    return parse(endpoint, body, limits);
  } catch (Refusal& refusal) {
    return std::move(refusal);
  }
}

}  // namespace wb::serve
