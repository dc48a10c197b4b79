// See run_flags.h.
#include "cli/run_flags.h"

#include "base/error.h"

namespace wb::cli {

void add_model_flags(CLI::App& command, ModelFlags& flags) {
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

void add_run_flags(CLI::App& command, RunFlags& flags) {
  add_source_flags(command, flags.source);
  command
      .add_option("--tokens", flags.tokens, "Token ids: 1,2,3, or a file (.u16, .u32, safetensors)")
      ->option_text("IDS");
  add_model_flags(command, flags);
}

std::vector<std::uint32_t> input_tokens(const RunFlags& flags, const std::string& option,
                                        std::uint64_t vocab_size) {
  if (flags.tokens.empty() == flags.prompt.empty()) {
    throw Error(Code::usage, "give either --tokens or " + option)
        .advice("For example --tokens 1,2,3.");
  }
  if (!flags.tokens.empty()) return parse_tokens(flags.tokens, vocab_size);
  return require_tokenizer(flags.tokenizer, flags.source.path).encode(flags.prompt);
}

}  // namespace wb::cli
