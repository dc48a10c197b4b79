// What making a text took: for people in a line, for --json in fields. Shared by the commands that
// make text; refuses nothing.
#pragma once

#include <chrono>
#include <string>

#include "cli/output.h"
#include "engine/generation.h"

namespace wb::cli {

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

struct Timing {
  double first = 0, all = 0;  // seconds from the start of the work to the first token, to the end
  // Tokens per second after the first of `made`.
  double rate(std::size_t made) const {
    return made > 1 && all > first ? static_cast<double>(made - 1) / (all - first) : 0.0;
  }
};

// "12 tokens after a prompt of 30: first after 20 ms, then 50.0 a second".
std::string timing_line(const engine::GenerationStats& stats, const Timing& timing,
                        std::size_t made);
// "seconds_to_first", "tokens_per_second" and, where heads have guessed, "speculation".
void add_timing(Json& out, const engine::GenerationStats& stats, const Timing& timing,
                std::size_t made);

}  // namespace wb::cli
