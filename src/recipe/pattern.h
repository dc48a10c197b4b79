// Names with captures: "h.{l}.attn.q_proj.weight" is literal text with index
// variables at any place in it, and "experts.{e + n_shared}" one that is reckoned. Owns
// the grammar of names, their expansion to a name and the matching of a name against
// them; what is reckoned is the evaluator's to fill in (eval.h).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace wb {

struct Expr;  // expr.h

// Values of index variables, by name.
using Indices = std::map<std::string, std::uint64_t, std::less<>>;

struct Pattern {
  enum class Kind { literal, capture, star, computed };  // "h.", {l}, *, {l + 1}
  struct Part {
    Kind kind;
    std::string text;  // the literal, the capture's name, or the expression as written
    std::shared_ptr<Expr> computed = nullptr;
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
  bool has_computed() const;
  // Captures and runs of digits that stand alone between dots become "{}".
  std::string anonymous() const;
  // Whether some name can match both, as far as their texts tell: equal anonymous text, and no
  // two different numbers in one place (layers.0 and layers.2 never meet; layers.{l} meets both).
  bool may_meet(const Pattern& other) const;
  // {block}, or the capture of another name, replaced by the parts of `block`.
  Pattern with_block(const Pattern& block, std::string_view capture = "block") const;
  Pattern with_suffix(std::string_view suffix) const;
  // The name for given indices; a capture without a value aborts, as does a computed part.
  std::string expand(const Indices& indices) const;
  // Whether `name` matches; captures take runs of digits without leading zeros. A
  // capture that occurs twice must match the same number.
  bool match(std::string_view name, Indices* captured = nullptr) const;
};

}  // namespace wb
