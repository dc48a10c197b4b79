// A conversation with a model: turns, the text that they are to the model, and answers as they are
// made. Owns the turns and what the engine remembers of them, so that a turn costs what is new in
// it. Where the context is full the oldest turns are no longer shown to the model, which the
// listener is told; the turns themselves stay. With a chat template the text is the template's;
// without one it is what was said and answered, one after the other, each message on a new line.
// Refuses a message that does not fit the context alone (Code::limit_exceeded).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/generation.h"
#include "speak/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace wb::speak {

struct Message {
  std::string role, content;  // "user" or "assistant"
};

struct ConversationOptions {
  std::size_t context = 0;  // most tokens of text and answer; 0 = what the model is made for
  bool speculate = true;    // let multi-token heads guess ahead
};

struct AnswerOptions {
  engine::SamplerOptions sampling;
  std::size_t max_tokens = 512;
  std::vector<std::string> stops;  // beside the template's end of text
};

// What is told while an answer is made, in this order.
struct AnswerListener {
  // The model is shown `turns` fewer of the oldest turns than before.
  std::function<void(std::size_t turns)> dropped = [](std::size_t) {};
  // Learned positions are full: from here on the text's beginning is cropped, token by token.
  std::function<void()> slides = [] {};
  std::function<void(std::string_view)> text = [](std::string_view) {};
  // Asked before every piece of a prompt and every token.
  std::function<bool()> stop = [] { return false; };
};

// Why an answer ended: an end of text or a stop string; max_tokens; the listener; no place left.
enum class AnswerEnd { stop, length, stopped, context };

struct SpokenAnswer {
  std::string text;
  std::vector<std::uint32_t> tokens;
  AnswerEnd end = AnswerEnd::stop;
  engine::GenerationStats stats;
  // The listener stopped it before anything was said: the message is taken back.
  bool taken_back = false;
};

class Conversation {
 public:
  // All outlive it; `format` may be null.
  Conversation(engine::Engine& engine, const Tokenizer& tokenizer, const ChatFormat* format,
               const ConversationOptions& options);

  // Says `message` and has it answered. After an error nothing was said.
  SpokenAnswer answer(const std::string& message, const AnswerOptions& options,
                      const AnswerListener& listener);
  // Has the last message answered anew, in place of its answer; nothing without one. After an
  // error, or when it was stopped before anything was said, the answer is still there.
  std::optional<SpokenAnswer> answer_again(const AnswerOptions& options,
                                           const AnswerListener& listener);

  void reset();  // the system text stays
  void set_system(std::string text);
  const std::string& system() const { return system_; }
  // The whole conversation, also what the model is no longer shown. Roles take turns, a user's
  // first and an assistant's last; throws Code::usage for others.
  void set_messages(std::vector<Message> messages);
  const std::vector<Message>& messages() const { return messages_; }

  std::size_t context() const { return context_; }
  // Of what the model is shown; 0 before anything was said.
  std::size_t tokens_in_use() const;

 private:
  std::vector<std::uint32_t> tokens(bool for_answer) const;
  std::vector<std::uint32_t> fitting(const AnswerOptions& options, const AnswerListener& listener);
  SpokenAnswer make(std::vector<std::uint32_t> prompt, const AnswerOptions& options,
                    const AnswerListener& listener);

  engine::Engine& engine_;
  const Tokenizer& tokenizer_;
  const ChatFormat* format_;
  bool speculate_, slides_;
  std::size_t context_;
  std::string system_;
  std::vector<Message> messages_;
  std::size_t shown_ = 0;  // messages_ from here on are shown
  std::optional<engine::Generation> generation_;
};

}  // namespace wb::speak
