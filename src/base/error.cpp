// Composes the sentences of wb::Error; see error.h.
#include "base/error.h"

#include <cstdio>
#include <cstdlib>

namespace wb {

namespace {
struct CodeRow {
  std::string_view name;
  int status;
};
constexpr CodeRow kCodes[] = {
#define WB_ERROR(name, status) {#name, status},
#include "base/error_codes.def"
#undef WB_ERROR
};
const CodeRow& row(Code code) { return kCodes[static_cast<std::size_t>(code)]; }
void keep_first(std::string& slot, std::string_view value) {
  if (slot.empty()) slot = value;
}
}  // namespace

std::string_view code_name(Code code) { return row(code).name; }
int exit_status(Code code) { return row(code).status; }

Error::Error(Code code, std::string sentence) : code_(code), message_(std::move(sentence)) {
  compose();
}

void Error::compose() {
  text_.clear();
  if (!file_.empty()) text_ += file_ + ": ";
  if (!tensor_.empty()) text_ += tensor_ + ": ";
  text_ += message_;
  if (!expected_.empty() || !actual_.empty()) {
    text_ += ": ";
    if (!expected_.empty()) text_ += "expected " + expected_;
    if (!expected_.empty() && !actual_.empty()) text_ += ", ";
    if (!actual_.empty()) text_ += "found " + actual_;
  }
  if (!text_.empty() && text_.back() != '.' && text_.back() != '\n') text_ += '.';
}

Error& Error::file(std::string_view path) {
  keep_first(file_, path);
  compose();
  return *this;
}
Error& Error::tensor(std::string_view name) {
  keep_first(tensor_, name);
  compose();
  return *this;
}
Error& Error::expected(std::string_view value) {
  keep_first(expected_, value);
  compose();
  return *this;
}
Error& Error::actual(std::string_view value) {
  keep_first(actual_, value);
  compose();
  return *this;
}
Error& Error::advice(std::string_view what_to_do) {
  keep_first(advice_, what_to_do);
  return *this;
}

void bug(const char* file, int line, const char* what) {
  std::fprintf(stderr, "weightbridge: a mistake of our own at %s:%d: %s\n", file, line, what);
  std::abort();
}

}  // namespace wb
