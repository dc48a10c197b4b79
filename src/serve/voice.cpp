// See voice.h.
#include "serve/voice.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "engine/generation.h"
#include "speak/text_stream.h"

namespace wb::serve {

namespace {

class TextMaker : public Maker {
 public:
  TextMaker(const ServedModel& model, const PlannedText& text, std::vector<std::string> stops,
            std::optional<std::size_t> logprobs)
      : model_(model),
        most_(text.max_tokens),
        scored_(logprobs.has_value()),
        generation_(*model.engine, text.prompt, text.sampling, model.speculate) {
    if (model.tokenizer) stream_.emplace(*model.tokenizer, std::move(stops));
    if (logprobs) generation_.keep_scores(*logprobs);
  }

  std::optional<MadeToken> turn() override {
    if (!generation_.advance()) return std::nullopt;
    MadeToken out;
    out.token = generation_.next();
    if (scored_) out.scores = generation_.scores();
    ++made_;
    if (model_.tokenizer && model_.tokenizer->is_special(*out.token)) {
      out.finish = Finish::stop;
    } else {
      if (stream_) out.text = stream_->push(*out.token);
      if (stream_ && stream_->stopped()) out.finish = Finish::stop;
      if (out.finish == Finish::none && made_ == most_) out.finish = Finish::length;
    }
    if (stream_ && out.finish != Finish::none) out.text += stream_->finish();
    return out;
  }

 private:
  const ServedModel& model_;
  const std::size_t most_;
  const bool scored_;
  std::size_t made_ = 0;
  engine::Generation generation_;
  std::optional<speak::TextStream> stream_;
};

// The prompt as tokens, and as text where it is to be echoed. Throws Refusal.
struct Read {
  std::vector<std::uint32_t> tokens;
  std::string text;
};

void check_ids(const ServedModel& model, const std::vector<std::uint32_t>& ids) {
  const std::uint64_t vocab = model.engine->spec().vocab_size;
  const auto bad = std::find_if(ids.begin(), ids.end(), [&](auto id) { return id >= vocab; });
  if (bad == ids.end()) return;
  throw Refusal{400,
                fmt::format("Token {} of 'prompt' is {}; {} has ids below {}.", bad - ids.begin(),
                            *bad, model.id, vocab),
                "invalid_request_error", "prompt", "invalid_value"};
}

Read read_text(const ServedModel& model, const std::string& text, const char* param) {
  if (model.tokenizer == nullptr) {
    throw Refusal{
        400, fmt::format("{} is served without a tokenizer: send 'prompt' as token ids.", model.id),
        "invalid_request_error", param, "no_tokenizer"};
  }
  Read out{{}, text};
  try {
    out.tokens = model.tokenizer->encode(text);
  } catch (const Error& error) {
    throw Refusal{400, error.sentence(), "invalid_request_error", param, "invalid_value"};
  }
  if (out.tokens.empty())
    throw Refusal{400, fmt::format("'{}' gives no token: there is nothing to continue.", param),
                  "invalid_request_error", param, "invalid_value"};
  check_ids(model, out.tokens);
  return out;
}

Read read_prompt(const ServedModel& model, const Prompt& prompt) {
  if (const auto* text = std::get_if<std::string>(&prompt))
    return read_text(model, *text, "prompt");
  Read out{std::get<std::vector<std::uint32_t>>(prompt), {}};
  check_ids(model, out.tokens);
  if (model.tokenizer) out.text = model.tokenizer->decode(out.tokens);
  return out;
}

Read read_messages(const ServedModel& model, const nlohmann::ordered_json& messages) {
  std::string text;
  if (model.chat) {
    try {
      text = model.chat(messages);
    } catch (const Error& error) {
      throw Refusal{400, error.sentence(), "invalid_request_error", "messages", "chat_template"};
    }
  } else {
    for (const auto& m : messages) {
      if (!text.empty()) text += '\n';
      text += m["content"].get_ref<const std::string&>();
    }
  }
  return read_text(model, text, "messages");
}

std::size_t room_for(const Ask& ask, const VoiceLimits& limits, std::size_t prompt) {
  if (prompt >= limits.most_tokens) {
    throw Refusal{400,
                  fmt::format("The prompt has {} tokens; this server takes at most {} with the "
                              "answer.",
                              prompt, limits.most_tokens),
                  "invalid_request_error", ask.endpoint == Endpoint::chat ? "messages" : "prompt",
                  "context_length_exceeded"};
  }
  const std::size_t room = limits.most_tokens - prompt;
  if (!ask.max_tokens) {
    return ask.endpoint == Endpoint::chat ? room : std::min(room, limits.default_completion);
  }
  if (*ask.max_tokens > room) {
    throw Refusal{400,
                  fmt::format("The request has {} tokens of prompt and wants {} more; this server "
                              "takes at most {} together ({} would fit).",
                              prompt, *ask.max_tokens, limits.most_tokens, room),
                  "invalid_request_error", "max_tokens", "context_length_exceeded"};
  }
  return *ask.max_tokens;
}

void add_texts(const Ask& ask, const VoiceLimits& limits, std::uint64_t seed, const Read& read,
               std::vector<PlannedText>& out) {
  PlannedText text;
  text.prompt = read.tokens;
  text.max_tokens = room_for(ask, limits, read.tokens.size());
  text.sampling = ask.sampling;
  if (!ask.seeded) text.sampling.seed = seed;
  if (ask.echo) text.echo = read.text;
  for (std::size_t i = 0; i < ask.n; ++i) {
    out.push_back(text);
    ++text.sampling.seed;
  }
}

}  // namespace

std::variant<std::vector<PlannedText>, Refusal> plan_texts(const ServedModel& model, const Ask& ask,
                                                           const VoiceLimits& limits,
                                                           std::uint64_t seed) {
  try {
    if (!ask.stop.empty() && model.tokenizer == nullptr) {
      throw Refusal{400, fmt::format("{} is served without a tokenizer: 'stop' is text.", model.id),
                    "invalid_request_error", "stop", "no_tokenizer"};
    }
    std::vector<PlannedText> out;
    if (ask.endpoint == Endpoint::chat) {
      add_texts(ask, limits, seed, read_messages(model, ask.messages), out);
    } else {
      for (const Prompt& p : ask.prompts) add_texts(ask, limits, seed, read_prompt(model, p), out);
    }
    return out;
  } catch (Refusal& refusal) {
    return std::move(refusal);
  }
}

MakerFactory maker_of(const ServedModel& model, const Ask& ask, const PlannedText& text) {
  std::vector<std::string> stops = ask.stop;
  if (ask.endpoint == Endpoint::chat)
    stops.insert(stops.end(), model.chat_stops.begin(), model.chat_stops.end());
  return [&model, text, stops, logprobs = ask.logprobs] {
    return std::make_unique<TextMaker>(model, text, stops, logprobs);
  };
}

}  // namespace wb::serve
