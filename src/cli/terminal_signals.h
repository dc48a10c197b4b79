// Signals while a person is at a terminal: Ctrl-C stops what is being made and not the program,
// SIGTERM and SIGHUP ask it to leave, a terminal that changes its size or comes back from Ctrl-Z is
// drawn anew. Owns the handlers from its construction to its end; one at a time. Handlers only note
// what came. Refuses to decide what follows from it.
#pragma once

#include <csignal>
#include <utility>
#include <vector>

namespace wb::cli {

enum class TerminalEvent { input, interrupt, resized, resumed, leave };

class TerminalSignals {
 public:
  TerminalSignals();
  ~TerminalSignals();
  TerminalSignals(const TerminalSignals&) = delete;
  TerminalSignals& operator=(const TerminalSignals&) = delete;

  // Waits until `fd` can be read or a signal came. Each signal is given once, but `leave` each
  // time.
  TerminalEvent wait(int fd);
  // Whether Ctrl-C came since it was last forgotten or given, or a signal to leave; without
  // waiting.
  bool stop_wanted() const;
  bool leave_wanted() const;
  void forget_interrupt();

 private:
  std::vector<std::pair<int, struct sigaction>> before_;
};

}  // namespace wb::cli
