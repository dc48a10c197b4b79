// The commands of the program. cli/ owns flags, printing and exit codes and
// nothing else: what is computed lies in the libraries. Each command is one file
// with one add_ function, which declares its flags and sets what the session runs.
// A new command is a new file, a line here and a line in main.cpp.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace wb::cli {

enum ExitStatus { kDone = 0, kVerificationFailed = 1, kUsage = 2, kBadInput = 3, kSystem = 4 };

struct Session {
  bool json = false;         // one JSON document on stdout instead of text
  std::function<int()> run;  // the chosen command; returns an ExitStatus, may throw wb::Error
};

// Declares --json; every command that does something calls it.
void add_json_flag(CLI::App& command, Session& session);

void add_inspect(CLI::App& app, Session& session);
void add_plan(CLI::App& app, Session& session);
void add_convert(CLI::App& app, Session& session);
void add_verify(CLI::App& app, Session& session);
void add_logits(CLI::App& app, Session& session);
void add_generate(CLI::App& app, Session& session);
void add_chat(CLI::App& app, Session& session);
void add_bench(CLI::App& app, Session& session);
void add_serve(CLI::App& app, Session& session);
void add_recipes(CLI::App& app, Session& session);

}  // namespace wb::cli
