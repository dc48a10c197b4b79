// Fills the table from the ranges that Oniguruma keeps for its properties; see char_classes.h.
#include "tokenizer/char_classes.h"

#include <oniguruma.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "tokenizer/utf8.h"

namespace wb {

const CharClasses& CharClasses::get() {
  static const CharClasses classes;
  return classes;
}

CharClasses::CharClasses() : table_(utf8::kCodePoints, 0) {
  mark("L", kLetter);
  mark("N", kNumber);
  mark("White_Space", kSpace);
  for (const char* property : {"Alphabetic", "M", "Nd", "Pc", "Join_Control"})
    mark(property, kWord);
}

void CharClasses::mark(const char* property, std::uint8_t bit) {
  OnigEncoding enc = ONIG_ENCODING_UTF8;
  auto* name = reinterpret_cast<OnigUChar*>(const_cast<char*>(property));
  int ctype = enc->property_name_to_ctype(enc, name, name + std::strlen(property));
  WB_CHECK(ctype >= 0);
  OnigCodePoint single_byte_end = 0;
  const OnigCodePoint* ranges = nullptr;  // count, then pairs of first and last
  int status = enc->get_ctype_code_range(static_cast<OnigCtype>(ctype), &single_byte_end, &ranges);
  WB_CHECK(status == 0 && ranges != nullptr);
  for (OnigCodePoint i = 0; i < ranges[0]; ++i) {
    OnigCodePoint last = std::min<OnigCodePoint>(ranges[2 + 2 * i], utf8::kCodePoints - 1);
    for (OnigCodePoint code = ranges[1 + 2 * i]; code <= last; ++code) table_[code] |= bit;
  }
}

}  // namespace wb
