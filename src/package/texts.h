// Texts that the program carries inside itself (the class file, the model card; recipes
// are recipe/'s), put there by cmake/embed_texts.cmake, and small text files read whole.
#pragma once

#include <string>
#include <string_view>

namespace wb {

// The content of a file of the source tree that was built in, by its path there, e.g.
// "share/model-card.md"; empty when there was no such file.
std::string_view shipped_text(std::string_view path);

// The content of a small file (at most 64 MiB). Throws Code::file_open.
std::string read_text_file(const std::string& path);

}  // namespace wb
