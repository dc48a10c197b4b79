// The bounds of one run of a chat template, and its complaints. A template comes from a stranger:
// it must not hang, eat memory or recurse out of the stack, so that every step, every byte made or
// looked at and every nesting is counted here. Owns the counts and the place (file and line);
// going over is Code::limit_exceeded, the rest Code::config_invalid, naming both.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace wb::speak::jinja {

// docs/chat.md lists these.
inline constexpr std::size_t kMaxTemplate = std::size_t{1} << 20;  // bytes of a template
inline constexpr int kMaxDepth = 100;      // nesting of a template's tags and expressions
inline constexpr int kMaxNesting = 100;    // of lists and dicts, given or made
inline constexpr int kMaxRunDepth = 1000;  // of what is being evaluated, through macros as well
#ifdef WB_SMALL_BOUNDS  // for fuzzers, which look at what happens there, not at how long it takes
inline constexpr std::size_t kMaxSteps = 50'000;
inline constexpr std::size_t kMaxWork = std::size_t{1} << 20;
inline constexpr std::size_t kMaxOutput = std::size_t{1} << 18;
#else
inline constexpr std::size_t kMaxSteps = 5'000'000;              // expressions and tags evaluated
inline constexpr std::size_t kMaxWork = std::size_t{1} << 28;    // bytes made or looked at
inline constexpr std::size_t kMaxOutput = std::size_t{1} << 26;  // bytes of the rendered text
#endif

class Run {
 public:
  explicit Run(std::string file) : file_(std::move(file)) {}

  int line = 1;

  void step(std::size_t n = 1) {
    steps_ += n;
    if (steps_ > kMaxSteps) over("steps", kMaxSteps);
  }
  // Before `bytes` are made or looked at.
  void work(std::size_t bytes) {
    if (bytes > kMaxWork - work_) over("bytes of work", kMaxWork);
    work_ += bytes;
  }
  void work(std::size_t count, std::size_t each) {
    if (each != 0 && count > kMaxWork / each) over("bytes of work", kMaxWork);
    work(count * each);
  }
  [[noreturn]] void over(std::string_view what, std::size_t limit) const;

  // Outside the documented subset: "line 3 of the chat template: SENTENCE".
  [[noreturn]] void refuse(const std::string& sentence) const;
  // What Jinja itself would fail at.
  [[noreturn]] void fail(const std::string& sentence) const;
  // raise_exception(): the template refuses what it was given (Code::usage).
  [[noreturn]] void raised(std::string_view message) const;

 private:
  Error error(Code code, const std::string& sentence) const;

  std::string file_;
  std::size_t steps_ = 0, work_ = 0;
};

// One level deeper, as long as it lives.
class Deeper {
 public:
  Deeper(int& depth, int limit, const Run& run) : depth_(depth) {
    if (++depth_ > limit) {
      --depth_;
      run.over("levels of nesting", static_cast<std::size_t>(limit));
    }
  }
  ~Deeper() { --depth_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;

 private:
  int& depth_;
};

}  // namespace wb::speak::jinja
