// UTF-8 as the tokenizer needs it: stepping, checking, and repair. Malformed input is
// never refused here: each maximal ill-formed part becomes one U+FFFD, which is what
// Python's errors='replace' and Rust's from_utf8_lossy do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace wb::utf8 {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
inline constexpr char32_t kCodePoints = 0x110000;

enum class Form : std::uint8_t {
  whole,     // a well-formed character
  broken,    // ill-formed: `length` bytes are one maximal part
  cut_short  // well-formed so far, and the text ends: more bytes could complete it
};
struct Step {
  char32_t code;        // U+FFFD unless whole
  std::uint8_t length;  // bytes, 1 to 4
  Form form;
};

// The character at `pos`, which must be below text.size().
Step step(std::string_view text, std::size_t pos);
// The character at `pos` of text that is known to be well-formed.
inline char32_t next(std::string_view text, std::size_t& pos) {
  Step s = step(text, pos);
  pos += s.length;
  return s.code;
}

bool valid(std::string_view text);
// `text` with every ill-formed part replaced by U+FFFD.
std::string replace_invalid(std::string_view text);
void append(std::string& out, char32_t code);

// Passes bytes on as whole characters: bytes of a character that is not complete yet are
// held (at most 3), ill-formed parts leave as U+FFFD. What comes out is always valid UTF-8.
class Gate {
 public:
  void push(std::string_view bytes, std::string& out);
  // Ends the stream: a character that never got complete leaves as U+FFFD.
  void finish(std::string& out);

 private:
  std::string held_;
};

}  // namespace wb::utf8
