// `weightbridge serve MODEL`: a model, or two side by side, behind OpenAI's API and a page. The
// server is serve/'s; this file owns flags, signals and printing.
#include <fmt/format.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <thread>

#include "cli/cli.h"
#include "cli/output.h"
#include "cli/run_flags.h"
#include "serve/server.h"
#include "speak/chat_template.h"

namespace wb::cli {

namespace {

struct Flags : ModelFlags {
  std::string beside, name, beside_name;
  bool no_speculation = false;
  serve::ServerOptions server;
  double time_limit = 300, read_timeout = 15, write_timeout = 30, idle_timeout = 60, grace = 10;
  std::uint64_t most_body_kib = 4096;
};

// One model with all that serving it needs.
struct Loaded {
  LoadedModel model;
  std::optional<Tokenizer> tokenizer;
  std::optional<speak::ChatFormat> chat;
  std::unique_ptr<engine::Engine> engine;
};

std::string name_of(const std::string& path) {
  std::filesystem::path p(path);
  if (p.filename().empty()) p = p.parent_path();  // "folder/"
  std::error_code failed;
  const bool folder = std::filesystem::is_directory(p, failed);
  const std::string name = folder ? p.filename().string() : p.stem().string();
  return name.empty() || name == "." || name == ".." ? "model" : name;
}

Loaded load(const Flags& flags, const SourceFlags& source) {
  Loaded out;
  out.model = load_source(source, reader_from_name(flags.as));
  out.tokenizer = tokenizer_for(flags.tokenizer, source.path);
  out.chat = speak::chat_format_of(flags.tokenizer.empty() ? source.path : flags.tokenizer);
  return out;
}

serve::ServedModel served(const Loaded& loaded, const std::string& id, const Flags& flags) {
  serve::ServedModel out;
  out.id = printable(id);
  out.engine = loaded.engine.get();
  out.tokenizer = loaded.tokenizer ? &*loaded.tokenizer : nullptr;
  // Guesses take random numbers of their own. Beside each other, where one model may have
  // multi-token heads and the other not, both draw the same numbers for the same seed.
  out.speculate = !flags.no_speculation && flags.beside.empty();
  if (!loaded.chat) return out;
  out.chat = [&format = *loaded.chat](const auto& messages) { return format.prompt(messages); };
  if (!loaded.chat->eos_token.empty()) out.chat_stops = {loaded.chat->eos_token};
  return out;
}

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

serve::ServerOptions server_options(const Flags& flags) {
  serve::ServerOptions out = flags.server;
  out.most_body = flags.most_body_kib * 1024;
  out.time_limit = milliseconds(flags.time_limit);
  out.read_timeout = milliseconds(flags.read_timeout);
  out.write_timeout = milliseconds(flags.write_timeout);
  out.idle_timeout = milliseconds(flags.idle_timeout);
  out.grace = milliseconds(flags.grace);
  out.page = shipped_text("share/chat.html");
  const char* key = std::getenv("WEIGHTBRIDGE_API_KEY");
  if (out.api_key.empty() && key != nullptr) out.api_key = key;
  return out;
}

void check_ids(const std::vector<serve::ServedModel>& models) {
  if (models.size() < 2 || models[0].id != models[1].id) return;
  throw Error(Code::usage, "two models cannot be served under one name")
      .actual("\"" + models[0].id + "\"")
      .advice("Name them apart with --name and --beside-name.");
}

void say(const serve::Server& server, const serve::ServerOptions& options,
         const std::vector<serve::ServedModel>& models, bool json) {
  const bool v6 = options.host.find(':') != std::string::npos;
  const std::string url =
      fmt::format("http://{}:{}/", v6 ? "[" + options.host + "]" : options.host, server.port());
  if (json) {
    Json out = {{"url", url}, {"port", server.port()}, {"models", Json::array()}};
    for (const auto& m : models) out["models"].push_back(m.id);
    print_json(out);
  } else {
    std::vector<std::string> ids;
    for (const auto& m : models) ids.push_back(m.id);
    print(fmt::format("{} at {}\n", fmt::join(ids, " and "), url));
  }
  if (server.is_loopback()) return;
  remark(options.api_key.empty()
             ? "Anyone who reaches this address may use the server: there is no --api-key."
             : "The API key travels unencrypted: put a TLS proxy in front on a network that is not "
               "your own.");
}

// SIGINT and SIGTERM are blocked in every thread made from here on, and taken by one of ours: the
// first stops the server, a second ends running answers at once. SIGUSR1 ends that thread.
class Signals {
 public:
  Signals() {
    sigemptyset(&set_);
    for (const int s : {SIGINT, SIGTERM, SIGUSR1}) sigaddset(&set_, s);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  }
  void stop_on_signal(serve::Server& server) {
    thread_ = std::thread([this, &server] {
      for (int got = 0; sigwait(&set_, &got) == 0 && !done_;) {
        if (got != SIGUSR1) server.stop();
      }
    });
  }
  void end() {
    done_ = true;
    pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
  }

