// The one error type. An error is data: a code, the file and tensor it concerns,
// a sentence with both numbers, and a sentence that says what to do. Everything
// that can be the fault of a user, a file or a machine is thrown as wb::Error;
// a fault of our own is WB_BUG, which aborts. This file refuses to print or exit:
// that is cli/'s work.
#pragma once

#include <exception>
#include <string>
#include <string_view>

namespace wb {

enum class Code {
#define WB_ERROR(name, status) name,
#include "base/error_codes.def"
#undef WB_ERROR
};

// The identifier as written in error_codes.def, e.g. "zip_crc".
std::string_view code_name(Code code);
// Exit status of the program for this code: 2 usage, 3 bad input, 4 system.
int exit_status(Code code);

class Error : public std::exception {
 public:
  // `sentence`: what is wrong, without file and tensor, which are prefixed; no final stop needed.
  Error(Code code, std::string sentence);

  // Each returns *this, so that a throw reads as one expression. A context that is
  // already set is kept: the innermost place knows best.
  Error& file(std::string_view path);
  Error& tensor(std::string_view name);
  Error& expected(std::string_view value);
  Error& actual(std::string_view value);
  Error& advice(std::string_view what_to_do);  // one sentence: what to do

  Code code() const { return code_; }
  const std::string& file() const { return file_; }
  const std::string& tensor() const { return tensor_; }
  const std::string& expected() const { return expected_; }
  const std::string& actual() const { return actual_; }
  const std::string& advice() const { return advice_; }
  // "model.pt: wte.weight: the shape is wrong: expected [4, 8], found [4, 9]."
  const std::string& sentence() const { return text_; }
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  void compose();
  Code code_;
  std::string message_, file_, tensor_, expected_, actual_, advice_, text_;
};

// Prints `what` with its place to stderr and aborts: for states that only a mistake
// in this program can produce, never for input.
[[noreturn]] void bug(const char* file, int line, const char* what);

}  // namespace wb

#define WB_BUG(what) ::wb::bug(__FILE__, __LINE__, what)
#define WB_CHECK(condition)                                \
  do {                                                     \
    if (!(condition)) WB_BUG("check failed: " #condition); \
  } while (false)
