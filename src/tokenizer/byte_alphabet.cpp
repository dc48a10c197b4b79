// The two tables of the alphabet; see byte_alphabet.h.
#include "tokenizer/byte_alphabet.h"

#include <array>

#include "tokenizer/utf8.h"

namespace wb {

namespace {
constexpr char32_t kMoved = 0x100;  // where the characters of unprintable bytes begin
constexpr std::size_t kMovedCount = 68;

struct Tables {
  std::array<char32_t, 256> to_char{};
  std::array<std::int16_t, kMoved + kMovedCount> to_byte{};  // -1: not in the alphabet
};

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr Tables make_tables() {
  Tables t;
  for (auto& slot : t.to_byte) slot = -1;
  char32_t moved = kMoved;
  for (unsigned byte = 0; byte < 256; ++byte) {
    char32_t code = stands_for_itself(byte) ? static_cast<char32_t>(byte) : moved++;
    t.to_char[byte] = code;
    t.to_byte[code] = static_cast<std::int16_t>(byte);
  }
  return t;
}
constexpr Tables kTables = make_tables();
}  // namespace

char32_t alphabet_char(std::uint8_t byte) { return kTables.to_char[byte]; }

std::string to_alphabet(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (char c : bytes) utf8::append(out, alphabet_char(static_cast<std::uint8_t>(c)));
  return out;
}

std::optional<std::string> from_alphabet(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t pos = 0; pos < text.size();) {
    char32_t code = utf8::next(text, pos);
    if (code >= kTables.to_byte.size() || kTables.to_byte[code] < 0) return std::nullopt;
    out += static_cast<char>(static_cast<std::uint8_t>(kTables.to_byte[code]));
  }
  return out;
}

}  // namespace wb
