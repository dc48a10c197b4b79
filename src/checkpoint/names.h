// Which names can be carried: those that a safetensors header (JSON, UTF-8) can
// hold and that no tool takes for something else. Shared by every container.
#pragma once

#include <string>
#include <string_view>

namespace wb {

// Strict UTF-8: shortest forms only, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text);
// Throws Code::tensor_name for a name that is empty, longer than 4096 bytes, not
// UTF-8, has a NUL, or is "__metadata__".
void check_tensor_name(std::string_view name);
// The name made safe for a message: at most 80 bytes, anything but plain ASCII escaped.
std::string printable(std::string_view text);

}  // namespace wb
