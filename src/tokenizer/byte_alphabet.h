// GPT-2's alphabet: a bijection between the 256 bytes and 256 printable characters, in
// which the vocabularies of byte-level models are written ("Ġthe" is " the"). Bytes that
// are printable Latin-1 stand for themselves, the other 68 for U+0100 onwards.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace wb {

// The character that stands for `byte`.
char32_t alphabet_char(std::uint8_t byte);
// `bytes` written in the alphabet, as UTF-8.
std::string to_alphabet(std::string_view bytes);
// The bytes that `text` (well-formed UTF-8) stands for; nothing when a character of it is
// outside the alphabet.
std::optional<std::string> from_alphabet(std::string_view text);

}  // namespace wb
