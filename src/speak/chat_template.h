// The chat template of a model: conversations as the text that the model was trained on. Owns the
// template, read once, and what a folder says beside it. Templates are Jinja; the part of Jinja
// that is understood, and the bounds that keep a stranger's template from hanging or eating
// memory, are in docs/chat.md. Everything else is refused by name and line.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace wb::speak {

using Json = nlohmann::ordered_json;

class ChatTemplate {
 public:
  // Throws Code::config_invalid for text outside the subset and Code::limit_exceeded for what is
  // over a limit. `file` names it in errors.
  ChatTemplate(std::string_view text, std::string file);

  // `variables`: an object, {"messages": [{"role": ..., "content": ...}, ...],
  // "add_generation_prompt": true, "bos_token": ..., ...}. Throws Code::usage where the template
  // itself refuses them (raise_exception), else as the constructor does. From several threads.
  std::string render(const Json& variables) const;

 private:
  struct Parsed;
  std::shared_ptr<const Parsed> parsed_;
};

// What a folder says of chats.
struct ChatFormat {
  ChatTemplate chat;
  std::string bos_token, eos_token;  // texts; empty where the folder names none
  Json variables;                    // these and the other special tokens, for the template

  // The text of the conversation; with `add_generation_prompt` up to where an answer begins.
  std::string prompt(const Json& messages, bool add_generation_prompt = true) const;
};

// chat_template.jinja, else chat_template in tokenizer_config.json (a text, or a list of named
// ones, of which "default"). `place`: a folder, or a file in it. Nothing without a template;
// throws Code::config_invalid where there is one that cannot be read.
std::optional<ChatFormat> chat_format_of(const std::filesystem::path& place);

}  // namespace wb::speak
