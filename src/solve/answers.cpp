// The solved recipe: the draft's own text with each open value replaced where it
// stands. Owns nothing but that; see solve.h.
#include <algorithm>

#include "base/error.h"
#include "recipe/document.h"
#include "solve/solve.h"

namespace wb {

namespace {

bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xC0u) == 0x80u; }

std::size_t offset_of(const std::string& text, Place place) {
  std::size_t at = 0;
  for (unsigned line = 1; line < place.line && at < text.size(); ++at) {
    if (text[at] == '\n') ++line;
  }
  for (unsigned column = 1; column < place.column && at < text.size(); ++column) {
    ++at;
    while (at < text.size() && continues_character(text[at])) ++at;
  }
  return at;
}

// The end of the literal that begins at `at`: a string, or a run of other characters.
std::size_t literal_end(const std::string& text, std::size_t at) {
  if (at < text.size() && (text[at] == '"' || text[at] == '\'')) {
    const char quote = text[at];
    for (++at; at < text.size() && text[at] != quote; ++at) {
      if (quote == '"' && text[at] == '\\') ++at;
    }
    return std::min(at + 1, text.size());
  }
  while (at < text.size() &&
         std::string_view(" \t\r\n,#}]").find(text[at]) == std::string_view::npos) {
    ++at;
  }
  return at;
}

// The value at a dotted path of tables, or nullptr.
const DocValue* find_path(const DocValue& root, const std::string& path) {
  const DocValue* at = &root;
  for (std::size_t begin = 0; at != nullptr && begin <= path.size();) {
    const std::size_t dot = std::min(path.find('.', begin), path.size());
    at = at->find(path.substr(begin, dot - begin));
    begin = dot + 1;
  }
  return at;
}

std::string toml_literal(const nlohmann::json& value) { return value.dump(); }

}  // namespace

std::string with_answers(const std::string& toml, const std::vector<FieldReport>& fields) {
  std::vector<RecipeMistake> mistakes;
  const DocValue root = parse_document(toml, mistakes);
  WB_CHECK(mistakes.empty());
  struct Edit {
    std::size_t begin, end;
    std::string text;
  };
  std::vector<Edit> edits;
  for (const FieldReport& field : fields) {
    const std::string path = field.unknown.setting ? "ask." + field.unknown.key + ".default"
                                                   : "model." + field.unknown.key;
    const DocValue* value = find_path(root, path);
    if (value == nullptr) continue;
    const std::size_t begin = offset_of(toml, value->place);
    edits.push_back({begin, literal_end(toml, begin), toml_literal(field.value)});
  }
  std::sort(edits.begin(), edits.end(),
            [](const Edit& a, const Edit& b) { return a.begin > b.begin; });
  std::string out = toml;
  for (const Edit& e : edits) out.replace(e.begin, e.end - e.begin, e.text);
  return out;
}

}  // namespace wb
