// A text as it is made: tokens in, characters out, until a stop string is met. What may become a
// stop string is held back until it is clear that it does not, so that no part of one is ever
// given out. Owns the decoder's state; refuses nothing.
#pragma once

#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace wb::speak {

class TextStream {
 public:
  // `stops`: empty strings among them are passed over. Special tokens give no text.
  TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops);

  // The characters that `token` completes and that cannot belong to a stop string. Nothing once
  // stopped().
  std::string push(std::uint32_t token);
  // What was held back, at the end of a text that was not stopped.
  std::string finish();
  // Whether a stop string was met; the text ended before it.
  bool stopped() const { return stopped_; }

 private:
  std::string release(const std::string& text);

  StreamDecoder decoder_;
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace wb::speak
