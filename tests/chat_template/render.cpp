// Renders chat templates for a test: reads JSON lines {"template", "variables"} from standard
// input and answers each with {"text"} or {"error": code, "sentence"}.
#include <cstdio>
#include <iostream>
#include <string>

#include "base/error.h"
#include "speak/chat_template.h"

int main() {
  using wb::speak::Json;
  for (std::string line; std::getline(std::cin, line);) {
    const Json asked = Json::parse(line);
    Json answer;
    try {
      const wb::speak::ChatTemplate chat(asked["template"].get_ref<const std::string&>(), "asked");
      answer = {{"text", chat.render(asked["variables"])}};
    } catch (const wb::Error& error) {
      answer = {{"error", wb::code_name(error.code())}, {"sentence", error.sentence()}};
    }
    std::cout << answer.dump() << '\n';
  }
}
