// `weightbridge generate MODEL`: a model continues a text, streamed as it is made, with what it
// took on stderr at the end. The engine does it; this file owns flags and printing.
#include <chrono>
#include <optional>

#include "cli/cli.h"
#include "cli/output.h"
#include "cli/run_flags.h"
#include "cli/sampling_flags.h"
#include "engine/generation.h"
#include "speak/text_stream.h"

namespace wb::cli {

namespace {

struct Flags : RunFlags {
  SamplingFlags sampling;
};

class Clock {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// What it took, for people and for --json.
struct Timing {
  double first = 0, all = 0;  // seconds from the start of the command's work
  double rate(std::size_t made) const {
    return made > 1 && all > first ? static_cast<double>(made - 1) / (all - first) : 0.0;
  }
};

std::string timing_line(const engine::GenerationStats& stats, const Timing& t, std::size_t given) {
  std::string line =
      fmt::format("{} after a prompt of {}: first after {:.0f} ms, then {:.1f} a second",
                  counted(given, "token"), stats.prompt_tokens, t.first * 1e3, t.rate(given));
  if (stats.drafted > 0) {
    line += fmt::format(
        "; of {} guessed by the multi-token heads {} accepted ({:.0f} %)", stats.drafted,
        stats.accepted,
        100.0 * static_cast<double>(stats.accepted) / static_cast<double>(stats.drafted));
  }
  return line;
}

int generate(const Flags& flags, bool json) {
  const Clock clock;
  const LoadedModel loaded = load_source(flags.source, reader_from_name(flags.as));
  engine::Engine engine(loaded.model, {.threads = flags.threads});
  const auto tokenizer = tokenizer_for(flags.tokenizer, flags.source.path);
  if (!tokenizer && !flags.sampling.stop.empty()) {
    require_tokenizer(flags.tokenizer, flags.source.path);
  }
  engine::Generation generation(engine, input_tokens(flags, "--prompt", engine.spec().vocab_size),
                                flags.sampling.options, !flags.sampling.no_speculation);
  std::optional<speak::TextStream> stream;
  if (tokenizer) stream.emplace(*tokenizer, flags.sampling.stop);
  std::vector<std::uint32_t> made;
  std::string text, finish = "length";
  Timing timing;
  auto give = [&](const std::string& part) {
    text += part;
    if (!json) print(printable(part));
  };
  while (made.size() < flags.sampling.max_tokens) {
    const std::uint32_t token = generation.next();
    if (made.empty()) timing.first = clock.seconds();
    made.push_back(token);
    if (tokenizer && tokenizer->is_special(token)) {
      finish = "stop";
      break;
    }
    if (stream) {
      give(stream->push(token));
    } else if (!json) {
      print(std::to_string(token) + " ");
    }
    if (stream && stream->stopped()) {
      finish = "stop";
      break;
    }
  }
  if (stream) give(stream->finish());
  timing.all = clock.seconds();
  const engine::GenerationStats& stats = generation.stats();
  if (!json) {
    print("\n");
    remark(timing_line(stats, timing, made.size()));
    return kDone;
  }
  Json out = {{"prompt_tokens", stats.prompt_tokens},
              {"tokens", made},
              {"text", tokenizer ? Json(text) : Json(nullptr)},
              {"finish_reason", finish},
              {"seconds_to_first", timing.first},
              {"tokens_per_second", timing.rate(made.size())}};
  if (stats.drafted > 0)
    out["speculation"] = {{"drafted", stats.drafted}, {"accepted", stats.accepted}};
  print_json(out);
  return kDone;
}

}  // namespace

void add_generate(CLI::App& app, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      app.add_subcommand("generate", "Let a checkpoint or an MLX folder continue a text");
  add_run_flags(*command, *flags);
  command->add_option("--prompt", flags->prompt, "Text to continue")->option_text("TEXT");
  add_sampling_flags(*command, flags->sampling);
  add_json_flag(*command, session);
  command->callback([&session, flags] {
    session.run = [&session, flags] { return generate(*flags, session.json); };
  });
}

}  // namespace wb::cli
