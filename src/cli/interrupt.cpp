// See interrupt.h. The handler only stores flags, writes constant text and ends.
#include "cli/interrupt.h"

#include <unistd.h>

#include <csignal>
#include <string_view>

#include "cli/cli.h"
#include "convert/convert.h"

namespace wb::cli {

namespace {

volatile std::sig_atomic_t deferred = 0, json_wanted = 0;

constexpr std::string_view kText = "weightbridge: interrupted; nothing was written.\n";
constexpr std::string_view kJson =
    "{\"error\": {\"code\": \"interrupted\", \"sentence\": \"interrupted; nothing was written.\", "
    "\"advice\": \"\", \"file\": \"\", \"tensor\": \"\", \"expected\": \"\", \"actual\": \"\"}}\n";

extern "C" void on_signal(int) {
  if (deferred != 0) {
    request_interrupt();
    return;
  }
  const std::string_view text = json_wanted != 0 ? kJson : kText;
  // Nothing is left to do about a failing write here.
  [[maybe_unused]] auto n =
      ::write(json_wanted != 0 ? STDOUT_FILENO : STDERR_FILENO, text.data(), text.size());
  ::_exit(kSystem);
}

}  // namespace

void install_interrupt_handlers(bool json) {
  json_wanted = json ? 1 : 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  ::signal(SIGXFSZ, SIG_IGN);  // a file beyond ulimit -f is an error of the write like any other
  for (int signal : {SIGINT, SIGTERM}) {
    // Where a parent had it ignored (nohup, a background job), it stays so.
    struct sigaction before {};
    if (::sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) continue;
    ::sigaction(signal, &action, nullptr);
  }
}

DeferInterrupts::DeferInterrupts() { deferred = 1; }
DeferInterrupts::~DeferInterrupts() {
  if (!keep_) deferred = 0;
}

}  // namespace wb::cli
