// See timing.h.
#include "cli/timing.h"

namespace wb::cli {

std::string timing_line(const engine::GenerationStats& stats, const Timing& timing,
                        std::size_t made) {
  std::string line = fmt::format(
      "{} after a prompt of {}{}: first after {:.0f} ms, then {:.1f} a "
      "second",
      counted(made, "token"), stats.prompt_tokens,
      stats.reused > 0 ? fmt::format(" ({} of them known)", stats.reused) : "", timing.first * 1e3,
      timing.rate(made));
  if (stats.drafted > 0) {
    line += fmt::format(
        "; of {} guessed by the multi-token heads {} accepted ({:.0f} %)", stats.drafted,
        stats.accepted,
        100.0 * static_cast<double>(stats.accepted) / static_cast<double>(stats.drafted));
  }
  return line;
}

void add_timing(Json& out, const engine::GenerationStats& stats, const Timing& timing,
                std::size_t made) {
  out["seconds_to_first"] = timing.first;
  out["tokens_per_second"] = timing.rate(made);
  if (stats.drafted > 0)
    out["speculation"] = {{"drafted", stats.drafted}, {"accepted", stats.accepted}};
}

}  // namespace wb::cli
