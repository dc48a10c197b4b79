// See routes.h. Answers that are made of tokens are in replies.cpp.
#include "serve/routes.h"

#include <fmt/format.h>

#include <array>
#include <chrono>

#include "base/hash.h"

namespace wb::serve {

namespace {

using Json = nlohmann::ordered_json;
using Handled = httplib::Server::HandlerResponse;

constexpr const char* kJson = "application/json";

std::string dumped(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::int64_t unix_time() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

RequestHead head_of(const httplib::Request& req) {
  const auto all = [&](const char* name) {
    std::string out = req.get_header_value(name);
    const std::size_t count = req.get_header_value_count(name);
    for (std::size_t i = 1; i < count; ++i) out += ", " + req.get_header_value(name, i);
    return out;
  };
  return {req.method,
          req.path,
          all("Authorization"),
          all("Host"),
          all("Origin"),
          all("Content-Length"),
          all("Transfer-Encoding"),
          all("Content-Type"),
          all("Range")};
}

// The methods of a path, for Allow; empty for a path that is not there.
std::string methods_of(const std::string& path) {
  if (path == "/v1/completions" || path == "/v1/chat/completions") return "POST, OPTIONS";
  if (path == "/" || path == "/health" || path == "/metrics" || path == "/v1/models" ||
      path.starts_with("/v1/models/"))
    return "GET, HEAD, OPTIONS";
  return {};
}

// For counting: never a word that a client chose.
std::string route_of(const std::string& path) {
  if (path.starts_with("/v1/models/")) return "/v1/models/{id}";
  return methods_of(path).empty() ? "other" : path;
}

std::string base64_of_hex(const std::string& hex) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k)
      out += i + k > bytes.size() ? '=' : kDigits[group >> (18 - 6 * k) & 63];
  }
  return out;
}

// 'sha256-...' of what stands between <tag> and </tag>.
std::string hash_source(std::string_view html, std::string_view tag) {
  const std::string open = fmt::format("<{}>", tag), close = fmt::format("</{}>", tag);
  const auto begin = html.find(open);
  const auto end = begin == html.npos ? begin : html.find(close, begin);
  if (end == html.npos) return "'none'";
  const auto text = html.substr(begin + open.size(), end - begin - open.size());
  const auto hasher = make_sha256();
  hasher->update(std::as_bytes(std::span(text)));
  return "'sha256-" + base64_of_hex(hasher->hex()) + "'";
}

// Beyond OpenAI's fields what the page and people want to know.
Json model_json(const ServedModel& m, std::int64_t created, const ServerOptions& options) {
  return {{"id", m.id},
          {"object", "model"},
          {"created", created},
          {"owned_by", "weightbridge"},
          {"max_tokens", options.voice.most_tokens},
          {"parameters", m.engine->parameters()},
          {"bytes_per_token", m.engine->bytes_per_token()},
          {"vocab_size", m.engine->spec().vocab_size},
          {"tokenizer", m.tokenizer != nullptr},
          {"chat_template", static_cast<bool>(m.chat)}};
}

Refusal no_model(const std::string& id) {
  return {404,
          fmt::format("There is no model '{}' here; /v1/models lists what there is.",
                      id.substr(0, 200)),
          "invalid_request_error", "model", "model_not_found"};
}

}  // namespace

