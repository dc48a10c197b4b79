// See line_reader.h.
#include "cli/line_reader.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "base/progress.h"

namespace wb::cli {

namespace {

constexpr std::size_t kMostBytes = 16u << 20;

class PlainLines : public LineReader {
 public:
  // `signals` and `out`: null for a script.
  PlainLines(TerminalSignals* signals, std::FILE* out) : signals_(signals), out_(out) {}

  LineRead read(const std::string& prompt, std::string& line) override {
    if (out_ != nullptr) {
      std::fputs(prompt.c_str(), out_);
      std::fflush(out_);
    }
    while (true) {
      if (const std::size_t end = held_.find('\n', looked_at_); end != std::string::npos) {
        line = held_.substr(0, end);
        held_.erase(0, end + 1);
        looked_at_ = 0;
        return LineRead::line;
      }
      looked_at_ = held_.size();
      if (const LineRead got = fill(); got == LineRead::line)
        continue;
      else if (got == LineRead::cleared || held_.empty())
        return got;
      line = std::move(held_);  // the last line has no end
      held_.clear();
      looked_at_ = 0;
      return LineRead::line;
    }
  }

 private:
  // More bytes into held_: `line` for some, else why there are none.
  LineRead fill() {
    if (signals_ != nullptr) {
      const TerminalEvent event = signals_->wait(STDIN_FILENO);
      if (event == TerminalEvent::leave) return LineRead::ended;
      if (event == TerminalEvent::interrupt) {
        std::fputc('\n', out_);
        held_.clear();
        looked_at_ = 0;
        return LineRead::cleared;
      }
      if (event != TerminalEvent::input) return LineRead::line;
    }
    char bytes[4096];
    const ssize_t n = ::read(STDIN_FILENO, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR) return LineRead::line;
    if (n < 0) {
      throw Error(Code::file_open, std::strerror(errno))
          .file("standard input")
          .advice("Give lines through a pipe or a file, or start the program at a terminal.");
    }
    if (n == 0) return LineRead::ended;
    held_.append(bytes, static_cast<std::size_t>(n));
    if (held_.size() <= kMostBytes) return LineRead::line;
    throw Error(Code::limit_exceeded, "a line of the conversation is too long")
        .file("standard input")
        .expected("at most " + std::to_string(kMostBytes) + " bytes")
        .actual("more")
        .advice("Check that the input is the text that you meant.");
  }

  TerminalSignals* signals_;
  std::FILE* out_;
  std::string held_;
  std::size_t looked_at_ = 0;  // of held_: there is no line end before
};

// Prompts go where people see them, and not into a file that takes the answers.
std::FILE* prompt_output() { return ::isatty(STDERR_FILENO) == 1 ? stderr : stdout; }

}  // namespace

bool lines_come_from_a_person() {
  return ::isatty(STDIN_FILENO) == 1 &&
         (::isatty(STDOUT_FILENO) == 1 || ::isatty(STDERR_FILENO) == 1);
}

std::unique_ptr<LineReader> lines_of_a_person(
    TerminalSignals& signals, [[maybe_unused]] const std::vector<std::string>& earlier) {
  std::FILE* out = prompt_output();
#ifdef WB_LIBEDIT
  if (is_live_terminal(STDIN_FILENO) && is_live_terminal(::fileno(out))) {
    if (auto edited = edited_lines(signals, earlier, out)) return edited;
  }
#endif
  return std::make_unique<PlainLines>(&signals, out);
}

std::unique_ptr<LineReader> lines_of_a_script() {
  return std::make_unique<PlainLines>(nullptr, nullptr);
}

}  // namespace wb::cli
