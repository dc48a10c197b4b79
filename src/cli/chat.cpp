// `weightbridge chat MODEL`: a conversation with a model, at a terminal or of a script. The
// conversation is speak/'s, what a line does chat_session.h's; this file owns flags and the loop
// that reads lines.
#include <functional>

#include "cli/chat_session.h"
#include "cli/cli.h"
#include "cli/history_file.h"
#include "cli/line_reader.h"
#include "cli/output.h"
#include "cli/run_flags.h"
#include "tokenizer/utf8.h"

namespace wb::cli {

namespace {

struct Flags : ModelFlags {
  Flags() { sampling.max_tokens = 512; }
  SamplingFlags sampling;
  std::string system;
  std::size_t context = 0;
  bool no_history = false;
};

// A message out of lines: one that ends in a backslash goes on in the next, and two of them are
// one that is meant.
LineRead read_message(LineReader& lines, const std::string& prompt, std::string& message,
                      const std::function<void(const std::string&)>& typed) {
  message.clear();
  for (bool more = true, first = true; more; first = false) {
    std::string line;
    const LineRead got = lines.read(first ? prompt : "... ", line);
    if (got == LineRead::cleared) return got;
    if (got == LineRead::ended) return first ? got : LineRead::line;
    if (line.ends_with('\r')) line.pop_back();
    typed(line);
    more = line.ends_with('\\');
    if (more) line.pop_back();
    if (more && line.ends_with('\\')) more = false;
    message += utf8::replace_invalid(line) + (more ? "\n" : "");
  }
  return LineRead::line;
}

bool is_blank(const std::string& text) {
  return text.find_first_not_of(" \t\n") == std::string::npos;
}

// At a terminal a mistake is said, and the chat goes on.
bool can_go_on(Code code) {
  return code == Code::usage || code == Code::limit_exceeded || code == Code::config_invalid ||
         code == Code::file_open;
}

int talk(ChatSession& session, const Flags& flags, TerminalSignals& signals) {
  HistoryFile history(flags.no_history);
  const auto lines = lines_of_a_person(signals, history.load());
  std::string message;
  while (true) {
    const LineRead got = read_message(*lines, "> ", message, [&](const auto& line) {
      if (is_blank(line) || line.starts_with(' ')) return;  // as shells have it
      lines->remember(line);
      history.append(line);
    });
    if (signals.leave_wanted()) return kSystem;
    if (got == LineRead::ended) return kDone;
    if (got == LineRead::cleared || is_blank(message)) continue;
    try {
      if (!session.take(message)) return kDone;
    } catch (const Error& error) {
      if (!can_go_on(error.code())) throw;
      print_error(error, false);
    }
    if (signals.leave_wanted()) return kSystem;
  }
}

int follow_script(ChatSession& session) {
  const auto lines = lines_of_a_script();
  std::string message;
  while (read_message(*lines, "", message, [](const auto&) {}) == LineRead::line) {
    if (!is_blank(message) && !session.take(message)) break;
  }
  return kDone;
}

int chat(const Flags& flags, bool json) {
  const LoadedModel loaded = load_source(flags.source, reader_from_name(flags.as));
  const Tokenizer tokenizer = require_tokenizer(flags.tokenizer, flags.source.path);
  const auto format =
      speak::chat_format_of(flags.tokenizer.empty() ? flags.source.path : flags.tokenizer);
  engine::check_sampling(flags.sampling.options);
  engine::Engine engine(loaded.model, {.threads = flags.threads});
  speak::Conversation conversation(
      engine, tokenizer, format ? &*format : nullptr,
      {.context = flags.context, .speculate = !flags.sampling.no_speculation});
  conversation.set_system(flags.system);
  const bool person = lines_come_from_a_person();
  if (!format) {
    note("The model has no chat template: it continues what is said as plain text.");
  }
  const ChatSettings settings{flags.source.path, flags.sampling, json};
  if (!person) {
    ChatSession session(conversation, settings, nullptr);
    return follow_script(session);
  }
  note(fmt::format("A context of {}; /help lists the commands, Ctrl-D leaves.",
                   counted(conversation.context(), "token")));
  TerminalSignals signals;
  ChatSession session(conversation, settings, &signals);
  return talk(session, flags, signals);
}

}  // namespace

void add_chat(CLI::App& app, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("chat", "Talk with a model");
  add_source_flags(*command, flags->source);
  add_model_flags(*command, *flags);
  command->add_option("--system", flags->system, "What the model is told before the conversation")
      ->option_text("TEXT");
  command
      ->add_option("--max-context", flags->context,
                   "Tokens of conversation and answer together (default: what the model is made "
                   "for)")
      ->check(CLI::Range(std::size_t{16}, std::size_t{1} << 24))
      ->option_text("N");
  add_sampling_flags(*command, flags->sampling);
  command->add_flag("--no-history", flags->no_history,
                    "Neither read nor keep the lines that are typed");
  command->add_flag("--json", session.json, "Print one JSON object for each turn, a line each");
  command->callback([&session, flags] {
    session.run = [&session, flags] { return chat(*flags, session.json); };
  });
}

}  // namespace wb::cli
