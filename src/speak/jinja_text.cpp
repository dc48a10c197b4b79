// See jinja_text.h.
#include "speak/jinja_text.h"

#include <fmt/format.h>
#include <string.h>

#include <algorithm>

#include "tokenizer/utf8.h"

namespace wb::speak::jinja {

namespace {

bool ascii_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool ascii_lower(char c) { return c >= 'a' && c <= 'z'; }
char to_upper(char c) { return ascii_lower(c) ? static_cast<char>(c - 'a' + 'A') : c; }
char to_lower(char c) { return ascii_upper(c) ? static_cast<char>(c - 'A' + 'a') : c; }

// Blocks of Unicode that hold letters with case, beyond ASCII: generous, for a refusal.
constexpr std::pair<char32_t, char32_t> kCased[] = {
    {0xAA, 0xAA},       {0xB5, 0xB5},       {0xBA, 0xBA},       {0xC0, 0xD6},
    {0xD8, 0xF6},       {0xF8, 0x2B8},      {0x2C0, 0x2C1},     {0x2E0, 0x2E4},
    {0x345, 0x345},     {0x370, 0x58F},     {0x10A0, 0x10FF},   {0x13A0, 0x13FF},
    {0x1C80, 0x1CBF},   {0x1D00, 0x1FFF},   {0x2071, 0x2071},   {0x207F, 0x209C},
    {0x2102, 0x214F},   {0x2160, 0x2188},   {0x24B6, 0x24E9},   {0x2C00, 0x2DFF},
    {0xA640, 0xA7FF},   {0xAB30, 0xABBF},   {0xFB00, 0xFB17},   {0xFF21, 0xFF5A},
    {0x10400, 0x104FF}, {0x10570, 0x105BF}, {0x10780, 0x107BA}, {0x10C80, 0x10CFF},
    {0x10D50, 0x10D8F}, {0x118A0, 0x118DF}, {0x16E40, 0x16E7F}, {0x1D400, 0x1D7CB},
    {0x1DF00, 0x1DF2A}, {0x1E030, 0x1E06D}, {0x1E900, 0x1E943}, {0x1F130, 0x1F189}};

void require_caseless(std::string_view text, Run& run) {
  run.work(text.size());
  for (std::size_t i = 0; i < text.size(); i += char_bytes(text[i])) {
    if (static_cast<unsigned char>(text[i]) < 0x80) continue;
    const char32_t code = first_code(text.substr(i));
    for (const auto& [first, last] : kCased) {
      if (code >= first && code <= last) {
        run.refuse(fmt::format("upper and lower case of U+{:04X} is not known here; only ASCII's",
                               static_cast<std::uint32_t>(code)));
      }
    }
  }
}

template <class F>
std::string mapped(std::string_view text, Run& run, F change) {
  require_caseless(text, run);
  std::string out(text);
  for (char& c : out) c = change(c);
  return out;
}

}  // namespace

std::size_t char_bytes(char lead) {
  const auto b = static_cast<unsigned char>(lead);
  return b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

std::size_t count_chars(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::vector<std::string_view> chars(std::string_view text) {
  std::vector<std::string_view> out;
  for (std::size_t i = 0; i < text.size();) {
    out.push_back(text.substr(i, char_bytes(text[i])));
    i += out.back().size();
  }
  return out;
}

char32_t first_code(std::string_view text) { return utf8::step(text, 0).code; }

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::string_view strip(std::string_view text, const std::string* of, bool left, bool right) {
  const auto goes = [&](std::string_view c) {
    return of == nullptr ? is_space(first_code(c)) : of->find(c) != std::string::npos;
  };
  while (left && !text.empty()) {
    const std::string_view c = text.substr(0, char_bytes(text[0]));
    if (!goes(c)) break;
    text.remove_prefix(c.size());
  }
  while (right && !text.empty()) {
    std::size_t at = text.size() - 1;
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
    if (!goes(text.substr(at))) break;
    text.remove_suffix(text.size() - at);
  }
  return text;
}

std::size_t find_text(std::string_view text, std::string_view needle, std::size_t from) {
  if (needle.empty()) return from;
  const void* found =
      ::memmem(text.data() + from, text.size() - from, needle.data(), needle.size());
  return found == nullptr ? std::string_view::npos
                          : static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

std::string replace_text(std::string_view text, std::string_view from, std::string_view to,
                         std::int64_t at_most, Run& run) {
  std::string out;
  const auto add = [&](std::string_view part) {
    run.work(part.size());
    out += part;
  };
  std::size_t at = 0;
  if (from.empty()) {  // before every character, and behind the last
    for (std::string_view c : chars(text)) {
      if (at_most-- == 0) break;
      add(to);
      add(c);
      at += c.size();
    }
    if (at == text.size() && at_most != 0) add(to);
    add(text.substr(at));
    return out;
  }
  while (at_most != 0) {
    const std::size_t found = find_text(text, from, at);
    if (found == std::string_view::npos) break;
    add(text.substr(at, found - at));
    add(to);
    at = found + from.size();
    --at_most;
  }
  add(text.substr(at));
  return out;
}

namespace {

std::vector<std::string_view> split_spaces(std::string_view text, std::int64_t at_most,
                                           bool from_right) {
  std::vector<std::string_view> out;
  text = strip(text, nullptr, !from_right, from_right);
  while (!text.empty()) {
    if (at_most == 0) {
      out.push_back(text);
      break;
    }
    --at_most;
    if (from_right) {
      std::size_t at = text.size();
      while (at > 0) {
        std::size_t before = at - 1;
        while (before > 0 && (static_cast<unsigned char>(text[before]) & 0xC0) == 0x80) --before;
        if (is_space(first_code(text.substr(before)))) break;
        at = before;
      }
      out.push_back(text.substr(at));
      text = strip(text.substr(0, at), nullptr, false, true);
    } else {
      std::size_t at = 0;
      while (at < text.size() && !is_space(first_code(text.substr(at)))) at += char_bytes(text[at]);
      out.push_back(text.substr(0, at));
      text = strip(text.substr(at), nullptr, true, false);
    }
  }
  return out;
}

}  // namespace

std::vector<std::string_view> split_text(std::string_view text, const std::string* by,
                                         std::int64_t at_most, bool from_right, Run& run) {
  run.work(text.size());
  std::vector<std::string_view> out;
  if (by == nullptr) {
    out = split_spaces(text, at_most, from_right);
  } else if (from_right) {
    run.work(text.size(), by->size());  // searching backwards is not linear
    while (at_most != 0) {
      const std::size_t found = text.rfind(*by);
      if (found == std::string_view::npos) break;
      out.push_back(text.substr(found + by->size()));
      text = text.substr(0, found);
      --at_most;
    }
    out.push_back(text);
  } else {
    while (at_most != 0) {
      const std::size_t found = find_text(text, *by);
      if (found == std::string_view::npos) break;
      out.push_back(text.substr(0, found));
      text = text.substr(found + by->size());
      --at_most;
    }
    out.push_back(text);
  }
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  const auto ends = [](char32_t c) {
    return (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
  };
  std::vector<std::string_view> out;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t next = i + char_bytes(text[i]);
    if (ends(first_code(text.substr(i)))) {
      if (text[i] == '\r' && next < text.size() && text[next] == '\n') ++next;
      out.push_back(text.substr(begin, (keep_ends ? next : i) - begin));
      begin = next;
    }
    i = next;
  }
  if (begin < text.size()) out.push_back(text.substr(begin));
  return out;
}

std::string upper(std::string_view text, Run& run) { return mapped(text, run, to_upper); }
std::string lower(std::string_view text, Run& run) { return mapped(text, run, to_lower); }

std::string capitalize(std::string_view text, Run& run) {
  std::string out = lower(text, run);
  if (!out.empty()) out[0] = to_upper(out[0]);
  return out;
}

std::string title(std::string_view text, Run& run) {
  bool inside = false;
  return mapped(text, run, [&](char c) {
    const char made = inside ? to_lower(c) : to_upper(c);
    inside = ascii_upper(c) || ascii_lower(c);
    return made;
  });
}

std::string title_filter(std::string_view text, Run& run) {
  require_caseless(text, run);
  std::string out;
  bool begins = true;
  for (std::string_view c : chars(text)) {
    if (c.size() == 1) {
      out += begins ? to_upper(c[0]) : to_lower(c[0]);
    } else {
      out += c;
    }
    begins = is_space(first_code(c)) || std::string_view("-({[<").find(c) != std::string_view::npos;
  }
  return out;
}

bool is_upper(std::string_view text, Run& run) {
  require_caseless(text, run);
  return std::any_of(text.begin(), text.end(), ascii_upper) &&
         std::none_of(text.begin(), text.end(), ascii_lower);
}

bool is_lower(std::string_view text, Run& run) {
  require_caseless(text, run);
  return std::any_of(text.begin(), text.end(), ascii_lower) &&
         std::none_of(text.begin(), text.end(), ascii_upper);
}

std::string python_quoted(std::string_view text) {
  const bool has_single = text.find('\'') != text.npos, has_double = text.find('"') != text.npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (std::string_view c : chars(text)) {
    const char32_t code = first_code(c);
    if (code == '\n') {
      out += "\\n";
    } else if (code == '\r') {
      out += "\\r";
    } else if (code == '\t') {
      out += "\\t";
    } else if (code == '\\' || code == static_cast<char32_t>(quote)) {
      (out += '\\') += c;
    } else if (code < 0x20 || (code >= 0x7F && code <= 0xA0) || code == 0xAD) {
      out += fmt::format("\\x{:02x}", static_cast<std::uint32_t>(code));
    } else if (code != 0x20 &&
               (is_space(code) || (code >= 0x200B && code <= 0x200F) ||
                (code >= 0x202A && code <= 0x202E) || (code >= 0x2060 && code <= 0x206F) ||
                code == 0xFEFF || (code >= 0xE000 && code <= 0xF8FF))) {
      out += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(code));
    } else {
      out += c;
    }
  }
  return out + quote;
}

}  // namespace wb::speak::jinja
