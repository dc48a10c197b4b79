// A chat template cut into tokens, with white space treated as transformers sets Jinja up:
// trim_blocks and lstrip_blocks on, the last line end dropped, "-" and "+" beside the braces
// obeyed. Refuses what is not Jinja and texts over kMaxTemplate bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "speak/jinja_bounds.h"

namespace wb::speak::jinja {

enum class TokenKind {
  data,  // text outside of braces
  print_begin,
  print_end,
  tag_begin,
  tag_end,
  name,
  text,  // a string literal, unescaped
  whole,
  real,
  sign,  // an operator or bracket, in `text`
  end
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::string text;
  int line = 1;
  std::int64_t whole = 0;
  double real = 0;
};

// All tokens of `source`, closed by one of kind end. Errors name the line through `run`.
std::vector<Token> cut_into_tokens(std::string_view source, Run& run);

}  // namespace wb::speak::jinja
