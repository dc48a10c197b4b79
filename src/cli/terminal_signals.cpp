// See terminal_signals.h. A handler stores a flag and writes a byte into a pipe, on which wait()
// sleeps beside the input, so that no signal falls between looking and sleeping.
#include "cli/terminal_signals.h"

#include <fcntl.h>
#include <sys/select.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace wb::cli {

namespace {

volatile std::sig_atomic_t interrupted = 0, resized = 0, resumed = 0, leaving = 0;
int wake_read = -1, wake_write = -1;

extern "C" void note_signal(int signal) {
  const int kept = errno;
  (signal == SIGINT     ? interrupted
   : signal == SIGWINCH ? resized
   : signal == SIGCONT  ? resumed
                        : leaving) = 1;
  [[maybe_unused]] auto n = ::write(wake_write, "", 1);  // a full pipe wakes as well
  errno = kept;
}

bool take(volatile std::sig_atomic_t& flag) {
  if (flag == 0) return false;
  flag = 0;
  return true;
}

void make_pipe() {
  if (wake_read >= 0) return;
  int ends[2];
  if (::pipe(ends) != 0) {
    throw Error(Code::file_open, std::strerror(errno))
        .file("a pipe")
        .advice("Close other programs, or allow more open files.");
  }
  for (const int end : ends) {
    ::fcntl(end, F_SETFD, FD_CLOEXEC);
    ::fcntl(end, F_SETFL, O_NONBLOCK);
  }
  wake_read = ends[0];
  wake_write = ends[1];
}

}  // namespace

TerminalSignals::TerminalSignals() {
  make_pipe();
  for (auto* flag : {&interrupted, &resized, &resumed, &leaving}) *flag = 0;
  struct sigaction action {};
  action.sa_handler = note_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGCONT}) {
    struct sigaction before {};
    if (::sigaction(signal, nullptr, &before) != 0 || before.sa_handler == SIG_IGN) continue;
    ::sigaction(signal, &action, nullptr);
    before_.emplace_back(signal, before);
  }
}

TerminalSignals::~TerminalSignals() {
  for (const auto& [signal, action] : before_) ::sigaction(signal, &action, nullptr);
}

TerminalEvent TerminalSignals::wait(int fd) {
  while (true) {
    std::array<char, 64> drained;
    while (::read(wake_read, drained.data(), drained.size()) > 0) {
    }
    if (leaving != 0) return TerminalEvent::leave;
    if (take(interrupted)) return TerminalEvent::interrupt;
    if (take(resized)) return TerminalEvent::resized;
    if (take(resumed)) return TerminalEvent::resumed;
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    FD_SET(wake_read, &set);
    // A descriptor that cannot be waited on is read, which says what is wrong with it.
    if (::select(std::max(fd, wake_read) + 1, &set, nullptr, nullptr, nullptr) < 0) {
      if (errno == EINTR) continue;
      return TerminalEvent::input;
    }
    if (FD_ISSET(wake_read, &set)) continue;
    return TerminalEvent::input;
  }
}

bool TerminalSignals::stop_wanted() const { return interrupted != 0 || leaving != 0; }
bool TerminalSignals::leave_wanted() const { return leaving != 0; }
void TerminalSignals::forget_interrupt() { interrupted = 0; }

}  // namespace wb::cli
