// Little-endian fields of a byte span, read with bounds checks that the caller
// has already made or that throw Code::truncated. Nothing here knows a format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/checked.h"

namespace wb {

using Bytes = std::span<const std::byte>;

// `width` (1 to 8) bytes at `at`, lowest first. The range must lie within `bytes`.
inline std::uint64_t load_le(Bytes bytes, std::uint64_t at, unsigned width) {
  WB_CHECK(at <= bytes.size() && width <= bytes.size() - at);
  std::uint64_t value = 0;
  for (unsigned i = 0; i < width; ++i) {
    value |= std::to_integer<std::uint64_t>(bytes[at + i]) << (8 * i);
  }
  return value;
}
inline std::uint16_t load_u16(Bytes bytes, std::uint64_t at) {
  return static_cast<std::uint16_t>(load_le(bytes, at, 2));
}
inline std::uint32_t load_u32(Bytes bytes, std::uint64_t at) {
  return static_cast<std::uint32_t>(load_le(bytes, at, 4));
}
inline std::uint64_t load_u64(Bytes bytes, std::uint64_t at) { return load_le(bytes, at, 8); }

// Whether [at, at + length) lies within `bytes`; cannot wrap.
inline bool within(Bytes bytes, std::uint64_t at, std::uint64_t length) {
  return at <= bytes.size() && length <= bytes.size() - at;
}
inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace wb
