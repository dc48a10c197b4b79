// Oniguruma, held at arm's length; see regex.h.
#include "tokenizer/regex.h"

#include <oniguruma.h>

#include <mutex>

#include "base/error.h"
#include "tokenizer/utf8.h"

namespace wb {

namespace {
// Backtracks in one search; the patterns in use stay far below, also on long runs of spaces.
constexpr unsigned long kMaxRetries = 100'000'000;

const OnigUChar* bytes(const char* p) { return reinterpret_cast<const OnigUChar*>(p); }

void initialise_once() {
  static std::once_flag once;
  std::call_once(once, [] {
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
    onig_set_retry_limit_in_search_of_match_param(param, kMaxRetries);
    onig_set_retry_limit_in_match_of_match_param(param, kMaxRetries);
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

Regex::Regex(std::string_view pattern, const JsonNode& where) : pattern_(pattern) {
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

void Regex::for_each(std::string_view text,
                     const std::function<void(std::size_t, std::size_t)>& found) const {
  thread_local Scratch scratch;
  const OnigUChar* begin = bytes(text.data());
  const OnigUChar* end = begin + text.size();
  std::size_t from = 0;
  bool any = false;
  std::size_t last_end = 0;  // of the match before, if any
  while (from <= text.size()) {
    onig_region_clear(scratch.region);
    int at = onig_search_with_param(program_->regex, begin, end, begin + from, end, scratch.region,
                                    ONIG_OPTION_NONE, scratch.param);
    if (at == ONIG_MISMATCH) return;
    if (at < 0)
      throw Error(Code::limit_exceeded, "the regular expression " + pattern_ + " gave up on " +
                                            std::to_string(text.size()) +
                                            " bytes of text: " + message_of(at, nullptr))
          .expected("at most " + std::to_string(kMaxRetries) + " backtracks")
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