std::string page_policy(std::string_view html) {
  return fmt::format(
      "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; "
      "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      hash_source(html, "script"), hash_source(html, "style"));
}

Routes::Routes(HttpServer& http, Scheduler& scheduler, const std::vector<ServedModel>& models,
               const ServerOptions& options)
    : http_(http),
      scheduler_(scheduler),
      models_(models),
      options_(options),
      rules_{options.api_key, options.cors_origin, http.is_loopback(), options.allowed_hosts},
      created_(unix_time()),
      page_policy_(page_policy(options.page)),
      random_(std::random_device()() * 0x100000001ull + std::random_device()()) {
  http.set_pre_routing_handler([this](const Req& req, Res& res) { return before(req, res); });
  http.set_error_handler(
      httplib::Server::HandlerWithResponse([this](const Req&, Res& res) { return explain(res); }));
  http.set_exception_handler([](const Req&, Res& res, std::exception_ptr) {
    res.status = 500;
    res.set_content(refusal_body(server_fault("There is not enough memory for this request.")),
                    kJson);
  });
  http.set_logger(
      [this](const Req& req, const Res& res) { metrics_.request(route_of(req.path), res.status); });
  http.Get("/", [this](const Req&, Res& res) { page(res); });
  http.Get("/health", [this](const Req&, Res& res) { health(res); });
  http.Get("/metrics", [this](const Req&, Res& res) { metrics(res); });
  http.Get("/v1/models", [this](const Req&, Res& res) { this->models(res); });
  http.Get("/v1/models/(.+)",
           [this](const Req& req, Res& res) { model(req.matches[1].str(), res); });
  const std::array<std::pair<const char*, Endpoint>, 2> posts = {
      {{"/v1/completions", Endpoint::completions}, {"/v1/chat/completions", Endpoint::chat}}};
  for (const auto& [path, endpoint] : posts) {
    const Endpoint which = endpoint;
    http.Post(path, [this, which](const Req& req, Res& res, const httplib::ContentReader& reader) {
      post(which, req, res, reader);
    });
  }
}

// Everything that is decided before a body is read. A body that stays unread ends the connection.
Handled Routes::before(const Req& req, Res& res) {
  Connection& connection = *Connection::current();
  const bool has_body = !req.get_header_value("Content-Length").empty() ||
                        !req.get_header_value("Transfer-Encoding").empty();
  res.set_header("X-Content-Type-Options", "nosniff");
  res.set_header("Cache-Control", "no-store");
  const std::string origin = req.get_header_value("Origin");
  if (shares_with(rules_, origin)) {
    res.set_header("Access-Control-Allow-Origin", rules_.cors_origin == "*" ? "*" : origin);
    res.set_header("Vary", "Origin");
  }
  auto done = [&](int status) {
    res.status = status;
    if (has_body) connection.close_after();
    return Handled::Handled;
  };
  const auto refusal = guard(rules_, head_of(req), options_.most_body);
  if (refusal) {
    if (refusal->status == 401) res.set_header("WWW-Authenticate", "Bearer");
    res.set_content(refusal_body(*refusal), kJson);
    if (req.method == "POST") connection.close_after();
    return done(refusal->status);
  }
  const std::string methods = methods_of(req.path);
  if (methods.empty()) return done(404);
  res.set_header("Allow", methods);
  if (req.method == "OPTIONS") {
    if (shares_with(rules_, origin)) {
      res.set_header("Access-Control-Allow-Methods", methods);
      res.set_header("Access-Control-Allow-Headers", "Authorization, Content-Type");
      res.set_header("Access-Control-Max-Age", "600");
    }
    return done(204);
  }
  if (methods.find(req.method) == std::string::npos) return done(405);
  if (req.method != "POST" && has_body) connection.close_after();
  return Handled::Unhandled;
}

// A sentence for statuses that the library gives without one.
Handled Routes::explain(Res& res) {
  Connection& connection = *Connection::current();
  if (res.body.empty()) {
    Refusal refusal;
    refusal.status = res.status;
    switch (res.status) {
      case 404:
        refusal.message =
            "There is nothing at this path. /v1/models, /v1/completions and "
            "/v1/chat/completions are what clients call.";
        refusal.code = "not_found";
        break;
      case 405:
        refusal.message = fmt::format("This path takes {}.", res.get_header_value("Allow"));
        refusal.code = "method_not_allowed";
        break;
      case 414:
        refusal.message = "The request's address is too long.";
        break;
      case 416:
        refusal.message = "The range cannot be given.";
        break;
      case 499:
        return Handled::Unhandled;  // nobody is there
      default:
        refusal.message =
            "The request line or the headers cannot be read: they are malformed, too "
            "long, or came too slowly.";
    }
    res.set_content(refusal_body(refusal), kJson);
    // Where the request was not understood, what follows it is not either.
    if (res.status != 404 && res.status != 405) connection.close_after();
  }
  if (connection.closes()) res.set_header("Connection", "close");
  return Handled::Handled;
}

void Routes::page(Res& res) const {
  res.headers.erase("Cache-Control");
  res.set_header("Cache-Control", "no-cache");
  res.set_header("Content-Security-Policy", page_policy_);
  res.set_header("Referrer-Policy", "no-referrer");
  res.set_header("Cross-Origin-Opener-Policy", "same-origin");
  res.set_content(options_.page.data(), options_.page.size(), "text/html; charset=utf-8");
}

void Routes::health(Res& res) const {
  const SchedulerCounts counts = scheduler_.counts();
  res.status = http_.stopping() ? 503 : 200;
  res.set_content(dumped({{"status", http_.stopping() ? "stopping" : "ok"},
                          {"running", counts.active},
                          {"waiting", counts.waiting}}),
                  kJson);
}

void Routes::metrics(Res& res) const {
  res.set_content(metrics_.page(scheduler_.counts(), http_.connections()),
                  "text/plain; version=0.0.4; charset=utf-8");
}

void Routes::models(Res& res) const {
  Json out = {{"object", "list"}, {"data", Json::array()}};
  for (const ServedModel& m : models_) out["data"].push_back(model_json(m, created_, options_));
  res.set_content(dumped(out), kJson);
}

const ServedModel* Routes::find_model(const std::string& id) const {
  if (id.empty()) return &models_.front();
  for (const ServedModel& m : models_) {
    if (m.id == id) return &m;
  }
  return nullptr;
}

void Routes::model(const std::string& id, Res& res) const {
  if (const ServedModel* m = find_model(id)) {
    res.set_content(dumped(model_json(*m, created_, options_)), kJson);
    return;
  }
  res.status = 404;
  res.set_content(refusal_body(no_model(id)), kJson);
}

std::uint64_t Routes::random() {
  std::lock_guard lock(random_mutex_);
  return random_();
}

// The body, or a refusal in `res`.
std::optional<std::string> Routes::read_body(const Req& req, Res& res,
                                             const httplib::ContentReader& reader) const {
  Connection& connection = *Connection::current();
  connection.begin_body();
  std::string body;
  bool too_long = false;
  const bool whole = reader([&](const char* data, std::size_t n) {
    too_long = body.size() + n > options_.most_body;
    if (!too_long) body.append(data, n);
    return !too_long;
  });
  if (whole) return body;
  connection.close_after();
  Refusal refusal{400, "The body ends before its announced length, or its chunks are malformed.",
                  "invalid_request_error", "", "invalid_body"};
  if (too_long) {
    refusal.status = 413;
    refusal.message = fmt::format("The body is longer than {} bytes.", options_.most_body);
  } else if (connection.slow()) {
    refusal.message = "The body came too slowly.";
  } else if (!req.get_header_value("Content-Encoding").empty()) {
    refusal.message = "The body is not what Content-Encoding says, or ends too early.";
  }
  res.status = refusal.status;
  res.set_content(refusal_body(refusal), kJson);
  return std::nullopt;
}

void Routes::post(Endpoint endpoint, const Req& req, Res& res,
                  const httplib::ContentReader& reader) {
  const auto body = read_body(req, res, reader);
  if (!body) return;
  auto refuse = [&res](const Refusal& refusal) {
    res.status = refusal.status;
    res.set_content(refusal_body(refusal), kJson);
  };
  const auto parsed = parse_request(endpoint, *body);
  if (const auto* refusal = std::get_if<Refusal>(&parsed)) return refuse(*refusal);
  const Ask& ask = std::get<Ask>(parsed);
  const ServedModel* model = find_model(ask.model);
  if (model == nullptr) return refuse(no_model(ask.model));
  // HTTP/1.0 knows no chunks: there the end of the connection is the end of the answer.
  answer(*model, ask, res, req.version != "HTTP/1.0");
}

}  // namespace wb::serve
