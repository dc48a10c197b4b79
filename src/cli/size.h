// Sizes as people type them: "5GiB", "500MB", "1048576".
#pragma once

#include <cstdint>
#include <string>

namespace wb::cli {

// Bytes. Throws Code::usage naming the option, with `advice`.
std::uint64_t parse_size(const std::string& option, const std::string& text,
                         const std::string& advice);

}  // namespace wb::cli
