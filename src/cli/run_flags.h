// The flags of the commands that run a model: which, on what tokens, how it is read.
#pragma once

#include <string>
#include <vector>

#include "cli/model.h"

namespace wb::cli {

struct ModelFlags {
  SourceFlags source;
  std::string tokenizer, as = "mlx-lm";
  unsigned threads = 0;
};
// All but those of the source: --tokenizer, --as, --threads.
void add_model_flags(CLI::App& command, ModelFlags& flags);

struct RunFlags : ModelFlags {
  std::string tokens, prompt;
};
void add_run_flags(CLI::App& command, RunFlags& flags);

// --tokens, or the tokens of the text. Throws Code::usage unless exactly one is given; `option`
// names the one for text.
std::vector<std::uint32_t> input_tokens(const RunFlags& flags, const std::string& option,
                                        std::uint64_t vocab_size);

}  // namespace wb::cli
