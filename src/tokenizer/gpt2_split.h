// GPT-2's splitting, written out by hand: the same pieces as its regular expression through
// Oniguruma (the tests hold it to that), several times as fast.
#pragma once

#include <string_view>
#include <vector>

namespace wb {

inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Appends the pieces of `text` (well-formed UTF-8), which together are the whole text.
void gpt2_split(std::string_view text, std::vector<std::string_view>& out);

}  // namespace wb
