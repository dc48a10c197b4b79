// Any text as tokenizer.json, up to the first NUL; what follows is cut into tokens by it. Ids that
// come out are of tokens that there are, and pushing them one by one gives what decoding them
// together does.
#include "tokenizer/tokenizer.h"

#include <string>

#include "base/error.h"
#include "input.h"
#include "tokenizer/utf8.h"

namespace {

constexpr std::string_view kText =
    "Hello, w\xc3\xb6rld! 12345 <|end|>\n\n  \xe4\xbd\xa0\xe5\xa5\xbd";
constexpr std::size_t kMostText = 512;

void check_text(const wb::Tokenizer& tokenizer, std::string_view text, wb::EncodeOptions options) {
  const auto ids = tokenizer.encode(text, options);
  for (const std::uint32_t id : ids) {
    WB_CHECK(id < tokenizer.vocab_size() && tokenizer.token_name(id).has_value());
  }
  WB_CHECK(tokenizer.encode(text, options) == ids);
  for (const bool skip : {false, true}) {
    wb::StreamDecoder stream(tokenizer, skip);
    std::string pushed;
    for (const std::uint32_t id : ids) pushed += stream.push(id);
    pushed += stream.finish();
    WB_CHECK(pushed == wb::utf8::replace_invalid(tokenizer.decode(ids, skip)));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string input = wb::fuzz::text_of(data, size);
  const std::size_t end = input.find('\0');
  const std::string text(end == input.npos ? kText
                                           : std::string_view(input).substr(end + 1, kMostText));
  try {
    const auto tokenizer = wb::Tokenizer::parse(input.substr(0, end), "tokenizer.json");
    check_text(tokenizer, text, {});
    check_text(tokenizer, text, {.add_special = true, .find_special = false});
  } catch (const wb::Error& error) {
    WB_CHECK(!error.sentence().empty() && !error.advice().empty());
  }
  return 0;
}
