// Any text as a chat template, up to the first NUL; what follows is what the user says. Rendering
// ends within its bounds, which are smaller here, and gives the same every time; a text that asks
// for nothing is itself.
#include "speak/chat_template.h"

#include <string>

#include "base/error.h"
#include "input.h"
#include "tokenizer/utf8.h"

namespace {

wb::speak::Json variables(const std::string& said) {
  return {{"messages",
           {{{"role", "system"}, {"content", "Be brief."}},
            {{"role", "user"}, {"content", said}},
            {{"role", "assistant"}, {"content", "<think>\nso\n</think>\n\nyes"}},
            {{"role", "user"}, {"content", "Why?"}}}},
          {"tools", {{{"type", "function"}, {"function", {{"name", "f"}, {"parameters", {}}}}}}},
          {"add_generation_prompt", true},
          {"bos_token", "<s>"},
          {"eos_token", "</s>"},
          {"count", 3},
          {"nothing", nullptr}};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string input = wb::fuzz::text_of(data, size);
  const std::size_t end = input.find('\0');
  const std::string text = input.substr(0, end);
  // What comes from JSON is UTF-8.
  std::string said = end == input.npos ? "Hi <there>" : input.substr(end + 1, 256);
  for (char& c : said) c = static_cast<char>(c & 0x7F);
  try {
    const wb::speak::ChatTemplate chat(text, "chat_template.jinja");
    const std::string once = chat.render(variables(said));
    WB_CHECK(chat.render(variables(said)) == once);
    if (text.find('{') == text.npos && text.find('\r') == text.npos) {
      WB_CHECK(once == wb::utf8::replace_invalid(
                           text.ends_with('\n') ? text.substr(0, text.size() - 1) : text));
    }
  } catch (const wb::Error& error) {
    WB_CHECK(!error.sentence().empty());
  }
  return 0;
}
