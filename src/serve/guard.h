// Who may ask, decided from a request's headers before its body is read: the API key, the name that
// the request was sent to, the page that it was sent from, and framing that cannot be misread. Owns
// these rules as pure functions of strings; refuses to know the HTTP library.
//
// Why Host and Origin: a page from anywhere, open in a browser on this machine, can send requests
// to a loopback address; by a name of its own that it lets point here (DNS rebinding) it could read
// the answers too.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "serve/refusal.h"

namespace wb::serve {

struct GuardRules {
  std::string api_key, cors_origin;
  bool loopback = true;  // what the server listens on; then Host is looked at
  std::vector<std::string> hosts;
};

// What a request says of itself; header values, empty where there are none. Of a header that is
// there more than once all values, by commas: a proxy before us may have taken another than we do.
struct RequestHead {
  std::string method, path, authorization, host, origin, content_length, transfer_encoding,
      content_type, range;
};

// Equal, in a time that does not depend on where they differ.
bool equal_secrets(std::string_view a, std::string_view b);
// The host name in "name:port", "[v6]:port" or without a port.
std::string host_name(std::string_view host);
// Nothing: the request may go on. `most_body`: bytes.
std::optional<Refusal> guard(const GuardRules& rules, const RequestHead& head,
                             std::size_t most_body);
// Whether pages of `origin` may read answers.
bool shares_with(const GuardRules& rules, const std::string& origin);

}  // namespace wb::serve
