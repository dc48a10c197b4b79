// Telling people how far a long job is: sizes and times in words, and one line
// that redraws itself on a terminal. It draws nothing elsewhere, never wider than
// the terminal, and without colour when NO_COLOR is set. Refuses to decide what
// is worth a bar: that is cli/'s work.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace wb {

// "540.0 MiB", "1.2 GiB", "17 bytes".
std::string human_bytes(std::uint64_t bytes);
// "0:07", "2:05", "1:02:03"; "--:--" when negative (not known).
std::string human_seconds(double seconds);

// What one line of a bar says.
struct ProgressView {
  std::string_view label;             // ASCII, so that its length is its width
  std::uint64_t done = 0, total = 0;  // bytes; done <= total
  double rate = 0;                    // bytes per second; 0 = not known
};
struct ProgressStyle {
  bool utf8 = false;   // block characters instead of # and .
  bool color = false;  // the bar in colour (escape codes take no columns)
};
// The line for a terminal of `columns`: the richest form that leaves the last
// column free (some terminals wrap there). From 20 columns on it carries bytes,
// rate and time left; below that the percentage alone.
std::string render_progress(const ProgressView& view, unsigned columns, const ProgressStyle& style);

// Whether `fd` is a terminal that understands cursor movement.
bool is_live_terminal(int fd);
// Its width; 80 where it does not say.
unsigned terminal_columns(int fd);
// is_live_terminal and NO_COLOR is unset or empty (no-color.org).
bool wants_color(int fd);

// The live line. Erased when finished or destroyed. One thread at a time.
class ProgressBar {
 public:
  ProgressBar(int fd, std::string label);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // Draws at most ten times a second, but always the first and the last state.
  void update(std::uint64_t done, std::uint64_t total);
  void finish();  // takes the line away

 private:
  using Clock = std::chrono::steady_clock;
  void draw(const ProgressView& view);

  int fd_;
  bool live_;
  bool drawn_ = false;
  std::string label_;
  ProgressStyle style_;
  Clock::time_point last_draw_, last_sample_;
  std::uint64_t sampled_ = 0;
  double rate_ = 0;
};

}  // namespace wb
