// Shapes: dimension lists, row-major. Dimensions are below 2^63; element counts
// are computed with overflow checks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/checked.h"
#include "tensor/dtype.h"

namespace wb {

using Shape = std::vector<std::uint64_t>;

// Product of the dimensions; 1 for rank 0. Throws Code::size_overflow.
inline std::uint64_t numel(const Shape& shape) {
  std::uint64_t n = 1;
  bool empty = false;
  for (std::uint64_t d : shape) empty |= d == 0;
  if (empty) return 0;
  for (std::uint64_t d : shape) n = checked_mul(n, d, "a tensor's element count");
  return n;
}
// Bytes of `count` packed elements.
inline std::uint64_t byte_size(DType dtype, std::uint64_t count) {
  return checked_mul(count, bits(dtype), "a tensor's bit size") / 8;
}
// "[4, 8]"
inline std::string to_string(const Shape& shape) {
  std::string out = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) out += ", ";
    out += std::to_string(shape[i]);
  }
  return out + "]";
}
// Row-major strides in elements.
inline std::vector<std::int64_t> row_major_strides(const Shape& shape) {
  std::vector<std::int64_t> strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) {
    strides[i - 1] = strides[i] * static_cast<std::int64_t>(shape[i]);
  }
  return strides;
}

}  // namespace wb
