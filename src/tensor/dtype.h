// Element types: the names of safetensors, their widths, and what each can be.
// Owns the one table; nothing else in the program spells a dtype as a string.
// The order is that of the safetensors library, by which its writer sorts
// (formats.md D3: alignment rises from the first to the last).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace wb {

enum class DType : std::uint8_t {
  Bool,
  F4,
  F6_E2M3,
  F6_E3M2,
  U8,
  I8,
  F8_E5M2,
  F8_E4M3,
  F8_E8M0,
  F8_E4M3FNUZ,
  F8_E5M2FNUZ,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  C64,
  F64,
  I64,
  U64,
};

struct DTypeInfo {
  std::string_view name;  // as in a safetensors header: "F32", "BF16", ...
  unsigned bits;          // per element
  bool is_float;          // a real floating type that to_f32 can widen
};

const DTypeInfo& info(DType dtype);
std::optional<DType> dtype_from_name(std::string_view safetensors_name);
inline std::string_view name(DType dtype) { return info(dtype).name; }
inline unsigned bits(DType dtype) { return info(dtype).bits; }
// Bytes of one element; only for types of whole bytes (all but F4 and F6, which abort).
unsigned item_size(DType dtype);

}  // namespace wb
