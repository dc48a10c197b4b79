// See output.h.
#include "cli/output.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>

#include "base/progress.h"
#include "base/read_guard.h"

namespace wb::cli {

namespace {

constexpr std::string_view kUnbroken = "\u00a0";  // wrapped() does not break here

std::size_t columns_of(std::string_view text) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') {
      while (i < text.size() && text[i] != 'm') ++i;
    } else if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) {
      ++n;
    }
  }
  return n;
}

std::string styled(const char* code, std::string_view text) {
  static const bool color = wants_color(STDOUT_FILENO);
  return color ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
}

}  // namespace

std::string bold(std::string_view text) { return styled("1", text); }
std::string dim(std::string_view text) { return styled("2", text); }
std::string yellow(std::string_view text) { return styled("33", text); }

namespace {
void write_out(std::string_view text) {
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw Error(Code::file_write, std::strerror(errno))
        .file("standard output")
        .advice("Send the output somewhere that has room for it.");
  }
}

std::string text_of(const Json& document) {
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}
}  // namespace

void print(std::string_view text) {
  require_readable();  // nothing is said that was made of pages that are lost
  write_out(text);
}

void print_json(const Json& document) { print(text_of(document)); }

void remark(std::string_view text) {
  std::string line = printable(text) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

Json error_json(const Error& error) {
  return Json{{"code", code_name(error.code())}, {"sentence", error.sentence()},
              {"advice", error.advice()},        {"file", error.file()},
              {"tensor", error.tensor()},        {"expected", error.expected()},
              {"actual", error.actual()}};
}

void print_error(const Error& error, bool json) {
  if (json) {
    write_out(text_of(Json{{"error", error_json(error)}}));
    return;
  }
  const bool color = wants_color(STDERR_FILENO);
  std::string text = fmt::format("{}weightbridge:{} {}\n", color ? "\x1b[1;31m" : "",
                                 color ? "\x1b[0m" : "", printable(error.sentence()));
  if (!error.advice().empty()) text += printable(error.advice()) + "\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
}

std::string pattern_of(std::string_view name) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  std::string out;
  for (std::size_t i = 0; i < name.size();) {
    std::size_t end = i;
    while (end < name.size() && digit(name[end])) ++end;
    const bool opens = i == 0 || name[i - 1] == '.' || name[i - 1] == ' ';
    const bool closes = end == name.size() || name[end] == '.' || name[end] == ',';
    if (end > i && opens && closes) {
      out += "{}";
    } else {
      end = std::max(end, i + 1);
      out += name.substr(i, end - i);
    }
    i = end;
  }
  return out;
}

std::vector<PatternCount> group(const std::vector<std::string>& names) {
  std::vector<PatternCount> groups;
  std::map<std::string, std::size_t> index;
  for (const std::string& name : names) {
    auto [it, fresh] = index.try_emplace(pattern_of(name), groups.size());
    if (fresh) groups.push_back({it->first, 0});
    ++groups[it->second].count;
  }
  return groups;
}

namespace {

// What all of them begin with, up to and with a dot; empty when nothing.
std::string common_prefix(const std::vector<PatternCount>& groups) {
  std::string prefix = groups.front().pattern;
  for (const PatternCount& g : groups) {
    while (!g.pattern.starts_with(prefix)) prefix.pop_back();
  }
  return prefix.substr(0, prefix.rfind('.') + 1);
}

}  // namespace

std::string group_text(const std::vector<std::string>& names) {
  // More patterns than these are a part of the model, and said as one.
  constexpr std::size_t kMostPatterns = 8;
  const std::vector<PatternCount> groups = group(names);
  if (groups.size() > kMostPatterns) {
    if (const std::string prefix = common_prefix(groups); !prefix.empty()) {
      return fmt::format("{}* ({})", printable(prefix), names.size());
    }
  }
  std::string out;
  for (const PatternCount& g : groups) {
    if (!out.empty()) out += ", ";
    out += printable(g.pattern);
    if (g.count > 1) out += fmt::format("{}({})", kUnbroken, g.count);
  }
  return out;
}

Json group_json(const std::vector<std::string>& names) {
  Json out = Json::array();
  for (const PatternCount& g : group(names)) {
    out.push_back({{"pattern", g.pattern}, {"count", g.count}});
  }
  return out;
}

std::string wrapped(std::string_view text, std::size_t indent, std::size_t width) {
  std::string out;
  std::size_t column = indent;
  while (!text.empty()) {
    const std::size_t space = text.find(' ');
    const std::string_view word = text.substr(0, space);
    const std::size_t w = columns_of(word);
    if (column > indent && column + 1 + w > width) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += w;
    text.remove_prefix(space == text.npos ? text.size() : space + 1);
  }
  for (std::size_t at = out.find(kUnbroken); at != out.npos; at = out.find(kUnbroken, at)) {
    out.replace(at, kUnbroken.size(), " ");
  }
  return out;
}

std::string table(const std::vector<std::vector<std::string>>& rows, std::size_t indent,
                  const std::vector<std::size_t>& right) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], columns_of(row[i]));
    }
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line(indent, ' ');
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string fill(widths[i] - columns_of(row[i]), ' ');
      const bool to_right = std::find(right.begin(), right.end(), i) != right.end();
      if (to_right) line += fill;
      line += row[i];
      if (!to_right && i + 1 < row.size()) line += fill;
      if (i + 1 < row.size()) line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

}  // namespace wb::cli
