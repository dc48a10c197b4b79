// The table of element types; see dtype.h.
#include "tensor/dtype.h"

#include <iterator>

#include "base/error.h"

namespace wb {

namespace {
constexpr DTypeInfo kTypes[] = {
    {"BOOL", 8, false},        {"F4", 4, false},          {"F6_E2M3", 6, false},
    {"F6_E3M2", 6, false},     {"U8", 8, false},          {"I8", 8, false},
    {"F8_E5M2", 8, true},      {"F8_E4M3", 8, true},      {"F8_E8M0", 8, false},
    {"F8_E4M3FNUZ", 8, false}, {"F8_E5M2FNUZ", 8, false}, {"I16", 16, false},
    {"U16", 16, false},        {"F16", 16, true},         {"BF16", 16, true},
    {"I32", 32, false},        {"U32", 32, false},        {"F32", 32, true},
    {"C64", 64, false},        {"F64", 64, true},         {"I64", 64, false},
    {"U64", 64, false},
};
static_assert(std::size(kTypes) == static_cast<std::size_t>(DType::U64) + 1);
}  // namespace

const DTypeInfo& info(DType dtype) { return kTypes[static_cast<std::size_t>(dtype)]; }

std::optional<DType> dtype_from_name(std::string_view safetensors_name) {
  for (std::size_t i = 0; i < std::size(kTypes); ++i) {
    if (kTypes[i].name == safetensors_name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

unsigned item_size(DType dtype) {
  unsigned width = bits(dtype);
  WB_CHECK(width % 8 == 0);
  return width / 8;
}

}  // namespace wb
