// Stepping over UTF-8 by the table of well-formed byte sequences (Unicode, table 3-7); see utf8.h.
#include "tokenizer/utf8.h"

#include <cstring>

namespace wb::utf8 {

namespace {
// Where plain ASCII ends: most text is, and 8 bytes at a time are enough to say so.
std::size_t skip_ascii(std::string_view text, std::size_t pos) {
  while (pos + 8 <= text.size()) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data() + pos, 8);
    if ((word & 0x8080808080808080U) != 0) break;
    pos += 8;
  }
  while (pos < text.size() && static_cast<unsigned char>(text[pos]) < 0x80) ++pos;
  return pos;
}
}  // namespace

Step step(std::string_view text, std::size_t pos) {
  auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  std::uint8_t lead = byte(pos);
  if (lead < 0x80) return {lead, 1, Form::whole};
  unsigned length = 0;
  std::uint8_t low = 0x80, high = 0xBF;  // bounds of the second byte
  char32_t code = 0;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2, code = lead & 0x1F;
  } else if ((lead & 0xF0) == 0xE0) {
    length = 3, code = lead & 0x0F;
    if (lead == 0xE0) low = 0xA0;   // no overlong forms
    if (lead == 0xED) high = 0x9F;  // no surrogates
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4, code = lead & 0x07;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;  // nothing above U+10FFFF
  } else {
    return {0xFFFD, 1, Form::broken};
  }
  for (unsigned i = 1; i < length; ++i) {
    if (pos + i >= text.size()) return {0xFFFD, static_cast<std::uint8_t>(i), Form::cut_short};
    std::uint8_t b = byte(pos + i);
    if (b < low || b > high) return {0xFFFD, static_cast<std::uint8_t>(i), Form::broken};
    code = (code << 6) | (b & 0x3F);
    low = 0x80, high = 0xBF;
  }
  return {code, static_cast<std::uint8_t>(length), Form::whole};
}

bool valid(std::string_view text) {
  for (std::size_t pos = skip_ascii(text, 0); pos < text.size(); pos = skip_ascii(text, pos)) {
    Step s = step(text, pos);
    if (s.form != Form::whole) return false;
    pos += s.length;
  }
  return true;
}

std::string replace_invalid(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t pos = 0; pos < text.size();) {
    Step s = step(text, pos);
    out += s.form == Form::whole ? text.substr(pos, s.length) : kReplacement;
    pos += s.length;
  }
  return out;
}

void append(std::string& out, char32_t code) {
  auto put = [&](char32_t bits) { out += static_cast<char>(static_cast<unsigned char>(bits)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6)), put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12)), put(0x80 | ((code >> 6) & 0x3F)), put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18)), put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F)), put(0x80 | (code & 0x3F));
  }
}

void Gate::push(std::string_view bytes, std::string& out) {
  held_ += bytes;
  std::size_t pos = 0;
  while (pos < held_.size()) {
    Step s = step(held_, pos);
    if (s.form == Form::cut_short) break;
    out += s.form == Form::whole ? std::string_view(held_).substr(pos, s.length) : kReplacement;
    pos += s.length;
  }
  held_.erase(0, pos);
}

void Gate::finish(std::string& out) {
  if (!held_.empty()) out += kReplacement;
  held_.clear();
}

}  // namespace wb::utf8
