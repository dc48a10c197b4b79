// What kind of character a code point is: letter, number, white space, word character. The
// sets are Oniguruma's own, so that hand-written splitting and a regex never disagree.
#pragma once

#include <cstdint>
#include <vector>

namespace wb {

class CharClasses {
 public:
  enum Bit : std::uint8_t {
    kLetter = 1,  // \p{L}
    kNumber = 2,  // \p{N}
    kSpace = 4,   // \s: White_Space
    kWord = 8     // \w as Rust's regex has it: Alphabetic, M, Nd, Pc, Join_Control
  };
  // Built on first use (about a millisecond), then shared by all threads.
  static const CharClasses& get();

  std::uint8_t bits(char32_t code) const { return table_[code]; }
  bool has(char32_t code, Bit bit) const { return (table_[code] & bit) != 0; }

 private:
  CharClasses();
  void mark(const char* property, std::uint8_t bit);
  std::vector<std::uint8_t> table_;  // one byte for every code point
};

}  // namespace wb
