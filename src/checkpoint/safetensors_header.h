// The JSON of a safetensors file, read without building it: one pass that keeps
// what the format knows and refuses the rest (formats.md D2). Stricter than JSON:
// a key that occurs twice is an error, whatever it says.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace wb {

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::F32;
  Shape shape;
  std::uint64_t begin = 0, end = 0;  // bytes after the header
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the header's order
  std::map<std::string, std::string> metadata;
};

// `text`: the header alone. Checks syntax, types, names and duplicates, not yet the
// byte ranges. Throws safetensors_header, safetensors_tensor, tensor_name, limit_exceeded.
SafetensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t max_tensors);

}  // namespace wb
