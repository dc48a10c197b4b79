// See chat_commands.h.
#include "cli/chat_commands.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/json.h"
#include "base/progress.h"
#include "cli/chat_session.h"
#include "cli/output.h"
#include "cli/replace_file.h"

namespace wb::cli {

namespace {

[[noreturn]] void bad_value(const std::string& command, const std::string& expected,
                            const std::string& given) {
  throw Error(Code::usage, command + " takes " + expected)
      .expected(expected)
      .actual(given.empty() ? "nothing" : "\"" + given + "\"")
      .advice("/help lists the commands.");
}

double number(const std::string& command, const std::string& given) {
  char* end = nullptr;
  const double out = std::strtod(given.c_str(), &end);
  if (given.empty() || *end != '\0' || !std::isfinite(out)) bad_value(command, "a number", given);
  return out;
}

// A leading "~/" is the home folder, as a shell would have it.
std::string file_of(const std::string& command, const std::string& given) {
  if (given.empty()) bad_value(command, "the name of a file", given);
  const char* home = std::getenv("HOME");
  return given.starts_with("~/") && home != nullptr ? home + given.substr(1) : given;
}

[[noreturn]] void bad_transcript(const std::string& path, const std::string& why) {
  throw Error(Code::usage, "the file is no transcript: " + why)
      .file(path)
      .advice("Give a file that /save wrote.");
}

}  // namespace

// What the commands do; a friend of the session.
struct ChatCommands {
  ChatSession& session;
  std::string name, argument;

  engine::SamplerOptions& sampling() const { return session.settings_.sampling.options; }
  void set_sampling(engine::SamplerOptions wanted, const std::string& said) const {
    engine::check_sampling(wanted);
    sampling() = wanted;
    note(said);
  }

