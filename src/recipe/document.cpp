// See document.h. The one file that includes the TOML library, which is slow to compile.
#include "recipe/document.h"

#include <toml++/toml.h>

#include <algorithm>

namespace wb {

namespace {

Place place_of(const toml::source_region& region, unsigned file) {
  return {std::max<unsigned>(1, region.begin.line), std::max<unsigned>(1, region.begin.column),
          file};
}

std::vector<std::size_t> line_starts(const std::string& text) {
  std::vector<std::size_t> starts{0};
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') starts.push_back(i + 1);
  }
  return starts;
}

bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xC0u) == 0x80u; }

// Walks the raw text of a TOML string beside its decoded text, so that a character of
// an expression can be found again in the file.
class RawString {
 public:
  RawString(const std::string& file, std::size_t at, Place place)
      : file_(file), at_(at), place_(place) {
    char quote = peek();
    basic_ = quote == '"';
    std::size_t quotes = 1;
    if (file_.compare(at_, 3, std::string(3, quote)) == 0) quotes = 3;
    for (std::size_t i = 0; i < quotes; ++i) step();
    if (quotes == 3 && peek() == '\r') step();
    if (quotes == 3 && peek() == '\n') step();
  }
  // Passes over what spells the decoded bytes text[i...]; returns how many those are.
  std::size_t pass(const std::string& text, std::size_t i) {
    while (basic_ && peek() == '\\' && (peek(1) == '\n' || peek(1) == ' ' || peek(1) == '\r')) {
      step();  // a line continuation spells nothing
      while (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r') step();
    }
    std::size_t bytes = 1;
    while (i + bytes < text.size() && continues_character(text[i + bytes])) ++bytes;
    start_ = place_;
    if (basic_ && peek() == '\\') {
      step();
      std::size_t digits = peek() == 'u' ? 4u : peek() == 'U' ? 8u : 0u;
      for (std::size_t d = 0; d <= digits; ++d) step();
    } else {
      for (std::size_t b = 0; b < bytes; ++b) step();
    }
    return bytes;
  }
  Place start() const { return start_; }
  Place here() const { return place_; }

 private:
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < file_.size() ? file_[at_ + ahead] : '\0';
  }
  void step() {
    if (at_ >= file_.size()) return;
    if (file_[at_] == '\n') {
      ++place_.line;
      place_.column = 1;
    } else if (!continues_character(file_[at_])) {
      ++place_.column;
    }
    ++at_;
  }
  const std::string& file_;
  std::size_t at_;
  Place place_, start_;
  bool basic_;
};

class Builder {
 public:
  Builder(const std::string& file, unsigned index)
      : file_(file), index_(index), starts_(line_starts(file)) {}

  DocValue table(const toml::table& source) const {
    DocValue out;
    out.kind = ValueKind::table;
    out.place = place_of(source.source(), index_);
    for (const auto& [key, node] : source) {
      out.members.push_back({std::string(key.str()), place_of(key.source(), index_), value(node)});
    }
    std::stable_sort(out.members.begin(), out.members.end(), [](const Member& a, const Member& b) {
      return std::pair(a.place.line, a.place.column) < std::pair(b.place.line, b.place.column);
    });
    return out;
  }

 private:
  DocValue value(const toml::node& node) const {
    DocValue out;
    if (const auto* t = node.as_table()) return table(*t);
    out.place = place_of(node.source(), index_);
    if (const auto* a = node.as_array()) {
      out.kind = ValueKind::array;
      for (const auto& item : *a) out.items.push_back(value(item));
    } else if (const auto* s = node.as_string()) {
      out.kind = ValueKind::text;
      out.text = s->get();
      locate(out);
    } else if (const auto* i = node.as_integer()) {
      out.kind = ValueKind::integer;
      out.integer = i->get();
    } else if (const auto* f = node.as_floating_point()) {
      out.kind = ValueKind::real;
      out.real = f->get();
    } else if (const auto* b = node.as_boolean()) {
      out.kind = ValueKind::boolean;
      out.boolean = b->get();
    }
    return out;
  }
  void locate(DocValue& out) const {
    RawString raw(file_, offset(out.place), out.place);
    out.places.reserve(out.text.size() + 1);
    for (std::size_t i = 0; i < out.text.size();) {
      std::size_t bytes = raw.pass(out.text, i);
      for (std::size_t b = 0; b < bytes; ++b) out.places.push_back(raw.start());
      i += bytes;
    }
    out.places.push_back(raw.here());
  }
  std::size_t offset(Place place) const {
    if (place.line > starts_.size()) return file_.size();
    std::size_t at = starts_[place.line - 1];
    for (unsigned column = 1; column < place.column && at < file_.size(); ++column) {
      ++at;
      while (at < file_.size() && continues_character(file_[at])) ++at;
    }
    return at;
  }
  const std::string& file_;
  unsigned index_;
  std::vector<std::size_t> starts_;
};

}  // namespace

std::string_view in_words(ValueKind kind) {
  switch (kind) {
    case ValueKind::text:
      return "a string";
    case ValueKind::integer:
      return "a whole number";
    case ValueKind::real:
      return "a number";
    case ValueKind::boolean:
      return "true or false";
    case ValueKind::array:
      return "a list";
    case ValueKind::table:
      return "a table";
    case ValueKind::other:
      break;
  }
  return "a date or time";
}

const DocValue* DocValue::find(std::string_view key) const {
  for (const Member& member : members) {
    if (member.key == key) return &member.value;
  }
  return nullptr;
}

DocValue parse_document(const std::string& toml, std::vector<RecipeMistake>& mistakes,
                        unsigned file) {
  try {
    return Builder(toml, file).table(toml::parse(toml));
  } catch (const toml::parse_error& error) {
    Place place = place_of(error.source(), file);
    mistakes.push_back(
        {place.line, place.column, "this is not TOML: " + std::string(error.description()), file});
  }
  DocValue empty;
  empty.kind = ValueKind::table;
  return empty;
}

}  // namespace wb
