// Name checks; see names.h.
#include "checkpoint/names.h"

#include <cstdint>

#include "base/error.h"

namespace wb {

namespace {
constexpr std::size_t kMaxName = 4096;

// Length of the well-formed sequence at `i`, 0 when there is none (Unicode, table 3-7).
std::size_t sequence_length(std::string_view text, std::size_t i) {
  auto at = [&](std::size_t k) {
    return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0u;
  };
  auto tail = [&](std::size_t k) { return (at(k) & 0xC0u) == 0x80u; };
  const unsigned lead = at(0), next = at(1);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return tail(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const unsigned low = lead == 0xE0 ? 0xA0 : 0x80, high = lead == 0xED ? 0x9F : 0xBF;
    return next >= low && next <= high && tail(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const unsigned low = lead == 0xF0 ? 0x90 : 0x80, high = lead == 0xF4 ? 0x8F : 0xBF;
    return next >= low && next <= high && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

[[noreturn]] void refuse(std::string_view name, const char* why) {
  throw Error(Code::tensor_name, "the tensor name \"" + printable(name) + "\" " + why)
      .advice("Rename the entry where the checkpoint is made, then save it again.");
}
}  // namespace

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = sequence_length(text, i);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

void check_tensor_name(std::string_view name) {
  if (name.empty()) refuse(name, "is empty");
  if (name.size() > kMaxName) refuse(name, "is longer than 4096 bytes");
  if (name.find('\0') != std::string_view::npos) refuse(name, "holds a NUL byte");
  if (!is_utf8(name)) refuse(name, "is not valid UTF-8");
  if (name == "__metadata__") refuse(name, "is reserved by the safetensors format");
}

std::string printable(std::string_view text) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (char c : text) {
    if (out.size() >= 80) return out + "...";
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F) {
      out += c;
    } else {
      out += "\\x";
      out += digits[byte >> 4];
      out += digits[byte & 15];
    }
  }
  return out;
}

}  // namespace wb
