// See pattern.h.
#include "recipe/pattern.h"

#include <algorithm>

#include "base/error.h"

namespace wb {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_';
}

void add_literal(Pattern& pattern, std::string_view text) {
  if (text.empty()) return;
  if (!pattern.parts.empty() && pattern.parts.back().kind == Pattern::Kind::literal) {
    pattern.parts.back().text += text;
  } else {
    pattern.parts.push_back({Pattern::Kind::literal, std::string(text)});
  }
}

bool match_from(const std::vector<Pattern::Part>& parts, std::size_t part, std::string_view name,
                Indices& captured);

bool match_capture(const std::vector<Pattern::Part>& parts, std::size_t part, std::string_view name,
                   Indices& captured) {
  std::size_t digits = 0;
  while (digits < name.size() && is_digit(name[digits])) ++digits;
  // Indices are far below 10^18; a longer run is a name's affair. A run is taken whole.
  if (digits == 0 || digits > 18 || (digits > 1 && name[0] == '0')) return false;
  std::uint64_t value = 0;
  for (char c : name.substr(0, digits)) value = value * 10 + static_cast<std::uint64_t>(c - '0');
  auto [it, added] = captured.try_emplace(parts[part].text, value);
  if (!added && it->second != value) return false;
  if (match_from(parts, part + 1, name.substr(digits), captured)) return true;
  if (added) captured.erase(parts[part].text);
  return false;
}

bool match_from(const std::vector<Pattern::Part>& parts, std::size_t part, std::string_view name,
                Indices& captured) {
  if (part == parts.size()) return name.empty();
  switch (parts[part].kind) {
    case Pattern::Kind::literal:
      return name.starts_with(parts[part].text) &&
             match_from(parts, part + 1, name.substr(parts[part].text.size()), captured);
    case Pattern::Kind::capture:
      return match_capture(parts, part, name, captured);
    case Pattern::Kind::computed:
      WB_BUG("a computed index is filled in before a name is held against the pattern");
    case Pattern::Kind::star:
      if (part + 1 == parts.size()) return true;
      for (std::size_t skip = 0; skip <= name.size(); ++skip) {
        if (match_from(parts, part + 1, name.substr(skip), captured)) return true;
      }
      return false;
  }
  return false;
}

}  // namespace

Pattern Pattern::parse(std::string_view text, bool stars, std::optional<Problem>& problem) {
  Pattern out;
  if (text.empty()) problem = Problem{0, "an empty name"};
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == '{') {
      std::size_t end = text.find('}', i);
      if (end == text.npos || end == i + 1) {
        problem = Problem{i, "a '{' opens an index variable, as in {l}, that is not closed by '}'"};
        return out;
      }
      std::string inner(text.substr(i + 1, end - i - 1));
      bool word = std::all_of(inner.begin(), inner.end(), is_word) && !is_digit(inner[0]);
      out.parts.push_back({word ? Kind::capture : Kind::computed, std::move(inner)});
      i = end + 1;
    } else if (text[i] == '}') {
      problem = Problem{i, "a '}' without its '{'"};
      return out;
    } else if (stars && text[i] == '*') {
      out.parts.push_back({Kind::star, "*"});
      ++i;
    } else {
      add_literal(out, text.substr(i, 1));
      ++i;
    }
  }
  return out;
}

std::string Pattern::text() const {
  std::string out;
  for (const Part& part : parts) {
    bool braces = part.kind == Kind::capture || part.kind == Kind::computed;
    out += braces ? "{" + part.text + "}" : part.text;
  }
  return out;
}

std::vector<std::string> Pattern::captures() const {
  std::vector<std::string> out;
  for (const Part& part : parts) {
    if (part.kind == Kind::capture && std::find(out.begin(), out.end(), part.text) == out.end()) {
      out.push_back(part.text);
    }
  }
  return out;
}

bool Pattern::has_capture() const {
  return std::any_of(parts.begin(), parts.end(),
                     [](const Part& part) { return part.kind == Kind::capture; });
}
bool Pattern::has_star() const {
  return std::any_of(parts.begin(), parts.end(),
                     [](const Part& part) { return part.kind == Kind::star; });
}

bool Pattern::has_computed() const {
  return std::any_of(parts.begin(), parts.end(),
                     [](const Part& part) { return part.kind == Kind::computed; });
}

namespace {

// The parts between dots, captures as "{}" and what is computed as it is.
std::vector<std::string> segments(const Pattern& pattern) {
  std::string joined;
  for (const Pattern::Part& part : pattern.parts) {
    joined += part.kind == Pattern::Kind::capture    ? "{}"
              : part.kind == Pattern::Kind::computed ? "{" + part.text + "}"
                                                     : part.text;
  }
  std::vector<std::string> out;
  for (std::size_t i = 0; i <= joined.size();) {
    std::size_t end = std::min(joined.find('.', i), joined.size());
    out.push_back(joined.substr(i, end - i));
    i = end + 1;
  }
  return out;
}

bool is_number(const std::string& segment) {
  return !segment.empty() && std::all_of(segment.begin(), segment.end(), is_digit);
}

}  // namespace

std::string Pattern::anonymous() const {
  std::string out;
  std::vector<std::string> all = segments(*this);
  for (std::size_t i = 0; i < all.size(); ++i) {
    out += (i > 0 ? "." : "") + (is_number(all[i]) ? "{}" : all[i]);
  }
  return out;
}

bool Pattern::may_meet(const Pattern& other) const {
  if (anonymous() != other.anonymous()) return false;
  std::vector<std::string> a = segments(*this), b = segments(other);
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (is_number(a[i]) && is_number(b[i]) && a[i] != b[i]) return false;
  }
  return true;
}

Pattern Pattern::with_block(const Pattern& block, std::string_view capture) const {
  Pattern out;
  for (const Part& part : parts) {
    if (part.kind == Kind::capture && part.text == capture) {
      for (const Part& inner : block.parts) {
        if (inner.kind == Kind::literal) {
          add_literal(out, inner.text);
        } else {
          out.parts.push_back(inner);
        }
      }
    } else if (part.kind == Kind::literal) {
      add_literal(out, part.text);
    } else {
      out.parts.push_back(part);
    }
  }
  return out;
}

Pattern Pattern::with_suffix(std::string_view suffix) const {
  Pattern out = *this;
  add_literal(out, suffix);
  return out;
}

std::string Pattern::expand(const Indices& indices) const {
  std::string out;
  for (const Part& part : parts) {
    WB_CHECK(part.kind != Kind::computed);
    if (part.kind != Kind::capture) {
      out += part.text;
      continue;
    }
    auto it = indices.find(part.text);
    WB_CHECK(it != indices.end());
    out += std::to_string(it->second);
  }
  return out;
}

bool Pattern::match(std::string_view name, Indices* captured) const {
  Indices local;
  if (!match_from(parts, 0, name, local)) return false;
  if (captured != nullptr) *captured = std::move(local);
  return true;
}

}  // namespace wb
