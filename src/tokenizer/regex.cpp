// Oniguruma, held at arm's length; see regex.h.
#include "tokenizer/regex.h"

#include <oniguruma.h>

#include "base/error.h"
#include "base/once.h"
#include "tokenizer/utf8.h"

namespace wb {

namespace {
// Backtracks: a search of the patterns in use takes a few for each byte that it matches, so that
// a text gets as many as its length allows. One search may always have kFewRetries; a search that
// needs more is tried again with more, as long as the text's budget lasts, which bounds the time.
constexpr std::uint64_t kFewRetries = 4096, kFreeRetries = 4'000'000, kRetriesPerByte = 64;
constexpr unsigned kMostStack = 1u << 22;                   // places to come back to
constexpr std::size_t kMaxPattern = std::size_t{64} << 10;  // bytes of a pattern

const OnigUChar* bytes(const char* p) { return reinterpret_cast<const OnigUChar*>(p); }

void initialise_once() {
  static Once once;
  once.run([] {
    OnigEncoding utf8[] = {ONIG_ENCODING_UTF8};
    onig_initialize(utf8, 1);
  });
}

std::string message_of(int status, OnigErrorInfo* info) {
  OnigUChar text[ONIG_MAX_ERROR_MESSAGE_LEN];
  int length = onig_error_code_to_str(text, status, info);
  return std::string(reinterpret_cast<const char*>(text), static_cast<std::size_t>(length));
}

// Scratch of a search, kept per thread so that a search allocates nothing.
struct Scratch {
  OnigRegion* region = onig_region_new();
  OnigMatchParam* param = onig_new_match_param();
  Scratch() {
    onig_initialize_match_param(param);
    onig_set_match_stack_limit_size_of_match_param(param, kMostStack);
  }
  void allow(std::uint64_t retries) {
    onig_set_retry_limit_in_search_of_match_param(param, retries);
    onig_set_retry_limit_in_match_of_match_param(param, retries);
  }
  ~Scratch() {
    onig_region_free(region, 1);
    onig_free_match_param(param);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};
}  // namespace

struct Regex::Program {
  OnigRegex regex = nullptr;
  ~Program() {
    if (regex != nullptr) onig_free(regex);
  }
};

namespace {
int compile(std::string_view pattern, OnigRegex* regex, std::string* message) {
  initialise_once();
  OnigErrorInfo info{};
  int status = onig_new(regex, bytes(pattern.data()), bytes(pattern.data() + pattern.size()),
                        ONIG_OPTION_NONE, ONIG_ENCODING_UTF8, ONIG_SYNTAX_DEFAULT, &info);
  if (status != ONIG_NORMAL) *message = message_of(status, &info);
  return status;
}
}  // namespace

Regex::Regex(std::string_view pattern, const JsonNode& where)
    : pattern_(pattern), file_(where.file()) {
  if (pattern.size() > kMaxPattern)
    where.fail("the regular expression is too long: it has " + std::to_string(pattern.size()) +
               " bytes, at most " + std::to_string(kMaxPattern) + " are taken");
  auto program = std::make_shared<Program>();
  std::string message;
  if (compile(pattern, &program->regex, &message) != ONIG_NORMAL)
    where.fail("the regular expression does not compile: " + message);
  program_ = std::move(program);
}

Regex::Regex(std::string_view pattern) : pattern_(pattern) {
  auto program = std::make_shared<Program>();
  std::string message;
  WB_CHECK(compile(pattern, &program->regex, &message) == ONIG_NORMAL);
  program_ = std::move(program);
}

std::string Regex::escape(std::string_view text) {
  static constexpr std::string_view kSpecial = "\\.+*?()|[]{}^$#&-~/";
  std::string out;
  for (char c : text) {
    if (kSpecial.find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

namespace {
std::string shown(const std::string& pattern) {
  constexpr std::size_t kMost = 200;
  return pattern.size() > kMost ? pattern.substr(0, kMost) + "..." : pattern;
}
}  // namespace

void Regex::for_each(std::string_view text,
                     const std::function<void(std::size_t, std::size_t)>& found) const {
  thread_local Scratch scratch;
  const OnigUChar* begin = bytes(text.data());
  const OnigUChar* end = begin + text.size();
  std::uint64_t budget = kFreeRetries + kRetriesPerByte * text.size();
  // Position of the next match, or a negative number of Oniguruma.
  const auto search = [&](std::size_t from) {
    for (std::uint64_t retries = kFewRetries;; retries *= 4) {
      scratch.allow(retries);
      onig_region_clear(scratch.region);
      const int at = onig_search_with_param(program_->regex, begin, end, begin + from, end,
                                            scratch.region, ONIG_OPTION_NONE, scratch.param);
      const bool gave_up =
          at == ONIGERR_RETRY_LIMIT_IN_MATCH_OVER || at == ONIGERR_RETRY_LIMIT_IN_SEARCH_OVER;
      if (!gave_up || retries > budget) return at;
      budget -= retries;
    }
  };
  std::size_t from = 0;
  bool any = false;
  std::size_t last_end = 0;  // of the match before, if any
  while (from <= text.size()) {
    const int at = search(from);
    if (at == ONIG_MISMATCH) return;
    if (at < 0)
      throw Error(Code::limit_exceeded, "the regular expression " + shown(pattern_) +
                                            " gave up on " + std::to_string(text.size()) +
                                            " bytes of text: " + message_of(at, nullptr))
          .expected("at most " + std::to_string(kFreeRetries + kRetriesPerByte * text.size()) +
                    " backtracks")
          .file(file_)
          .advice("Cut the text into smaller parts, for example at blank lines.");
    auto match_begin = static_cast<std::size_t>(scratch.region->beg[0]);
    auto match_end = static_cast<std::size_t>(scratch.region->end[0]);
    if (match_begin == match_end && any && last_end == match_end) {
      // An empty match right behind the last one: look on from the next character.
      if (from >= text.size()) return;
      from += utf8::step(text, from).length;
      continue;
    }
    any = true;
    from = last_end = match_end;
    found(match_begin, match_end);
  }
}

}  // namespace wb
