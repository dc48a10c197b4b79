// The flags of the commands that run a model: which, on what tokens, how it is read.
#pragma once

#include <string>
#include <vector>

#include "cli/model.h"

namespace wb::cli {

struct RunFlags {
  SourceFlags source;
  std::string tokens, prompt, tokenizer, as = "mlx-lm";
  unsigned threads = 0;
};
void add_run_flags(CLI::App& command, RunFlags& flags);

// --tokens, or the tokens of the text. Throws Code::usage unless exactly one is given; `option`
// names the one for text.
std::vector<std::uint32_t> input_tokens(const RunFlags& flags, const std::string& option,
                                        std::uint64_t vocab_size);

}  // namespace wb::cli
