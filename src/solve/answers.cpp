// The solved recipe: the draft's own text with each open value replaced where it
// stands, or written as a line of its own where the draft inherits it. Owns nothing but
// that; see solve.h.
#include <algorithm>
#include <optional>

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

struct Edit {
  std::size_t begin, end;
  std::string text;
};

// The place after the line "[header]", if the text has one.
std::optional<std::size_t> after_header(const std::string& toml, const std::string& header) {
  for (std::size_t begin = 0; begin < toml.size();) {
    const std::size_t end = std::min(toml.find('\n', begin), toml.size());
    std::string line = toml.substr(begin, end - begin);
    line.resize(std::min(line.find('#'), line.size()));
    std::erase_if(line, [](char c) { return c == ' ' || c == '\t' || c == '\r'; });
    if (line == "[" + header + "]") return std::min(end + 1, toml.size());
    begin = end + 1;
  }
  return std::nullopt;
}

// A line for a value that the text itself does not have, because it inherits it: within the inline
// table or below the header that is nearest. Nothing when there is neither.
std::optional<Edit> new_line(const std::string& toml, const DocValue& root, const std::string& path,
                             const std::string& literal) {
  for (std::size_t dot = path.rfind('.'); dot != path.npos && dot > 0;
       dot = path.rfind('.', dot - 1)) {
    const std::string table = path.substr(0, dot), key = path.substr(dot + 1);
    const DocValue* value = find_path(root, table);
    const std::size_t at = value == nullptr ? toml.size() : offset_of(toml, value->place);
    if (value != nullptr && value->kind == ValueKind::table && at < toml.size() &&
        toml[at] == '{') {
      const char* comma = value->members.empty() ? " " : ",";
      return Edit{at + 1, at + 1, " " + key + " = " + literal + comma};
    }
    if (const std::optional<std::size_t> line = after_header(toml, table)) {
      return Edit{*line, *line, key + " = " + literal + "\n"};
    }
  }
  return std::nullopt;
}

}  // namespace

std::string with_answers(const std::string& toml, const std::vector<FieldReport>& fields) {
  std::vector<RecipeMistake> mistakes;
  const DocValue root = parse_document(toml, mistakes);
  WB_CHECK(mistakes.empty());
  std::vector<Edit> edits;
  std::string model, asks;  // sections that the text does not have
  for (const FieldReport& field : fields) {
    const std::string& key = field.unknown.key;
    const std::string path = field.unknown.setting ? "ask." + key + ".default" : "model." + key;
    const std::string literal = toml_literal(field.value);
    if (const DocValue* value = find_path(root, path)) {
      const std::size_t begin = offset_of(toml, value->place);
      edits.push_back({begin, literal_end(toml, begin), literal});
    } else if (std::optional<Edit> line = new_line(toml, root, path, literal)) {
      edits.push_back(std::move(*line));
    } else if (field.unknown.setting) {
      asks += "\n[ask." + key + "]\ndefault = " + literal + "\n";
    } else {
      model += key + " = " + literal + "\n";
    }
  }
  std::stable_sort(edits.begin(), edits.end(),
                   [](const Edit& a, const Edit& b) { return a.begin > b.begin; });
  std::string out = toml;
  for (const Edit& e : edits) out.replace(e.begin, e.end - e.begin, e.text);
  if (!out.empty() && out.back() != '\n') out += '\n';
  return out + (model.empty() ? "" : "\n[model]\n" + model) + asks;
}

}  // namespace wb
