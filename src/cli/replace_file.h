// A small file put in place of another in one step: whoever looks finds the old one or the new
// one, whole. Only its owner may read it. Refuses nothing; throws file_write and no_space.
#pragma once

#include <string>
#include <string_view>

namespace wb::cli {

void replace_file(const std::string& path, std::string_view content);

}  // namespace wb::cli