  void help() const;
  void reset() const {
    session.conversation_.reset();
    session.retries_ = 0;
    note(session.conversation_.system().empty() ? "A new conversation."
                                                : "A new conversation; the system text stays.");
  }
  void system() const {
    session.conversation_.set_system(argument);
    note(argument.empty() ? "There is no system text." : "The system text is set.");
  }
  void temperature() const {
    engine::SamplerOptions wanted = sampling();
    wanted.temperature = number(name, argument);
    set_sampling(wanted, "Temperature " + argument + ".");
  }
  void top_p() const {
    engine::SamplerOptions wanted = sampling();
    wanted.top_p = number(name, argument);
    set_sampling(wanted, "Top-p " + argument + ".");
  }
  void seed() const {
    engine::SamplerOptions wanted = sampling();
    const char* end = argument.data() + argument.size();
    const auto [at, error] = std::from_chars(argument.data(), end, wanted.seed);
    if (argument.empty() || error != std::errc() || at != end) {
      bad_value(name, "a whole number of 64 bits", argument);
    }
    session.retries_ = 0;
    set_sampling(wanted, "Seed " + argument + ".");
  }
  void tokens() const {
    const std::size_t used = session.conversation_.tokens_in_use();
    const std::size_t context = session.conversation_.context();
    note(fmt::format("{} of {} tokens of the context are in use ({:.0f} %).", grouped(used),
                     grouped(context),
                     100.0 * static_cast<double>(used) / static_cast<double>(context)));
    if (!session.last_.empty()) note("The last answer: " + session.last_ + ".");
  }
  void retry() const {
    if (sampling().temperature == 0.0) {
      note("At temperature 0 the answer is the same; /temp changes it.");
    }
    session.say_again();
  }
  void save() const;
  void load() const;
};

namespace {

struct Command {
  const char* name;
  const char* alias;  // null for none
  const char* argument;
  const char* help;
  void (ChatCommands::*run)() const;  // null: the chat ends
};

constexpr Command kCommands[] = {
    {"/help", nullptr, "", "this list", &ChatCommands::help},
    {"/reset", nullptr, "", "a new conversation; the system text stays", &ChatCommands::reset},
    {"/system", nullptr, " [TEXT]", "set the system text; without TEXT there is none",
     &ChatCommands::system},
    {"/temp", nullptr, " T", "temperature; 0: always the likeliest token",
     &ChatCommands::temperature},
    {"/top-p", nullptr, " P", "only the likeliest that have P of the probability",
     &ChatCommands::top_p},
    {"/seed", nullptr, " N", "of the random numbers", &ChatCommands::seed},
    {"/tokens", nullptr, "", "how much of the context is used, and what the last answer took",
     &ChatCommands::tokens},
    {"/retry", "/regenerate", "", "answer the last message anew, with the next seed",
     &ChatCommands::retry},
    {"/save", nullptr, " FILE", "write the conversation as JSON", &ChatCommands::save},
    {"/load", nullptr, " FILE", "go on with a saved conversation", &ChatCommands::load},
    {"/exit", "/quit", "", "leave; so does Ctrl-D", nullptr},
};

}  // namespace

void ChatCommands::help() const {
  const std::size_t columns =
      ::isatty(STDERR_FILENO) == 1 ? terminal_columns(STDERR_FILENO) - 1 : 100;
  constexpr std::size_t kIndent = 24;
  std::string out;
  auto row = [&](const std::string& what, const std::string& means) {
    // On a narrow terminal what it means stands below.
    const bool narrow = columns < 2 * kIndent;
    const std::size_t indent = narrow ? 2 : kIndent;
    out += what + (narrow ? "\n" : "") +
           std::string(narrow ? indent : indent - std::min(indent, what.size()), ' ') +
           wrapped(means, indent, columns) + "\n";
  };
  for (const Command& c : kCommands) {
    row(std::string(c.name) + (c.alias != nullptr ? std::string(", ") + c.alias : "") + c.argument,
        c.help);
  }
  row("a line that ends in \\", "goes on in the next line");
  row("a line that begins //", "is a message that begins with a slash");
  row("Ctrl-C", "stops an answer; at the prompt clears the line");
  std::fwrite(out.data(), 1, out.size(), stderr);
}

void ChatCommands::save() const {
  const std::string path = file_of(name, argument);
  const engine::SamplerOptions& o = sampling();
  Json out = {{"model", session.settings_.model},
              {"system", session.conversation_.system()},
              {"messages", Json::array()},
              {"sampling",
               {{"temperature", o.temperature},
                {"top_k", o.top_k},
                {"top_p", o.top_p},
                {"min_p", o.min_p},
                {"repetition_penalty", o.repetition_penalty},
                {"seed", o.seed}}}};
  for (const speak::Message& m : session.conversation_.messages()) {
    out["messages"].push_back({{"role", m.role}, {"content", m.content}});
  }
  replace_file(path, out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  note(fmt::format("{} written to {}.",
                   counted(session.conversation_.messages().size() / 2, "turn"), path));
}

void ChatCommands::load() const {
  const std::string path = file_of(name, argument);
  const nlohmann::json read = read_json_file(path, "Give a file that /save wrote.");
  if (!read.is_object()) bad_transcript(path, "it is not a JSON object");
  const auto listed = read.find("messages");
  if (listed == read.end() || !listed->is_array()) {
    bad_transcript(path, "it has no list \"messages\"");
  }
  auto text = [&](const nlohmann::json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_string()) {
      bad_transcript(path, std::string("\"") + key + "\" is missing or is no text");
    }
    return found->get<std::string>();
  };
  std::vector<speak::Message> messages;
  for (const nlohmann::json& m : *listed) {
    if (!m.is_object()) bad_transcript(path, "a message is no object");
    messages.push_back({text(m, "role"), text(m, "content")});
  }
  const std::string system = read.contains("system") ? text(read, "system") : "";
  session.conversation_.set_messages(std::move(messages));
  session.conversation_.set_system(system);
  session.retries_ = 0;
  note(fmt::format("{} read from {}.", counted(session.conversation_.messages().size() / 2, "turn"),
                   path));
}

bool run_command(ChatSession& session, const std::string& line) {
  const std::size_t space = std::min(line.find_first_of(" \t\n"), line.size());
  std::string argument = line.substr(space);
  argument.erase(0, std::min(argument.find_first_not_of(" \t\n"), argument.size()));
  argument.erase(argument.find_last_not_of(" \t\n") + 1);
  const std::string name = line.substr(0, space);
  for (const Command& c : kCommands) {
    if (name != c.name && (c.alias == nullptr || name != c.alias)) continue;
    if (*c.argument == '\0' && !argument.empty()) bad_value(name, "nothing after it", argument);
    if (c.run == nullptr) return false;
    (ChatCommands{session, name, argument}.*c.run)();
    return true;
  }
  throw Error(Code::usage, "there is no command " + name)
      .actual("\"" + name + "\"")
      .advice("/help lists the commands; a message that begins with a slash is written //.");
}

}  // namespace wb::cli
