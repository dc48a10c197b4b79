// `weightbridge logits MODEL` and `weightbridge generate MODEL`: a model run on
// tokens, for those who want its numbers or a first line of its text. Greedy and
// plain; how fast it is is not this file's concern.
#include <algorithm>
#include <cstdio>
#include <fstream>

#include "cli/cli.h"
#include "cli/model.h"
#include "cli/output.h"
#include "convert/layout.h"
#include "runtime/decoder.h"
#include "tensor/read.h"

namespace wb::cli {

namespace {

struct Flags {
  SourceFlags source;
  std::string tokens, prompt, tokenizer, output, as = "mlx-lm";
  std::uint64_t max_tokens = 40;
  unsigned threads = 0;
  bool hidden = false;
};

void add_model_flags(CLI::App& command, Flags& flags) {
  add_source_flags(command, flags.source);
  command
      .add_option("--tokens", flags.tokens, "Token ids: 1,2,3, or a file (.u16, .u32, safetensors)")
      ->option_text("IDS");
  command
      .add_option("--tokenizer", flags.tokenizer,
                  "tokenizer.json (default: looked for beside the model)")
      ->option_text("PATH");
  command.add_option("--as", flags.as, "Read a stock folder as mlx-lm does, or as swift does")
      ->check(CLI::IsMember({"mlx-lm", "swift"}))
      ->option_text("mlx-lm|swift [mlx-lm]");
  command.add_option("--threads", flags.threads, "Threads to work on (default: every core)")
      ->check(CLI::Range(1u, 1024u))
      ->option_text("N");
}

std::vector<std::uint32_t> input_tokens(const Flags& flags, std::uint64_t vocab_size) {
  if (flags.tokens.empty() == flags.prompt.empty()) {
    throw Error(Code::usage, "give either --tokens or --prompt")
        .advice("For example --tokens 1,2,3.");
  }
  if (!flags.tokens.empty()) return parse_tokens(flags.tokens, vocab_size);
  return require_tokenizer(flags.tokenizer, flags.source.path).encode(flags.prompt);
}

// One safetensors file of f32 tensors, written whole or not at all.
void write_tensors(const std::string& path, const std::vector<TargetTensor>& tensors) {
  LoweredModel model;
  model.tensors = tensors;
  const FolderLayout layout = lay_out(model, kMaxSize - 1);
  const std::string partial = path + ".partial";
  std::ofstream file(partial, std::ios::binary);
  const TensorFile& only = layout.files.front();
  file.write(only.header.data(), static_cast<std::streamsize>(only.header.size()));
  for (const PlacedTensor& placed : only.tensors) {
    const std::vector<std::byte> bytes = read_all(placed.tensor->tensor);
    file.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
  file.close();
  if (!file || std::rename(partial.c_str(), path.c_str()) != 0) {
    std::remove(partial.c_str());
    throw Error(Code::file_write, "the file cannot be written")
        .file(path)
        .advice("Check the path and the space on its disk.");
  }
}

int logits(const Flags& flags, bool json) {
  const LoadedModel loaded = load_any(flags.source, reader_from_name(flags.as));
  const Decoder decoder(loaded.model, {.kernels = ops::Kernels::fast, .threads = flags.threads});
  const auto tokens = input_tokens(flags, decoder.spec().vocab_size);
  ForwardOptions options;
  options.hidden = flags.hidden;
  options.threads = flags.threads;
  const ForwardResult result = decoder.forward(tokens, options);
  const std::uint64_t n = tokens.size(), width = decoder.spec().hidden_size;
  std::vector<TargetTensor> out;
  auto add = [&](const std::string& name, const std::vector<float>& values, Shape shape) {
    out.push_back({name, Tensor::values(name, values, std::move(shape)), false, true, 1, ""});
  };
  std::vector<float> ids(tokens.begin(), tokens.end());
  add("tokens", ids, {n});
  add("logits", result.logits, {n, decoder.spec().vocab_size});
  for (std::size_t l = 0; l < result.hidden.size(); ++l)
    add("hidden." + std::to_string(l), result.hidden[l], {n, width});
  if (flags.hidden) add("hidden.final", result.final_hidden, {n, width});
  write_tensors(flags.output, out);
  if (json) {
    print_json(
        {{"output", flags.output}, {"tokens", n}, {"vocab_size", decoder.spec().vocab_size}});
  } else {
    print(
        fmt::format("logits of {} written to {}\n", counted(n, "token"), printable(flags.output)));
  }
  return kDone;
}

// The likeliest next token, greedily, until the context is full or `max_tokens` are made.
int generate(const Flags& flags, bool json) {
  const LoadedModel loaded = load_any(flags.source, reader_from_name(flags.as));
  const Decoder decoder(loaded.model, {.kernels = ops::Kernels::fast, .threads = flags.threads});
  const auto tokenizer = tokenizer_for(flags.tokenizer, flags.source.path);
  std::vector<std::uint32_t> tokens = input_tokens(flags, decoder.spec().vocab_size);
  const std::size_t prompt = tokens.size();
  std::uint64_t limit = flags.max_tokens;
  if (decoder.spec().positions == Positions::learned) {
    const std::uint64_t context = decoder.spec().max_position_embeddings;
    limit = std::min(limit, context - std::min<std::uint64_t>(context, prompt));
  }
  KvCache cache;
  ForwardOptions options;
  options.last_logits_only = true;
  options.threads = flags.threads;
  std::optional<StreamDecoder> stream;
  if (tokenizer) stream.emplace(*tokenizer);
  std::span<const std::uint32_t> next(tokens);
  std::vector<std::uint32_t> made;
  for (std::uint64_t i = 0; i < limit; ++i) {
    const ForwardResult result = decoder.step(cache, next, options);
    const auto best = std::max_element(result.logits.begin(), result.logits.end());
    made.push_back(static_cast<std::uint32_t>(best - result.logits.begin()));
    next = std::span<const std::uint32_t>(made).last(1);
    if (tokenizer && tokenizer->is_special(made.back())) break;
    if (!json)
      print(stream ? printable(stream->push(made.back())) : std::to_string(made.back()) + " ");
  }
  if (!json) print((stream ? printable(stream->finish()) : std::string()) + "\n");
  if (json) {
    print_json({{"prompt_tokens", prompt},
                {"tokens", made},
                {"text", tokenizer ? Json(printable(tokenizer->decode(made))) : Json(nullptr)}});
  }
  return kDone;
}

}  // namespace

void add_logits(CLI::App& app, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      app.add_subcommand("logits", "Run a checkpoint or an MLX folder and write its logits");
  add_model_flags(*command, *flags);
  command->add_option("--text", flags->prompt, "Text instead of --tokens")->option_text("TEXT");
  command->add_flag("--hidden", flags->hidden, "Write the residual stream after each layer too");
  command->add_option("-o,--output", flags->output, "Safetensors file to write")
      ->required()
      ->option_text("FILE");
  add_json_flag(*command, session);
  command->callback([&session, flags] {
    session.run = [&session, flags] { return logits(*flags, session.json); };
  });
}

void add_generate(CLI::App& app, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      app.add_subcommand("generate", "Let a checkpoint or an MLX folder continue a text");
  add_model_flags(*command, *flags);
  command->add_option("--prompt", flags->prompt, "Text to continue")->option_text("TEXT");
  command->add_option("--max-tokens", flags->max_tokens, "Most tokens to make")
      ->option_text("N [40]");
  add_json_flag(*command, session);
  command->callback([&session, flags] {
    session.run = [&session, flags] { return generate(*flags, session.json); };
  });
}

}  // namespace wb::cli
