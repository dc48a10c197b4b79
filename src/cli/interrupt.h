// Ctrl-C and SIGTERM. As long as nothing has been written the program ends at
// once with exit code 4; while a folder is being written the writer is asked to
// stop, so that it takes its files away.
#pragma once

namespace wb::cli {

// `json`: what is printed is a JSON document on stdout.
void install_interrupt_handlers(bool json);

// From here to the end of the scope an interrupt asks convert() to stop (convert.h).
class DeferInterrupts {
 public:
  DeferInterrupts();
  ~DeferInterrupts();
  // The folder is there: from now on an interrupt changes nothing, so that nobody is told that
  // nothing was written.
  void keep() { keep_ = true; }
  DeferInterrupts(const DeferInterrupts&) = delete;
  DeferInterrupts& operator=(const DeferInterrupts&) = delete;

 private:
  bool keep_ = false;
};

}  // namespace wb::cli
