// The pattern of Split and Replace, {"String": ...} or {"Regex": ...}, and the cutting of a
// text at its matches in the five ways that Hugging Face's tokenizers know.
#pragma once

#include <string_view>
#include <vector>

#include "tokenizer/regex.h"

namespace wb {

struct PatternSource {
  std::string text;
  bool is_regex;
};
// Reads {"String": text} or {"Regex": text}.
PatternSource read_pattern(const JsonNode& node);
Regex compile_pattern(const PatternSource& source, const JsonNode& node);

// What becomes of a match: kept apart, dropped, or joined to a neighbour. The text between two
// matches is a piece in every case.
enum class SplitBehavior { isolated, removed, merged_with_previous, merged_with_next, contiguous };
SplitBehavior read_behavior(const JsonNode& node);

struct Span {
  std::size_t begin, end;
  bool match;
};
// Matches and what lies between them, together the whole text.
std::vector<Span> find_spans(const Regex& regex, std::string_view text);
// Joins or drops `spans` by `behavior`; matches and gaps swap roles when `invert`. Appends the
// pieces that are not empty to `out`.
void cut(std::string_view text, std::vector<Span> spans, SplitBehavior behavior, bool invert,
         std::vector<std::string_view>& out);

}  // namespace wb
