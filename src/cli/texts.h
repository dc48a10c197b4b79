// Texts that the program carries inside itself (recipes, the class files, the model
// card), put there by embed.cmake, and small text files read whole.
#pragma once

#include <string>
#include <string_view>

namespace wb::cli {

// The content of a file of the source tree that was built in, by its path there, e.g.
// "recipes/deepseek-from-scratch.toml"; empty when there was no such file.
std::string_view shipped_text(std::string_view path);

// The content of a small file (at most 64 MiB). Throws Code::file_open.
std::string read_text_file(const std::string& path);

}  // namespace wb::cli
