// Regular expressions of tokenizer.json, through Oniguruma: the engine and the syntax that
// Hugging Face's tokenizers use, on UTF-8. Owns the compiled program; searching is const and
// safe from several threads. A search that backtracks without end is stopped.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "tokenizer/json_node.h"

namespace wb {

class Regex {
 public:
  // Throws Code::config_invalid when Oniguruma does not take `pattern`; `where` names it.
  Regex(std::string_view pattern, const JsonNode& where);
  // A pattern of our own, which must compile.
  explicit Regex(std::string_view pattern);
  // A pattern that matches exactly `text`.
  static std::string escape(std::string_view text);

  // Calls found(begin, end), in bytes, for every match from left to right, none overlapping.
  // An empty match counts unless it directly follows the match before. `text` is well-formed
  // UTF-8. Throws Code::limit_exceeded when one search backtracks too often.
  void for_each(std::string_view text,
                const std::function<void(std::size_t begin, std::size_t end)>& found) const;

 private:
  struct Program;
  std::shared_ptr<const Program> program_;
  std::string pattern_, file_;
};

}  // namespace wb
