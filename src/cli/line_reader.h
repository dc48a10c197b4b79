// Lines from whoever talks to the program: edited and with a history on a terminal (libedit), as
// the terminal gives them where libedit is not built in or the terminal is dumb, and plainly from
// a file or a pipe. Owns prompts and the terminal's state, which is as before between two lines.
// Refuses lines over 16 MiB (Code::limit_exceeded).
#pragma once

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "cli/terminal_signals.h"

namespace wb::cli {

// `cleared`: Ctrl-C, nothing is left of the line; `ended`: the end of input, or a signal to leave.
enum class LineRead { line, cleared, ended };

class LineReader {
 public:
  virtual ~LineReader() = default;
  // `line`: without its end, its bytes as they were typed. `prompt` is shown to people only.
  virtual LineRead read(const std::string& prompt, std::string& line) = 0;
  // Puts a line where the keys for earlier lines find it.
  virtual void remember(const std::string&) {}
};

// Whether lines come from a person: standard input is a terminal, and one of the outputs.
bool lines_come_from_a_person();
// For a person, with the lines of `earlier` to go back to.
std::unique_ptr<LineReader> lines_of_a_person(TerminalSignals& signals,
                                              const std::vector<std::string>& earlier);
// Standard input without prompts.
std::unique_ptr<LineReader> lines_of_a_script();

#ifdef WB_LIBEDIT
// line_editor.cpp; null where libedit cannot work with the terminal.
std::unique_ptr<LineReader> edited_lines(TerminalSignals& signals,
                                         const std::vector<std::string>& earlier, std::FILE* out);
#endif

}  // namespace wb::cli
