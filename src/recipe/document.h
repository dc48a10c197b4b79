// A TOML text as a plain tree in which every key and value knows where it stands.
// Owns the only use of the TOML library and the way from a character of a decoded
// string back to its line and column. It knows nothing of recipes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "recipe/recipe.h"

namespace wb {

// A place in the recipe file; lines and columns count from 1, columns in characters.
struct Place {
  unsigned line = 1, column = 1;
  unsigned file = 0;  // 0 = the recipe itself, else one that it extends (merge.h)
};

enum class ValueKind { text, integer, real, boolean, array, table, other };
// "a string", "a whole number", ... for messages.
std::string_view in_words(ValueKind kind);

struct Member;
struct DocValue {
  ValueKind kind = ValueKind::other;
  Place place;
  std::string text;                                  // text: decoded
  std::vector<Place> places;                         // text: of each byte of `text`, and of its end
  std::int64_t integer = 0;                          // integer
  double real = 0;                                   // real
  bool boolean = false;                              // boolean
  std::vector<DocValue> items;                       // array
  std::vector<Member> members;                       // table, in file order
  const DocValue* find(std::string_view key) const;  // table member, or nullptr
};
struct Member {
  std::string key;
  Place place;  // of the key
  DocValue value;
};

// Bytes of a document; the longest recipe that ships has 12 000.
inline constexpr std::size_t kMostDocument = 256u << 10;

// The text of a file, no longer than one byte more than a document may have; throws
// Code::file_open.
std::string read_document(const std::string& path);

// The root table. A syntax error is added to `mistakes` (there is only ever one: the
// rest of the file cannot be told from it) and an empty table returned.
// `file` is put into every place.
DocValue parse_document(const std::string& toml, std::vector<RecipeMistake>& mistakes,
                        unsigned file = 0);

}  // namespace wb
