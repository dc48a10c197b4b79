// See sampling_flags.h.
#include "cli/sampling_flags.h"

#include <fmt/format.h>

namespace wb::cli {

void add_sampling_flags(CLI::App& command, SamplingFlags& flags) {
  engine::SamplerOptions& o = flags.options;
  command.add_option("--max-tokens", flags.max_tokens, "Most tokens to make")
      ->option_text(fmt::format("N [{}]", flags.max_tokens));
  command.add_option("--temperature", o.temperature, "0: always the likeliest token")
      ->option_text("T [0]");
  command.add_option("--top-k", o.top_k, "Only the K likeliest tokens")->option_text("K [all]");
  command.add_option("--top-p", o.top_p, "Only the likeliest that have P of the probability")
      ->option_text("P [1]");
  command.add_option("--min-p", o.min_p, "Only tokens with P of the likeliest one's probability")
      ->option_text("P [0]");
  command
      .add_option("--repetition-penalty", o.repetition_penalty,
                  "Above 1: tokens that were there before become less likely")
      ->option_text("R [1]");
  command.add_option("--seed", o.seed, "Of the random numbers")->option_text("N [0]");
  command.add_option("--stop", flags.stop, "End before this text; may be given more than once")
      ->option_text("TEXT")
      ->allow_extra_args(false);
  command.add_flag("--no-speculation", flags.no_speculation,
                   "Do not let multi-token heads guess ahead");
}

}  // namespace wb::cli
