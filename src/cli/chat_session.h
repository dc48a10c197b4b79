// One chat at the terminal or of a script: what its lines change. Owns the settings of answers and
// the model's conversation; commands (/help lists them) are lines that begin with a slash. Answers
// go to standard output, all that the program itself says to standard error. Refuses commands that
// there are not, and values outside their ranges (Code::usage).
#pragma once

#include <optional>
#include <string>

#include "cli/sampling_flags.h"
#include "cli/terminal_signals.h"
#include "cli/timing.h"
#include "speak/conversation.h"

namespace wb::cli {

struct ChatSettings {
  std::string model;  // its path, for transcripts
  SamplingFlags sampling;
  bool json = false;
};

class ChatSession {
 public:
  // `signals`: null for a script. All outlive it.
  ChatSession(speak::Conversation& conversation, ChatSettings settings, TerminalSignals* signals);

  // A message, or a command. False once the chat is to end. After an error nothing has changed.
  bool take(const std::string& text);

 private:
  friend struct ChatCommands;
  void say(const std::string& message);
  void say_again();
  void finish(const std::string& message, const speak::SpokenAnswer& answer);
  speak::AnswerListener listener();
  speak::AnswerOptions options() const;
  void print_object(const std::string& message, const speak::SpokenAnswer& answer) const;

  speak::Conversation& conversation_;
  ChatSettings settings_;
  TerminalSignals* signals_;
  std::uint64_t retries_ = 0;  // of the last message: each takes the next seed
  std::uint64_t turns_ = 0;
  // Of the answer in the making, or the last one.
  std::optional<Stopwatch> clock_;
  Timing timing_;
  std::size_t dropped_ = 0;
  bool slides_said_ = false, at_line_start_ = true;
  std::string last_;  // what the last answer took, for people
};

// A line to standard error, dim where a terminal shows it and broken to its width.
void note(const std::string& text);

}  // namespace wb::cli
