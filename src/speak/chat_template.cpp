// See chat_template.h.
#include "speak/chat_template.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "speak/jinja_interpreter.h"

namespace wb::speak {

namespace fs = std::filesystem;

struct ChatTemplate::Parsed {
  std::string file;
  std::vector<jinja::Statement> body;
};

ChatTemplate::ChatTemplate(std::string_view text, std::string file) {
  auto parsed = std::make_shared<Parsed>();
  jinja::Run run(file);
  parsed->body = jinja::parse_template(text, run);
  parsed->file = std::move(file);
  parsed_ = std::move(parsed);
}

std::string ChatTemplate::render(const Json& variables) const {
  jinja::Run run(parsed_->file);
  const jinja::Value given = jinja::from_json(variables, run);
  WB_CHECK(given.dict() != nullptr);
  return jinja::Interpreter(*given.dict(), run).render(parsed_->body);
}

std::string ChatFormat::prompt(const Json& messages, bool add_generation_prompt) const {
  Json all = variables;
  all["messages"] = messages;
  all["add_generation_prompt"] = add_generation_prompt;
  return chat.render(all);
}

namespace {

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

std::string text_of(const fs::path& path) {
  const auto file = MappedFile::open(path.string());
  // One more than is read, so that a longer one is refused without being copied.
  const auto bytes =
      file->bytes().first(std::min<std::size_t>(file->size(), jinja::kMaxTemplate + 1));
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Json json_of(const fs::path& path) {
  if (!is_file(path)) return Json::object();
  constexpr const char* kAdvice = "Take the file of the model's own folder.";
  const nlohmann::json read = read_json_file(path.string(), kAdvice);
  if (read.is_object()) return read;
  throw Error(Code::config_invalid, "is not a JSON object").file(path.string()).advice(kAdvice);
}

// A token's text: given as such, or as an object with "content".
std::string token_text(const Json& config, const char* name) {
  const auto found = config.find(name);
  if (found == config.end()) return {};
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_object()) return {};
  const auto content = found->find("content");
  return content != found->end() && content->is_string() ? content->get<std::string>() : "";
}

// The template in tokenizer_config.json.
std::optional<std::string> configured(const Json& config, const fs::path& path) {
  const auto found = config.find("chat_template");
  if (found == config.end() || found->is_null()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  if (found->is_array()) {
    for (const Json& entry : *found) {
      if (!entry.is_object() || entry.value("name", Json()) != "default") continue;
      const auto text = entry.find("template");
      if (text != entry.end() && text->is_string()) return text->get<std::string>();
    }
  }
  throw Error(Code::config_invalid, "chat_template is no text and no list with a \"default\"")
      .file(path.string())
      .advice("Put the template into chat_template.jinja beside it.");
}

}  // namespace

std::optional<ChatFormat> chat_format_of(const fs::path& place) {
  std::error_code ignored;
  const fs::path folder = fs::is_directory(place, ignored) ? place : place.parent_path();
  const fs::path config_path = folder / "tokenizer_config.json";
  const Json config = json_of(config_path);
  const fs::path own = folder / "chat_template.jinja";
  const std::optional<std::string> text =
      is_file(own) ? std::optional(text_of(own)) : configured(config, config_path);
  if (!text) return std::nullopt;
  // Older folders keep the tokens' texts beside the configuration.
  const Json map = json_of(folder / "special_tokens_map.json");
  Json variables = {{"tools", nullptr}, {"documents", nullptr}};
  for (const char* name : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                           "cls_token", "mask_token"}) {
    std::string token = token_text(config, name);
    if (token.empty()) token = token_text(map, name);
    if (!token.empty()) variables[name] = token;
  }
  const std::string bos = variables.value("bos_token", ""), eos = variables.value("eos_token", "");
  return ChatFormat{ChatTemplate(*text, (is_file(own) ? own : config_path).string()), bos, eos,
                    std::move(variables)};
}

}  // namespace wb::speak
