// Names with captures: "h.{l}.attn.q_proj.weight" is literal text with index
// variables at any place in it. Owns the grammar of names, their expansion to a
// name and the matching of a name against them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace wb {

// Values of index variables, by name.
using Indices = std::map<std::string, std::uint64_t, std::less<>>;

struct Pattern {
  enum class Kind { literal, capture, star };  // "h.", {l}, *
  struct Part {
    Kind kind;
    std::string text;  // the literal, or the capture's name
  };
  std::vector<Part> parts;

  // `problem` says what is wrong with the text, and at which byte.
  struct Problem {
    std::size_t at;
    std::string text;
  };
  // A '*' is a wildcard only where `stars`; elsewhere it is a character of the name.
  static Pattern parse(std::string_view text, bool stars, std::optional<Problem>& problem);

  std::string text() const;                   // as written
  std::vector<std::string> captures() const;  // each once, in order
  bool has_capture() const;
  bool has_star() const;
  // Captures and runs of digits that stand alone between dots become "{}".
  std::string anonymous() const;
  // Whether some name can match both, as far as their texts tell: equal anonymous text, and no
  // two different numbers in one place (layers.0 and layers.2 never meet; layers.{l} meets both).
  bool may_meet(const Pattern& other) const;
  // {block} replaced by the parts of `block`.
  Pattern with_block(const Pattern& block) const;
  Pattern with_suffix(std::string_view suffix) const;
  // The name for given indices; a capture without a value aborts.
  std::string expand(const Indices& indices) const;
  // Whether `name` matches; captures take runs of digits without leading zeros. A
  // capture that occurs twice must match the same number.
  bool match(std::string_view name, Indices* captured = nullptr) const;
};

}  // namespace wb
