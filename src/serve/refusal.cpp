// See refusal.h.
#include "serve/refusal.h"

#include <nlohmann/json.hpp>

namespace wb::serve {

std::string refusal_body(const Refusal& refusal) {
  auto or_null = [](const std::string& text) {
    return text.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(text);
  };
  const nlohmann::ordered_json out = {{"error",
                                       {{"message", refusal.message},
                                        {"type", refusal.type},
                                        {"param", or_null(refusal.param)},
                                        {"code", or_null(refusal.code)}}}};
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Refusal too_busy(std::string message) {
  return {503, std::move(message), "server_error", "", "overloaded"};
}
Refusal server_fault(std::string message) {
  return {500, std::move(message), "server_error", "", ""};
}
Refusal unauthorized(std::string message) {
  return {401, std::move(message), "invalid_request_error", "", "invalid_api_key"};
}
Refusal forbidden(std::string message) {
  return {403, std::move(message), "invalid_request_error", "", "forbidden"};
}

}  // namespace wb::serve
