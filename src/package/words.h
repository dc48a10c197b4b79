// Numbers and names as people read them, in what is printed and in the files of a folder. Whatever
// comes from a file passes printable(), so that no file can write to a terminal what it likes.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace wb::words {

// Control characters and bytes that are not UTF-8 as \x1b; line ends are kept.
std::string printable(std::string_view text);
// "12,345": thousands set apart.
std::string grouped(std::uint64_t number);
// "1 file", "3 files".
std::string counted(std::uint64_t number, std::string_view noun, std::string_view plural = "");
// A JSON value as people write it: strings without quotes.
std::string plain(const nlohmann::json& value);

}  // namespace wb::words
