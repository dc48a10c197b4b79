// Printing: results to stdout, errors and remarks to stderr, JSON in place of
// text. Owns the look of the program. Everything that comes from a file (names,
// paths, reasons) passes printable(), so that no file can write to the terminal
// what it likes. Refuses to know what the results mean.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "package/words.h"
#include "tensor/shape.h"

namespace wb::cli {

using Json = nlohmann::ordered_json;
using words::counted;
using words::grouped;
using words::plain;
using words::printable;

// Text on stdout: emphasis only where a terminal shows it.
std::string bold(std::string_view text);
std::string dim(std::string_view text);
std::string yellow(std::string_view text);

// All of it to stdout, or throws Code::file_write; or what require_readable() throws.
void print(std::string_view text);
void print_json(const Json& document);
// One line to stderr, for people; nothing with --json on a pipe is harmed by it.
void remark(std::string_view text);
// The sentence and the advice to stderr, or {"error": {...}} to stdout.
void print_error(const Error& error, bool json);
Json error_json(const Error& error);

// "h.3.mlp.experts.11.gate" -> "h.{}.mlp.experts.{}.gate": numbers between dots.
std::string pattern_of(std::string_view name);
// Names grouped by pattern in order of first appearance, e.g. "h.{}.ln_1.weight (8)".
struct PatternCount {
  std::string pattern;
  std::size_t count;
};
std::vector<PatternCount> group(const std::vector<std::string>& names);
// The groups in one line, "a.{} (8), b"; many with one beginning as "mtp_heads.{}.* (74)".
// For wrapped().
std::string group_text(const std::vector<std::string>& names);
Json group_json(const std::vector<std::string>& names);

// `text` broken at plain spaces to `width` columns (U+00A0 becomes a plain one), each line after
// the first with `indent` spaces.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t width = 100);

// Rows with columns padded to their widest cell; `right` lists columns aligned right.
std::string table(const std::vector<std::vector<std::string>>& rows, std::size_t indent,
                  const std::vector<std::size_t>& right = {});

}  // namespace wb::cli
