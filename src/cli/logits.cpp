// `weightbridge logits MODEL`: a model run on tokens, for those who want its numbers. By the
// decoder, which keeps every state; how fast it is is not this file's concern.
#include <cstdio>
#include <fstream>

#include "cli/cli.h"
#include "cli/output.h"
#include "cli/run_flags.h"
#include "convert/layout.h"
#include "runtime/decoder.h"
#include "tensor/read.h"

namespace wb::cli {

namespace {

struct Flags : RunFlags {
  std::string output;
  bool hidden = false;
};

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
  const LoadedModel loaded = load_source(flags.source, reader_from_name(flags.as));
  const Decoder decoder(loaded.model, {.kernels = ops::Kernels::fast, .threads = flags.threads});
  const auto tokens = input_tokens(flags, "--text", decoder.spec().vocab_size);
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

}  // namespace

void add_logits(CLI::App& app, Session& session) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      app.add_subcommand("logits", "Run a checkpoint or an MLX folder and write its logits");
  add_run_flags(*command, *flags);
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

}  // namespace wb::cli