 private:
  sigset_t set_{};
  std::atomic<bool> done_{false};
  std::thread thread_;
};

// The model, and the one beside it. What a folder was converted with holds for its source too.
std::vector<Loaded> load_all(const Flags& flags, std::vector<SourceFlags>& sources) {
  std::vector<Loaded> out;
  for (const SourceFlags& s : sources) out.push_back(load(flags, s));
  for (std::size_t i = 0; i < out.size() && out.size() > 1; ++i) {
    const std::size_t other = 1 - i;
    if (!out[i].model.is_folder || out[other].model.is_folder) continue;
    std::vector<std::string> remarks;
    settings_from_manifest(sources[other], out[i].model.manifest, remarks);
    if (remarks.empty()) continue;
    for (const std::string& r : remarks) remark(r);
    out[other] = load(flags, sources[other]);
  }
  return out;
}

int serve_models(const Flags& flags, bool json) {
  std::vector<SourceFlags> sources = {flags.source};
  if (!flags.beside.empty()) {
    sources.push_back(flags.source);
    sources.back().path = flags.beside;
  }
  std::vector<Loaded> loaded = load_all(flags, sources);
  // Before the engines make threads. A signal that comes before there is a server is not lost.
  Signals signals;
  for (Loaded& l : loaded) {
    l.engine = std::make_unique<engine::Engine>(l.model.model,
                                                engine::EngineOptions{.threads = flags.threads});
  }
  std::vector<serve::ServedModel> models;
  for (std::size_t i = 0; i < loaded.size(); ++i) {
    const std::string& given = i == 0 ? flags.name : flags.beside_name;
    models.push_back(served(loaded[i], given.empty() ? name_of(sources[i].path) : given, flags));
  }
  check_ids(models);
  const serve::ServerOptions options = server_options(flags);
  serve::Server server(models, options);
  signals.stop_on_signal(server);
  say(server, options, models, json);
  server.run();
  signals.end();
  return kDone;
}

void add_limits(CLI::App& command, Flags& flags) {
  serve::ServerOptions& o = flags.server;
  auto count = [&command](const char* name, auto& value, const char* help, const char* text,
                          std::size_t most) {
    command.add_option(name, value, help)
        ->check(CLI::Range(std::size_t{1}, most))
        ->option_text(text);
  };
  auto seconds = [&command](const char* name, double& value, const char* help, const char* text) {
    command.add_option(name, value, help)->check(CLI::Range(0.1, 86400.0))->option_text(text);
  };
  count("--max-active", o.most_active, "Texts in the making at once, by turns", "N [8]", 1024);
  count("--max-waiting", o.most_waiting, "Texts that may wait for a place", "N [64]", 1'000'000);
  count("--max-context", o.voice.most_tokens, "Tokens of prompt and answer together", "N [4096]",
        1u << 24);
  count("--max-body", flags.most_body_kib, "KiB of a request's body", "KIB [4096]", 1u << 20);
  count("--max-connections", o.most_connections, "Open connections", "N [256]", 16384);
  seconds("--time-limit", flags.time_limit, "Of a request, waiting included", "SECONDS [300]");
  seconds("--read-timeout", flags.read_timeout, "For the next bytes of a body", "SECONDS [15]");
  seconds("--write-timeout", flags.write_timeout, "For a client to take anything", "SECONDS [30]");
  seconds("--idle-timeout", flags.idle_timeout, "Of a connection between two requests",
          "SECONDS [60]");
  command.add_option("--grace", flags.grace, "For running answers once told to stop")
      ->check(CLI::Range(0.0, 86400.0))
      ->option_text("SECONDS [10]");
}

}  // namespace

void add_serve(CLI::App& app, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("serve", "Serve a model to OpenAI clients and a browser");
  add_source_flags(*command, flags->source);
  command->add_option("--beside", flags->beside, "A second model, shown beside the first")
      ->check(not_a_flag)
      ->option_text("MODEL");
  command->add_option("--name", flags->name, "The model's id (default: its file's name)")
      ->option_text("ID");
  command->add_option("--beside-name", flags->beside_name, "The second model's id")
      ->option_text("ID");
  add_model_flags(*command, *flags);
  command->add_flag("--no-speculation", flags->no_speculation,
                    "Do not let multi-token heads guess ahead (as with --beside)");
  serve::ServerOptions& o = flags->server;
  command->add_option("--host", o.host, "Address to listen on")->option_text("HOST [127.0.0.1]");
  command->add_option("--port", o.port, "Port to listen on; 0: any that is free")
      ->check(CLI::Range(0, 65535))
      ->option_text("N [8080]");
  command
      ->add_option("--api-key", o.api_key,
                   "Wanted of every API request (also: WEIGHTBRIDGE_API_KEY)")
      ->option_text("KEY");
  command->add_option("--cors", o.cors_origin, "Pages of this origin may call; * for all")
      ->option_text("ORIGIN");
  command
      ->add_option("--allow-host", o.allowed_hosts,
                   "A further name that requests may be sent to; may be given more than once")
      ->option_text("NAME")
      ->allow_extra_args(false);
  add_limits(*command, *flags);
  add_json_flag(*command, session);
  command->callback([&session, flags] {
    session.run = [&session, flags] { return serve_models(*flags, session.json); };
  });
}

}  // namespace wb::cli
