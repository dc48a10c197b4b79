// `weightbridge generate MODEL`: a model continues a text, streamed as it is made, with what it
// took on stderr at the end. The engine does it; this file owns flags and printing.
#include <optional>

#include "cli/cli.h"
#include "cli/output.h"
#include "cli/run_flags.h"
#include "cli/sampling_flags.h"
#include "cli/timing.h"
#include "engine/generation.h"
#include "speak/text_stream.h"

namespace wb::cli {

namespace {

struct Flags : RunFlags {
  SamplingFlags sampling;
};

int generate(const Flags& flags, bool json) {
  const Stopwatch clock;
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
              {"finish_reason", finish}};
  add_timing(out, stats, timing, made.size());
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
