// See conversation.h.
#include "speak/conversation.h"

#include <algorithm>

#include "base/error.h"
#include "speak/text_stream.h"

namespace wb::speak {

namespace {

// Where a model says nothing of its context.
constexpr std::size_t kUsualContext = 4096;

std::size_t context_of(const engine::Engine& engine, std::size_t wanted) {
  const std::size_t own = engine.spec().max_position_embeddings;
  const std::size_t context = wanted > 0 ? wanted : own > 0 ? own : kUsualContext;
  return std::min(context, engine.longest());
}

}  // namespace

Conversation::Conversation(engine::Engine& engine, const Tokenizer& tokenizer,
                           const ChatFormat* format, const ConversationOptions& options)
    : engine_(engine),
      tokenizer_(tokenizer),
      format_(format),
      speculate_(options.speculate),
      context_(context_of(engine, options.context)) {
  slides_ = context_ == engine.longest();
}

std::vector<std::uint32_t> Conversation::tokens(bool for_answer) const {
  if (format_ != nullptr) {
    Json all = Json::array();
    if (!system_.empty()) all.push_back({{"role", "system"}, {"content", system_}});
    for (std::size_t i = shown_; i < messages_.size(); ++i) {
      all.push_back({{"role", messages_[i].role}, {"content", messages_[i].content}});
    }
    return tokenizer_.encode(format_->prompt(all, for_answer));
  }
  std::string text = system_;
  for (std::size_t i = shown_; i < messages_.size(); ++i) {
    if (messages_[i].role == "user" && !text.empty()) text += '\n';
    text += messages_[i].content;
  }
  return tokenizer_.encode(text);
}

std::size_t Conversation::tokens_in_use() const {
  return shown_ == messages_.size() ? 0 : tokens(/*for_answer=*/false).size();
}

// The text's tokens with room for an answer after them: without its oldest turns, if need be.
std::vector<std::uint32_t> Conversation::fitting(const AnswerOptions& options,
                                                 const AnswerListener& listener) {
  const std::size_t room = std::min(options.max_tokens, context_ / 4);
  std::size_t dropped = 0;
  std::vector<std::uint32_t> out = tokens(/*for_answer=*/true);
  while (out.size() + room > context_ && shown_ + 1 < messages_.size()) {
    shown_ += 2;
    ++dropped;
    out = tokens(/*for_answer=*/true);
  }
  if (dropped > 0) listener.dropped(dropped);
  if (out.size() >= context_ && !slides_) {
    throw Error(Code::limit_exceeded, "the message does not fit the context")
        .expected("fewer than " + std::to_string(context_) + " tokens")
        .actual(std::to_string(out.size()))
        .advice("Say less at once, or allow more with --max-context.");
  }
  return out;
}

SpokenAnswer Conversation::answer(const std::string& message, const AnswerOptions& options,
                                  const AnswerListener& listener) {
  const std::size_t shown = shown_;
  messages_.push_back({"user", message});
  try {
    SpokenAnswer out = make(fitting(options, listener), options, listener);
    if (out.taken_back) {
      messages_.pop_back();
      shown_ = shown;
    } else {
      messages_.push_back({"assistant", out.text});
    }
    return out;
  } catch (...) {
    messages_.pop_back();
    shown_ = shown;
    throw;
  }
}

SpokenAnswer Conversation::make(std::vector<std::uint32_t> prompt, const AnswerOptions& options,
                                const AnswerListener& listener) {
  std::size_t used = prompt.size();
  if (generation_) {
    generation_->restart(std::move(prompt), options.sampling);
  } else {
    generation_.emplace(engine_, std::move(prompt), options.sampling, speculate_);
  }
  std::vector<std::string> stops = options.stops;
  if (format_ != nullptr) stops.push_back(format_->eos_token);
  TextStream stream(tokenizer_, std::move(stops));
  SpokenAnswer out;
  auto give = [&](const std::string& part) {
    out.text += part;
    if (!part.empty()) listener.text(part);
  };
  bool slid = false;
  auto say_slides = [&] {
    if (slides_ && !slid && used > context_) {
      slid = true;
      listener.slides();
    }
  };
  say_slides();
  out.end = AnswerEnd::length;
  while (out.tokens.size() < options.max_tokens) {
    if (listener.stop()) {
      out.end = AnswerEnd::stopped;
      break;
    }
    if (!generation_->advance()) continue;
    const std::uint32_t token = generation_->next();
    out.tokens.push_back(token);
    if (tokenizer_.is_special(token)) {
      out.end = AnswerEnd::stop;
      break;
    }
    give(stream.push(token));
    if (stream.stopped()) {
      out.end = AnswerEnd::stop;
      break;
    }
    if (++used >= context_ && !slides_) {
      out.end = AnswerEnd::context;
      break;
    }
    say_slides();
  }
  give(stream.finish());
  out.taken_back = out.end == AnswerEnd::stopped && out.tokens.empty();
  out.stats = generation_->stats();
  return out;
}

std::optional<SpokenAnswer> Conversation::answer_again(const AnswerOptions& options,
                                                       const AnswerListener& listener) {
  if (messages_.empty()) return std::nullopt;
  const std::vector<Message> before = messages_;
  const std::size_t shown = shown_;
  messages_.resize(messages_.size() - 2);
  shown_ = std::min(shown_, messages_.size());
  auto restore = [&] {
    messages_ = before;
    shown_ = shown;
  };
  try {
    SpokenAnswer out = answer(before[before.size() - 2].content, options, listener);
    if (out.taken_back) restore();
    return out;
  } catch (...) {
    restore();
    throw;
  }
}

void Conversation::reset() {
  messages_.clear();
  shown_ = 0;
}

void Conversation::set_system(std::string text) { system_ = std::move(text); }

void Conversation::set_messages(std::vector<Message> messages) {
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string wanted = i % 2 == 0 ? "user" : "assistant";
    const bool last_is_open = i + 1 == messages.size() && i % 2 == 0;
    if (messages[i].role == wanted && !last_is_open) continue;
    throw Error(Code::usage, "the messages do not take turns, a user's and its answer")
        .expected(last_is_open ? "an answer to the last message" : "the role " + wanted)
        .actual(last_is_open ? "none" : "\"" + messages[i].role + "\" at " + std::to_string(i))
        .advice("Give a transcript that /save wrote.");
  }
  messages_ = std::move(messages);
  shown_ = 0;
}

}  // namespace wb::speak
