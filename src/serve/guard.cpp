// See guard.h.
#include "serve/guard.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace wb::serve {

namespace {

bool needs_key(const std::string& path) {
  return path.starts_with("/v1/") || path == "/v1" || path == "/metrics";
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return out;
}

std::optional<Refusal> check_place(const GuardRules& rules, const RequestHead& head) {
  if (rules.loopback) {
    constexpr std::array<std::string_view, 3> kOwn = {"localhost", "127.0.0.1", "::1"};
    const std::string name = host_name(head.host);
    const bool own = name.empty() || std::find(kOwn.begin(), kOwn.end(), name) != kOwn.end() ||
                     std::find(rules.hosts.begin(), rules.hosts.end(), name) != rules.hosts.end();
    if (!own) {
      return forbidden(
          "The request names a host that this server does not answer for. It listens on a loopback "
          "address; --allow-host takes further names.");
    }
  }
  if (head.origin.empty() || shares_with(rules, head.origin)) return std::nullopt;
  const auto scheme = head.origin.find("://");
  if (scheme != std::string::npos && lower(head.origin.substr(scheme + 3)) == lower(head.host))
    return std::nullopt;
  return forbidden("Pages of other origins may not call this server; --cors names one that may.");
}

std::optional<Refusal> check_key(const GuardRules& rules, const RequestHead& head) {
  if (rules.api_key.empty() || !needs_key(head.path)) return std::nullopt;
  // A browser asks first, without the key, whether it may send it.
  if (head.method == "OPTIONS") return std::nullopt;
  constexpr std::string_view kScheme = "bearer ";
  const std::string& given = head.authorization;
  if (given.size() < kScheme.size() || lower(given.substr(0, kScheme.size())) != kScheme)
    return unauthorized("This server wants an API key: Authorization: Bearer KEY.");
  if (equal_secrets(std::string_view(given).substr(kScheme.size()), rules.api_key))
    return std::nullopt;
  return unauthorized("The API key is wrong.");
}

std::optional<Refusal> check_body(const RequestHead& head, std::size_t most_body) {
  if (head.method != "POST") return std::nullopt;
  auto bad = [](int status, std::string message) {
    return Refusal{status, std::move(message), "invalid_request_error", "", "invalid_body"};
  };
  const std::string& length = head.content_length;
  if (length.find(',') != length.npos)
    return bad(400, "The request has more than one Content-Length.");
  if (!head.transfer_encoding.empty()) {
    if (lower(head.transfer_encoding) != "chunked" || !length.empty())
      return bad(400, "The body's length is given in a way that this server does not take.");
  } else if (length.empty()) {
    return bad(411, "The request has no Content-Length.");
  } else if (length.size() > 18 || length.find_first_not_of("0123456789") != std::string::npos) {
    return bad(400, "Content-Length is not a number.");
  } else if (std::stoull(length) > most_body) {
    return bad(413, fmt::format("The body has {} bytes; at most {} are read.", length, most_body));
  }
  if (lower(head.content_type).starts_with("multipart/"))
    return bad(415, "The body has to be JSON (Content-Type: application/json).");
  return std::nullopt;
}

}  // namespace

bool equal_secrets(std::string_view a, std::string_view b) {
  // The loop runs over what was sent, so that its time says nothing about what is kept.
  std::size_t different = a.size() ^ b.size();
  for (std::size_t i = 0; i < a.size(); ++i) {
    const char other = b.empty() ? '\0' : b[i % b.size()];
    different |= static_cast<unsigned char>(a[i] ^ other);
  }
  return different == 0;
}

std::string host_name(std::string_view host) {
  const auto end = host.find(']');
  if (host.starts_with('[') && end != host.npos) return lower(host.substr(1, end - 1));
  return lower(host.substr(0, host.find(':')));
}

bool shares_with(const GuardRules& rules, const std::string& origin) {
  return !rules.cors_origin.empty() &&
         (rules.cors_origin == "*" || lower(rules.cors_origin) == lower(origin));
}

std::optional<Refusal> guard(const GuardRules& rules, const RequestHead& head,
                             std::size_t most_body) {
  if (auto refusal = check_place(rules, head)) return refusal;
  // Ranges that overlap would make a long answer of a short request.
  if (head.range.find(',') != head.range.npos)
    return Refusal{416, "More than one range is not served.", "invalid_request_error", "Range",
                   "range"};
  if (auto refusal = check_key(rules, head)) return refusal;
  return check_body(head, most_body);
}

}  // namespace wb::serve
