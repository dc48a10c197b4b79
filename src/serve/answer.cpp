// See answer.h.
#include "serve/answer.h"

#include <algorithm>

namespace wb::serve {

namespace {

using Json = nlohmann::ordered_json;

const char* finish_name(Finish finish) {
  switch (finish) {
    case Finish::none:
      return nullptr;
    case Finish::stop:
      return "stop";
    default:
      return "length";
  }
}

void add_cut(Finish finish, Json& choice) {
  if (finish == Finish::time_limit) choice["cut"] = "time_limit";
  if (finish == Finish::shutdown) choice["cut"] = "shutdown";
}

std::string dumped(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}
std::string event_of(const Json& json) { return "data: " + dumped(json) + "\n\n"; }

// Characters of valid UTF-8.
std::size_t characters(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

Json bytes_of(const std::string& text) {
  Json out = Json::array();
  for (const char c : text) out.push_back(static_cast<unsigned char>(c));
  return out;
}

Json or_null(const char* text) { return text == nullptr ? Json(nullptr) : Json(text); }

}  // namespace

Answer::Answer(const ServedModel& model, const Ask& ask, const std::vector<PlannedText>& texts,
               std::string id, std::int64_t created)
    : model_(model), ask_(ask), id_(std::move(id)), created_(created), choices_(texts.size()) {
  for (std::size_t i = 0; i < texts.size(); ++i) {
    choices_[i].echo = texts[i].echo;
    choices_[i].characters = characters(texts[i].echo);
    // OpenAI counts a prompt once, however many choices it has.
    if (i % ask.n == 0) prompt_tokens_ += texts[i].prompt.size();
  }
}

Json Answer::head(const char* object) const {
  return {{"id", id_}, {"object", object}, {"created", created_}, {"model", model_.id}};
}

Json Answer::usage() const {
  return {{"prompt_tokens", prompt_tokens_},
          {"completion_tokens", made_tokens_},
          {"total_tokens", prompt_tokens_ + made_tokens_}};
}

std::string Answer::token_text(std::uint32_t token) const {
  if (model_.tokenizer == nullptr) return {};
  std::string text = model_.tokenizer->token_bytes(token);
  if (text.empty()) text = model_.tokenizer->token_name(token).value_or("");
  return text;
}

// Appends one token to `logprobs`, in the shape of the endpoint.
void Answer::add_scores(const MadeToken& made, std::size_t offset, Json& logprobs) const {
  const std::string text = token_text(*made.token);
  if (chat()) {
    if (logprobs.is_null()) logprobs = {{"content", Json::array()}};
    auto one = [this](std::uint32_t token, double logprob) {
      const std::string t = token_text(token);
      return Json{{"token", t}, {"logprob", logprob}, {"bytes", bytes_of(t)}};
    };
    Json entry = one(*made.token, made.scores->logprob);
    entry["top_logprobs"] = Json::array();
    for (const auto& t : made.scores->top) entry["top_logprobs"].push_back(one(t.token, t.logprob));
    logprobs["content"].push_back(std::move(entry));
    return;
  }
  if (logprobs.is_null()) {
    logprobs = {{"tokens", Json::array()},
                {"token_logprobs", Json::array()},
                {"top_logprobs", *ask_.logprobs > 0 ? Json::array() : Json(nullptr)},
                {"text_offset", Json::array()}};
  }
  logprobs["tokens"].push_back(text);
  logprobs["token_logprobs"].push_back(made.scores->logprob);
  logprobs["text_offset"].push_back(offset);
  if (*ask_.logprobs == 0) return;
  Json top = Json::object();
  for (const auto& t : made.scores->top) top[token_text(t.token)] = t.logprob;
  logprobs["top_logprobs"].push_back(std::move(top));
}

void Answer::add(const JobEvent& event) {
  Choice& c = choices_[event.choice];
  const MadeToken& made = event.made;
  if (made.token) {
    ++made_tokens_;
    c.token_ids.push_back(*made.token);
    if (made.scores) add_scores(made, c.characters, c.logprobs);
  }
  c.text += made.text;
  c.characters += characters(made.text);
  if (made.finish != Finish::none) c.finish = made.finish;
}

std::string Answer::document() const {
  Json out = head(chat() ? "chat.completion" : "text_completion");
  out["choices"] = Json::array();
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    const Choice& c = choices_[i];
    Json choice = {{"index", i}};
    if (chat()) {
      choice["message"] = {{"role", "assistant"}, {"content", c.text}, {"refusal", nullptr}};
    } else {
      choice["text"] = c.echo + c.text;
    }
    choice["logprobs"] = c.logprobs;
    choice["finish_reason"] = or_null(finish_name(c.finish));
    if (ask_.token_ids || model_.tokenizer == nullptr) choice["token_ids"] = c.token_ids;
    add_cut(c.finish, choice);
    out["choices"].push_back(std::move(choice));
  }
  out["usage"] = usage();
  return dumped(out);
}

// `content`: the choice without index and reason.
Json Answer::chunk_of(std::size_t index, const Json& content, const char* finish) const {
  Json choice = {{"index", index}};
  choice.update(content);
  if (!choice.contains("logprobs")) choice["logprobs"] = nullptr;
  choice["finish_reason"] = or_null(finish);
  Json out = head(chat() ? "chat.completion.chunk" : "text_completion");
  out["choices"] = Json::array({std::move(choice)});
  if (ask_.include_usage) out["usage"] = nullptr;
  return out;
}

std::string Answer::opening() const {
  std::string out;
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    if (chat()) {
      out += event_of(chunk_of(i, {{"delta", {{"role", "assistant"}, {"content", ""}}}}, nullptr));
    } else if (!choices_[i].echo.empty()) {
      out += event_of(chunk_of(i, {{"text", choices_[i].echo}}, nullptr));
    }
  }
  return out;
}

std::string Answer::chunk(const JobEvent& event) {
  Choice& c = choices_[event.choice];
  const MadeToken& made = event.made;
  const std::size_t offset = c.characters;
  if (made.token) ++made_tokens_;
  c.characters += characters(made.text);
  Json content;
  if (chat()) {
    content["delta"] = made.text.empty() ? Json::object() : Json{{"content", made.text}};
  } else {
    content["text"] = made.text;
  }
  if (made.token && made.scores) {
    content["logprobs"] = nullptr;
    add_scores(made, offset, content["logprobs"]);
  }
  const bool ids = ask_.token_ids || model_.tokenizer == nullptr;
  if (ids && made.token) content["token_ids"] = Json::array({*made.token});
  const bool says =
      !made.text.empty() || content.contains("logprobs") || content.contains("token_ids");
  const char* finish = finish_name(made.finish);
  if (finish == nullptr) return says ? event_of(chunk_of(event.choice, content, nullptr)) : "";
  std::string out;
  if (chat()) {
    // The last chunk of a conversation's answer has the reason and no text.
    if (says) out += event_of(chunk_of(event.choice, content, nullptr));
    content = {{"delta", Json::object()}};
  }
  add_cut(made.finish, content);
  return out + event_of(chunk_of(event.choice, content, finish));
}

std::string Answer::closing() const {
  std::string out;
  if (ask_.include_usage) {
    Json last = head(chat() ? "chat.completion.chunk" : "text_completion");
    last["choices"] = Json::array();
    last["usage"] = usage();
    out += event_of(last);
  }
  return out + "data: [DONE]\n\n";
}

std::string Answer::error_event(const Refusal& refusal) {
  return "data: " + refusal_body(refusal) + "\n\n";
}

}  // namespace wb::serve
