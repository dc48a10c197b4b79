// `weightbridge bench MODEL`: how fast a model runs here, and how fast it could: rates of prompts
// and of decoding, beside what memory and BLAS of this machine give at best, measured in the same
// run. Owns flags, repetition and printing.
#include <algorithm>
#include <chrono>

#include "base/progress.h"
#include "cli/cli.h"
#include "cli/model.h"
#include "cli/output.h"
#include "engine/engine.h"
#include "engine/measure.h"

namespace wb::cli {

namespace {

struct Flags {
  SourceFlags source;
  std::vector<std::size_t> prompts = {512}, decodes = {128};
  std::size_t context = 0;
  unsigned repeat = 3, threads = 0;
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Ids that visit the vocabulary in no order; the same in every run.
std::vector<std::uint32_t> some_tokens(std::size_t n, std::uint64_t vocab_size) {
  std::vector<std::uint32_t> out(n);
  std::uint64_t state = 1;
  for (std::uint32_t& t : out) {
    state = state * 6364136223846793005 + 1442695040888963407;
    t = static_cast<std::uint32_t>((state >> 33) % vocab_size);
  }
  return out;
}

struct Row {
  std::string test;
  double tokens_per_second, roofline;
  Json json() const {
    return {{"test", test},
            {"tokens_per_second", tokens_per_second},
            {"roofline", roofline},
            {"part_of_roofline", tokens_per_second / roofline}};
  }
};

void check_length(const engine::Engine& engine, std::size_t tokens) {
  if (tokens <= engine.longest()) return;
  throw Error(Code::usage, "the model's positions end before this length")
      .expected("at most " + std::to_string(engine.longest()) + " tokens")
      .actual(std::to_string(tokens))
      .advice("Give shorter lengths with --prompt, --decode or --context.");
}

Row bench_prompt(engine::Engine& engine, std::size_t n, unsigned repeat, double peak) {
  check_length(engine, n);
  const auto tokens = some_tokens(n, engine.spec().vocab_size);
  std::vector<double> seconds;
  for (unsigned i = 0; i <= repeat; ++i) {
    engine::Sequence sequence;
    const double begin = now();
    engine.feed(sequence, tokens);
    if (i > 0) seconds.push_back(now() - begin);  // the first warms up
  }
  const double work = 2.0 * (static_cast<double>(engine.products_per_token() * n) +
                             static_cast<double>(engine.products_of_head()) +
                             static_cast<double>(engine.products_of_attention(n)));
  const double count = static_cast<double>(n);
  return {fmt::format("prompt {}", n), count / median(seconds), count * peak / work};
}

// Memory and decoding take turns of some milliseconds, and the medians of both count, because what
// memory gives changes with what else runs.
Row bench_decode(engine::Engine& engine, engine::ReadBandwidth& memory, std::size_t n,
                 std::size_t context, unsigned repeat) {
  constexpr std::size_t kTurn = 16;  // tokens
  check_length(engine, context + n);
  const auto tokens = some_tokens(context + n, engine.spec().vocab_size);
  std::vector<double> seconds, bandwidth;
  for (unsigned i = 0; i <= repeat; ++i) {
    engine::Sequence sequence;
    if (context > 0) engine.feed(sequence, std::span(tokens).first(context));
    for (std::size_t t = context; t < tokens.size(); ++t) {
      if ((t - context) % kTurn == 0) bandwidth.push_back(memory.pass());
      const double begin = now();
      engine.feed(sequence, std::span(tokens).subspan(t, 1));
      if (i > 0) seconds.push_back(now() - begin);  // the first warms up
    }
  }
  std::string test = fmt::format("decode {}", n);
  if (context > 0) test += fmt::format(" at {}", context);
  return {test, 1.0 / median(seconds),
          median(bandwidth) / static_cast<double>(engine.bytes_per_token())};
}

int bench(const Flags& flags, bool json) {
  const LoadedModel loaded = load_source(flags.source);
  engine::Engine engine(loaded.model, {.threads = flags.threads});
  engine::ReadBandwidth memory(engine.threads());
  std::vector<double> passes;
  for (int i = 0; i < 7; ++i) passes.push_back(memory.pass());
  const double bandwidth = median(passes);
  const double peak = engine::product_peak(engine.threads());
  std::vector<Row> rows;
  for (std::size_t n : flags.prompts) rows.push_back(bench_prompt(engine, n, flags.repeat, peak));
  for (std::size_t n : flags.decodes) {
    rows.push_back(bench_decode(engine, memory, n, flags.context, flags.repeat));
  }
  if (json) {
    Json out = {{"parameters", engine.parameters()},
                {"threads", engine.threads()},
                {"read_bytes_per_second", bandwidth},
                {"product_flops_per_second", peak},
                {"bytes_per_token", engine.bytes_per_token()}};
    for (const Row& r : rows) out["results"].push_back(r.json());
    print_json(out);
    return kDone;
  }
  print(fmt::format(
      "{:.1f} million parameters, {}; memory reads {:.1f} GB/s, products {:.0f} Gflop/s\n",
      static_cast<double>(engine.parameters()) / 1e6, counted(engine.threads(), "thread"),
      bandwidth / 1e9, peak / 1e9));
  print(fmt::format("a token touches {} of weights\n\n", human_bytes(engine.bytes_per_token())));
  std::vector<std::vector<std::string>> cells = {{"test", "tokens/s", "roofline", "reached"}};
  for (const Row& r : rows) {
    cells.push_back({r.test, fmt::format("{:.1f}", r.tokens_per_second),
                     fmt::format("{:.1f}", r.roofline),
                     fmt::format("{:.0f} %", 100 * r.tokens_per_second / r.roofline)});
  }
  print(table(cells, 2, {1, 2, 3}));
  return kDone;
}

}  // namespace

void add_bench(CLI::App& app, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("bench", "How fast a model runs here, and could");
  add_source_flags(*command, flags->source);
  command->add_option("--prompt", flags->prompts, "Lengths of prompts, in tokens")
      ->delimiter(',')
      ->option_text("N,... [512]");
  command->add_option("--decode", flags->decodes, "Tokens to make one by one")
      ->delimiter(',')
      ->option_text("N,... [128]");
  command->add_option("--context", flags->context, "Tokens before those that are made")
      ->option_text("N [0]");
  command->add_option("--repeat", flags->repeat, "Runs of each; the median counts")
      ->check(CLI::Range(1u, 1000u))
      ->option_text("N [3]");
  command->add_option("--threads", flags->threads, "Threads to work on (default: every core)")
      ->check(CLI::Range(1u, 1024u))
      ->option_text("N");
  add_json_flag(*command, session);
  command->callback([&session, flags] {
    session.run = [&session, flags] { return bench(*flags, session.json); };
  });
}

}  // namespace wb::cli
