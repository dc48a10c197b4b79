// The live line and its words; see progress.h.
#include "base/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

namespace wb {

namespace {

// Below these the numbers of a first moment would only flicker.
constexpr double kDrawEvery = 0.1, kSampleEvery = 0.25;
// Weight of the newest rate sample: a few seconds of memory.
constexpr double kNewest = 0.3;

struct Scaled {
  double value;
  char unit;  // 0 for bytes
};
Scaled scaled(double bytes) {
  constexpr std::array<char, 7> units = {0, 'K', 'M', 'G', 'T', 'P', 'E'};  // sizes end at 2^63
  std::size_t i = 0;
  // 1023.95 would print as 1024.0.
  while (i + 1 < units.size() && bytes >= 1023.95) {
    bytes /= 1024;
    ++i;
  }
  return {bytes, units[i]};
}
// At most four columns: "17B", "9.9K", "540M".
std::string short_bytes(double bytes) {
  Scaled s = scaled(bytes);
  if (s.unit == 0) return fmt::format("{:.0f}B", s.value);
  if (s.value < 9.95) return fmt::format("{:.1f}{}", s.value, s.unit);
  // Three digits at most: 1000 to 1023 of a unit are about one of the next.
  if (s.value >= 999.5) return short_bytes(std::max(bytes, 1.0) * 1024 / s.value);
  return fmt::format("{:.0f}{}", s.value, s.unit);
}

bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    std::string_view v(value);
    return v.find("UTF-8") != v.npos || v.find("utf8") != v.npos || v.find("utf-8") != v.npos;
  }
  return false;
}

std::string bar(std::size_t width, double part, const ProgressStyle& style) {
  auto full = std::min(width, static_cast<std::size_t>(part * static_cast<double>(width)));
  std::string out = style.color ? "\x1b[36m" : "";
  for (std::size_t i = 0; i < full; ++i) out += style.utf8 ? "█" : "#";
  if (style.color) out += "\x1b[0m\x1b[2m";
  for (std::size_t i = full; i < width; ++i) out += style.utf8 ? "░" : ".";
  if (style.color) out += "\x1b[0m";
  return out;
}

}  // namespace

std::string human_bytes(std::uint64_t bytes) {
  if (bytes == 1) return "1 byte";
  Scaled s = scaled(static_cast<double>(bytes));
  if (s.unit == 0) return fmt::format("{} bytes", bytes);
  return fmt::format("{:.1f} {}iB", s.value, s.unit);
}

std::string human_seconds(double seconds) {
  // A hundred hours is no estimate any more.
  if (!(seconds >= 0) || seconds >= 360000) return "--:--";
  auto s = static_cast<std::uint64_t>(std::ceil(seconds));
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

std::string render_progress(const ProgressView& view, unsigned columns,
                            const ProgressStyle& style) {
  const std::size_t room = columns > 0 ? columns - 1 : 0;
  const double part =
      view.total > 0 ? static_cast<double>(view.done) / static_cast<double>(view.total) : 0.0;
  const auto percent = static_cast<unsigned>(part * 100);
  const double left =
      view.rate > 0 ? static_cast<double>(view.total - view.done) / view.rate : -1.0;
  const std::string time = human_seconds(left);

  std::string rate = view.rate > 0 ? human_bytes(static_cast<std::uint64_t>(view.rate)) : "?";
  const std::string rich = fmt::format("{:3} %  {} of {}  {}/s  {} left", percent,
                                       human_bytes(view.done), human_bytes(view.total), rate, time);
  constexpr std::size_t kLeastBar = 8, kMostBar = 40;
  const std::size_t around = view.label.size() + 2 + 2 + rich.size();
  if (around + kLeastBar <= room) {
    return fmt::format("{}  {}  {}", view.label,
                       bar(std::min(kMostBar, room - around), part, style), rich);
  }
  if (rich.size() <= room) return rich;
  const std::string tight =
      fmt::format("{} {}/s {}", short_bytes(static_cast<double>(view.done)),
                  view.rate > 0 ? short_bytes(view.rate) : "?",
                  time.size() > 5 ? fmt::format("{:.0f}h", left / 3600) : time);
  if (const std::string more = fmt::format("{}% {}", percent, tight); more.size() <= room) {
    return more;
  }
  if (tight.size() <= room) return tight;
  const std::string least = fmt::format("{}%", percent);
  return least.size() <= room ? least : "";
}

unsigned terminal_columns(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

bool is_live_terminal(int fd) {
  if (::isatty(fd) != 1) return false;
  const char* term = std::getenv("TERM");
  return term != nullptr && *term != '\0' && std::string_view(term) != "dumb";
}

bool wants_color(int fd) {
  const char* no_color = std::getenv("NO_COLOR");
  return is_live_terminal(fd) && (no_color == nullptr || *no_color == '\0');
}

ProgressBar::ProgressBar(int fd, std::string label)
    : fd_(fd),
      live_(is_live_terminal(fd)),
      label_(std::move(label)),
      style_{locale_is_utf8(), wants_color(fd)},
      last_sample_(Clock::now()) {}

ProgressBar::~ProgressBar() { finish(); }

void ProgressBar::update(std::uint64_t done, std::uint64_t total) {
  if (!live_) return;
  const auto now = Clock::now();
  const double since = std::chrono::duration<double>(now - last_sample_).count();
  if (since >= kSampleEvery && done > sampled_) {
    const double newest = static_cast<double>(done - sampled_) / since;
    rate_ = rate_ > 0 ? rate_ + kNewest * (newest - rate_) : newest;
    sampled_ = done;
    last_sample_ = now;
  }
  const bool due = std::chrono::duration<double>(now - last_draw_).count() >= kDrawEvery;
  if (drawn_ && !due && done < total) return;
  last_draw_ = now;
  draw({label_, std::min(done, total), total, rate_});
}

void ProgressBar::draw(const ProgressView& view) {
  std::string line = "\r" + render_progress(view, terminal_columns(fd_), style_) + "\x1b[K";
  // A bar that cannot be written is no reason to stop the work.
  if (::write(fd_, line.data(), line.size()) < 0) live_ = false;
  drawn_ = true;
}

void ProgressBar::finish() {
  if (!live_ || !drawn_) return;
  constexpr std::string_view erase = "\r\x1b[K";
  if (::write(fd_, erase.data(), erase.size()) < 0) live_ = false;
  drawn_ = false;
}

}  // namespace wb
