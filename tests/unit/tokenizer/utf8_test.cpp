// UTF-8 stepping and repair against Python's bytes.decode(errors="replace"), and the alphabet
// of bytes against GPT-2's published table.
#include "tokenizer/utf8.h"

#include <gtest/gtest.h>

#include <set>

#include "tokenizer/byte_alphabet.h"

namespace wb {
namespace {

struct Repair {
  std::string in, out;
};

TEST(Utf8, RepairsAsPythonDoes) {
  // python3: bytes.decode("utf-8", errors="replace"); R is U+FFFD.
  const std::string R = "\xEF\xBF\xBD";
  const Repair cases[] = {
      {"plain", "plain"},
      {"a\x80z", "a" + R + "z"},
      {"\xC0\xAF", R + R},                  // overlong
      {"\xE0\x80\xAF", R + R + R},          // overlong, three bytes
      {"\xED\xA0\x80", R + R + R},          // surrogate
      {"\xF4\x90\x80\x80", R + R + R + R},  // above U+10FFFF
      {"\xE4\xB8", R},                      // cut short
      {"\xE4\xB8x", R + "x"},               // broken off
      {"\xF0\x9F\x99 \xF0\x9F\x99\x82", R + " \xF0\x9F\x99\x82"},
      {"\xF1\x80\x80\xE1\x80\xC2\x62", R + R + R + "b"},
      {"\xFF\xFE", R + R},
      {"12345678\xE9", "12345678" + R},  // behind a word of ASCII
  };
  for (const Repair& c : cases) {
    EXPECT_EQ(utf8::replace_invalid(c.in), c.out) << testing::PrintToString(c.in);
    EXPECT_EQ(utf8::valid(c.in), c.in == c.out);
  }
}

TEST(Utf8, AppendAndStepAgreeOnEveryLength) {
  for (char32_t code : {U'\0', U'A', U'\x7F', U'\x80', U'\x7FF', U'\x800', U'\xD7FF', U'\xE000',
                        U'\xFFFF', U'\x10000', U'\x10FFFF'}) {
    std::string text;
    utf8::append(text, code);
    std::size_t pos = 0;
    EXPECT_EQ(utf8::next(text, pos), code);
    EXPECT_EQ(pos, text.size());
    EXPECT_TRUE(utf8::valid(text));
  }
  std::string euro;
  utf8::append(euro, 0x20AC);
  EXPECT_EQ(euro, "\xE2\x82\xAC");
}

TEST(Utf8, GateHoldsHalfCharactersAndEndsWithReplacement) {
  utf8::Gate gate;
  std::string out;
  gate.push("a\xF0\x9F", out);
  EXPECT_EQ(out, "a");
  gate.push("\x99", out);
  EXPECT_EQ(out, "a");
  gate.push("\x82\xE4", out);
  EXPECT_EQ(out, "a\xF0\x9F\x99\x82");
  gate.push("z", out);  // E4 can no longer become a character
  EXPECT_EQ(out, "a\xF0\x9F\x99\x82\xEF\xBF\xBDz");
  gate.push("\xE4\xB8", out);
  gate.finish(out);
  EXPECT_EQ(out, "a\xF0\x9F\x99\x82\xEF\xBF\xBDz\xEF\xBF\xBD");
}

TEST(ByteAlphabet, IsGpt2s) {
  // Values from the table that GPT-2's encoder builds.
  EXPECT_EQ(alphabet_char('!'), U'!');
  EXPECT_EQ(alphabet_char('~'), U'~');
  EXPECT_EQ(alphabet_char(0x00), U'\u0100');
  EXPECT_EQ(alphabet_char('\n'), U'\u010A');  // Ċ
  EXPECT_EQ(alphabet_char(' '), U'\u0120');   // Ġ
  EXPECT_EQ(alphabet_char(0x7F), U'\u0121');
  EXPECT_EQ(alphabet_char(0xA0), U'\u0142');
  EXPECT_EQ(alphabet_char(0xA1), U'\u00A1');
  EXPECT_EQ(alphabet_char(0xAD), U'\u0143');
  EXPECT_EQ(alphabet_char(0xFF), U'\u00FF');
  EXPECT_EQ(to_alphabet(" é\n"), "ĠÃ©Ċ");
}

TEST(ByteAlphabet, IsABijection) {
  std::set<char32_t> seen;
  for (unsigned b = 0; b < 256; ++b) {
    seen.insert(alphabet_char(static_cast<std::uint8_t>(b)));
    std::string byte(1, static_cast<char>(static_cast<unsigned char>(b)));
    EXPECT_EQ(from_alphabet(to_alphabet(byte)), byte);
  }
  EXPECT_EQ(seen.size(), 256U);
  EXPECT_FALSE(from_alphabet("a b").has_value());  // the space itself is not in it
  EXPECT_FALSE(from_alphabet("｜").has_value());
  EXPECT_FALSE(from_alphabet("\u0144").has_value());  // just behind the last one
}

}  // namespace
}  // namespace wb
