// See chat_session.h.
#include "cli/chat_session.h"

#include <unistd.h>

#include <algorithm>

#include "base/progress.h"
#include "cli/chat_commands.h"
#include "cli/output.h"

namespace wb::cli {

namespace {

const char* end_name(speak::AnswerEnd end) {
  switch (end) {
    case speak::AnswerEnd::stop:
      return "stop";
    case speak::AnswerEnd::length:
      return "length";
    case speak::AnswerEnd::stopped:
      return "interrupted";
    case speak::AnswerEnd::context:
      return "context";
  }
  WB_BUG("an answer that did not end");
}

}  // namespace

void note(const std::string& text) {
  std::string shown = printable(text);
  if (::isatty(STDERR_FILENO) == 1) {
    const std::size_t columns = terminal_columns(STDERR_FILENO);
    shown = wrapped(shown, 0, columns > 1 ? columns - 1 : 1);
  }
  if (wants_color(STDERR_FILENO)) shown = "\x1b[2m" + shown + "\x1b[0m";
  shown += '\n';
  std::fwrite(shown.data(), 1, shown.size(), stderr);
}

ChatSession::ChatSession(speak::Conversation& conversation, ChatSettings settings,
                         TerminalSignals* signals)
    : conversation_(conversation), settings_(std::move(settings)), signals_(signals) {}

bool ChatSession::take(const std::string& text) {
  if (text.starts_with("//")) {
    say(text.substr(1));  // a message that begins with a slash
    return true;
  }
  if (text.starts_with('/')) return run_command(*this, text);
  say(text);
  return true;
}

speak::AnswerOptions ChatSession::options() const {
  speak::AnswerOptions out;
  out.sampling = settings_.sampling.options;
  out.sampling.seed += retries_;
  out.max_tokens = settings_.sampling.max_tokens;
  out.stops = settings_.sampling.stop;
  return out;
}

speak::AnswerListener ChatSession::listener() {
  speak::AnswerListener out;
  out.dropped = [this](std::size_t turns) {
    dropped_ += turns;
    note(fmt::format("The context of {} is full: the model no longer sees the oldest {}.",
                     counted(conversation_.context(), "token"), counted(turns, "turn")));
  };
  out.slides = [this] {
    if (slides_said_) return;
    slides_said_ = true;
    if (!at_line_start_) print("\n");
    at_line_start_ = true;
    note(
        fmt::format("The {} positions of the model are full: from here on the text's beginning "
                    "is cropped, as the source does.",
                    grouped(conversation_.context())));
  };
  out.text = [this](std::string_view part) {
    if (timing_.first == 0) timing_.first = clock_->seconds();
    if (settings_.json) return;
    print(printable(part));
    at_line_start_ = part.back() == '\n';
  };
  if (signals_ != nullptr) out.stop = [this] { return signals_->stop_wanted(); };
  clock_.emplace();
  timing_ = {};
  dropped_ = 0;
  at_line_start_ = true;
  if (signals_ != nullptr) signals_->forget_interrupt();
  return out;
}

void ChatSession::say(const std::string& message) {
  const std::uint64_t retries = std::exchange(retries_, 0);
  try {
    finish(message, conversation_.answer(message, options(), listener()));
  } catch (...) {
    retries_ = retries;
    throw;
  }
}

void ChatSession::say_again() {
  if (conversation_.messages().empty()) {
    throw Error(Code::usage, "there is no message to answer again").advice("Say something first.");
  }
  const auto& messages = conversation_.messages();
  const std::string message = messages[messages.size() - 2].content;
  ++retries_;
  try {
    const auto answer = conversation_.answer_again(options(), listener());
    finish(message, *answer);
    if (answer->taken_back) --retries_;
  } catch (...) {
    --retries_;
    throw;
  }
}

void ChatSession::finish(const std::string& message, const speak::SpokenAnswer& answer) {
  timing_.all = clock_->seconds();
  if (signals_ != nullptr) signals_->forget_interrupt();
  if (answer.taken_back) {
    note("Stopped before the answer began; the message is taken back.");
    return;
  }
  ++turns_;
  last_ = timing_line(answer.stats, timing_, answer.tokens.size());
  if (settings_.json) {
    print_object(message, answer);
  } else if (!at_line_start_ || answer.text.empty()) {
    print("\n");
  }
  if (answer.end == speak::AnswerEnd::stopped) note("Stopped.");
  if (answer.end == speak::AnswerEnd::length) {
    note(fmt::format("Cut after {} (--max-tokens).", counted(answer.tokens.size(), "token")));
  }
  if (answer.end == speak::AnswerEnd::context) {
    note(fmt::format("Cut: the context of {} is full.", counted(conversation_.context(), "token")));
  }
}

void ChatSession::print_object(const std::string& message,
                               const speak::SpokenAnswer& answer) const {
  Json out = {{"turn", turns_},
              {"message", message},
              {"text", answer.text},
              {"tokens", answer.tokens},
              {"finish_reason", end_name(answer.end)},
              {"prompt_tokens", answer.stats.prompt_tokens},
              {"reused_tokens", answer.stats.reused},
              {"dropped_turns", dropped_},
              {"seed", options().sampling.seed}};
  add_timing(out, answer.stats, timing_, answer.tokens.size());
  print(out.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace wb::cli
