// The entry: declares the commands, runs the chosen one, and turns whatever was
// thrown into a sentence (or a JSON document) and an exit code. The only place
// that knows about either.
#include <fmt/format.h>

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <new>
#include <string_view>
#include <system_error>

#include "base/error.h"
#include "base/read_guard.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/ranks.h"
#include "tensor/instruction_set.h"
#include "weightbridge/version.h"

namespace wb::cli {

void add_json_flag(CLI::App& command, Session& session) {
  command.add_flag("--json", session.json, "Print one JSON document to standard output");
}

namespace {

// Flags are not parsed yet when a wrong one is met, so this looks for itself.
bool asks_for_json(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    std::string_view argument = argv[i];
    if (argument == "--") return false;
    if (argument == "--json") return true;
  }
  return false;
}

// Zeros in place of lost pages can look like any other fault: the loss is what happened.
Error cause_of(const Error& error) {
  try {
    require_readable();
  } catch (const Error& loss) {
    return loss;
  }
  return error;
}

int report(const Error& found, bool json) {
  const Error error = cause_of(found);
  print_error(error, json);
  return exit_status(error.code());
}

// What the standard library throws where no layer of ours expects it.
int report_current_exception(bool json) {
  try {
    throw;
  } catch (const Error& error) {
    return report(error, json);
  } catch (const std::bad_alloc&) {
    return report(Error(Code::out_of_memory, "there is not enough memory")
                      .advice("Close other programs, or convert on a machine with more memory."),
                  json);
  } catch (const std::filesystem::filesystem_error& error) {
    return report(Error(Code::file_open, error.code().message())
                      .file(error.path1().string())
                      .advice("Check the path and its permissions."),
                  json);
  } catch (const std::system_error& error) {  // a thread, a lock
    return report(Error(Code::out_of_memory, std::string("the system refuses: ") + error.what())
                      .advice("Raise the limits on memory and processes (ulimit -v, -u)."),
                  json);
  } catch (const std::exception& error) {
    WB_BUG(error.what());  // every fault of users, files and machines is a wb::Error
  }
}

// CLI11 would say only that a command is missing.
void require_known_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-' || argv[1][0] == '\0') return;
  std::string known;
  for (const CLI::App* command : app.get_subcommands({})) {
    if (command->check_name(argv[1])) return;
    known += (known.empty() ? "" : ", ") + command->get_name();
  }
  throw Error(Code::usage, "there is no such command")
      .expected("one of " + known)
      .actual(fmt::format("\"{}\"", argv[1]))
      .advice("`weightbridge --help` says what each of them does.");
}

int run(int argc, char** argv) {
  CLI::App app("Carries a PyTorch DeepSeek-style checkpoint to Apple MLX.", "weightbridge");
  app.set_version_flag("--version", "weightbridge " WEIGHTBRIDGE_VERSION,
                       "Print the version and exit");
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.footer(
      "Exit codes: 0 done, 1 verification failed, 2 wrong usage, 3 bad input, 4 the system "
      "failed.\nweightbridge COMMAND --help says more about a command.");
  app.require_subcommand(1);
  Session session;
  add_inspect(app, session);
  add_plan(app, session);
  add_convert(app, session);
  add_verify(app, session);
  add_logits(app, session);
  add_generate(app, session);
  add_chat(app, session);
  add_bench(app, session);
  add_serve(app, session);
  add_recipes(app, session);
  require_known_command(app, argc, argv);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {  // --help, --version
    return app.exit(wanted);
  } catch (const CLI::ParseError& error) {
    const bool command = !app.get_subcommands().empty();
    return report(
        Error(Code::usage, error.what())
            .advice(fmt::format("`weightbridge {}--help` lists what there is.",
                                command ? app.get_subcommands()[0]->get_name() + " " : "")),
        asks_for_json(argc, argv));
  }
  install_interrupt_handlers(session.json);
  install_read_guard();
  try {
    if (const char* set = std::getenv("WEIGHTBRIDGE_SIMD"); set != nullptr && *set != '\0') {
      limit_instruction_set(set);
    }
    const int status = session.run();
    require_readable();
    leave_ranks();
    return status;
  } catch (...) {
    return report_current_exception(session.json);
  }
}

// Around the declaration of the commands too, which may find no memory.
int run_reporting(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (...) {
    return report_current_exception(asks_for_json(argc, argv));
  }
}

}  // namespace
}  // namespace wb::cli

int main(int argc, char** argv) {
  try {
    return wb::cli::run_reporting(argc, argv);
  } catch (...) {  // standard output itself is gone
    return wb::cli::kSystem;
  }
}
