// Python's str on UTF-8: characters are code points. Owns what the methods and filters of texts
// share. Letters outside ASCII have no upper and lower case here: changing the case of a text
// that has some with case is refused, not done nearly right.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "speak/jinja_bounds.h"

namespace wb::speak::jinja {

// Bytes of the character that starts with `lead`, in well-formed UTF-8.
std::size_t char_bytes(char lead);
std::size_t count_chars(std::string_view text);
// One view for each character.
std::vector<std::string_view> chars(std::string_view text);
// The character at `text`'s beginning as a code point.
char32_t first_code(std::string_view text);

// What Python's str.isspace() says of a character.
bool is_space(char32_t code);
// str.strip(chars): `of` nothing = white space. Which sides is up to the caller.
std::string_view strip(std::string_view text, const std::string* of, bool left, bool right);

// Where `needle` is in `text` from `from` on, in time linear in both; npos without.
std::size_t find_text(std::string_view text, std::string_view needle, std::size_t from = 0);
// str.replace(from, to, at_most); at_most < 0: all.
std::string replace_text(std::string_view text, std::string_view from, std::string_view to,
                         std::int64_t at_most, Run& run);
// str.split() and str.rsplit(): `by` nothing = runs of white space; at_most < 0: all.
std::vector<std::string_view> split_text(std::string_view text, const std::string* by,
                                         std::int64_t at_most, bool from_right, Run& run);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

std::string upper(std::string_view text, Run& run);
std::string lower(std::string_view text, Run& run);
std::string capitalize(std::string_view text, Run& run);
std::string title(std::string_view text, Run& run);         // str.title()
std::string title_filter(std::string_view text, Run& run);  // Jinja's filter: other boundaries
// Whether there are letters with case and all are upper (lower).
bool is_upper(std::string_view text, Run& run);
bool is_lower(std::string_view text, Run& run);

// A text as Python's repr() writes it.
std::string python_quoted(std::string_view text);

}  // namespace wb::speak::jinja
