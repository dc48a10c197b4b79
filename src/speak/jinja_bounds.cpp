// See jinja_bounds.h.
#include "speak/jinja_bounds.h"

#include <fmt/format.h>

namespace wb::speak::jinja {

Error Run::error(Code code, const std::string& sentence) const {
  Error out(code, fmt::format("line {} of the chat template: {}", line, sentence));
  out.file(file_);
  return out;
}

void Run::over(std::string_view what, std::size_t limit) const {
  throw error(Code::limit_exceeded, fmt::format("more than {} {}", limit, what))
      .advice("docs/chat.md lists the limits that keep a template of a stranger in bounds.");
}

void Run::refuse(const std::string& sentence) const {
  throw error(Code::config_invalid, sentence)
      .advice("docs/chat.md lists the part of Jinja that is understood.");
}

void Run::fail(const std::string& sentence) const {
  throw error(Code::config_invalid, sentence)
      .advice("The template does not fit this conversation, or has a mistake; see docs/chat.md.");
}

void Run::raised(std::string_view message) const {
  throw error(Code::usage, fmt::format("the template refuses the conversation: {}", message))
      .advice("Give the roles and the order of turns that the model was trained with.");
}

}  // namespace wb::speak::jinja
