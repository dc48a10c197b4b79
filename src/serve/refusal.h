// Why a request gets no answer, as data: an HTTP status and what OpenAI's API says in its
// {"error": {message, type, param, code}}. Owns that shape. Not an error of the program
// (base/error.h), which goes on: it is the answer to one request.
#pragma once

#include <string>
#include <string_view>

namespace wb::serve {

struct Refusal {
  int status = 400;
  std::string message;  // what is wrong, and where
  std::string type = "invalid_request_error";
  std::string param;  // the field, e.g. "messages[2].content"; empty: none
  std::string code;   // for programs, e.g. "model_not_found"; empty: none
};

// The JSON document. Bytes of `message` that are not UTF-8 are replaced.
std::string refusal_body(const Refusal& refusal);

Refusal too_busy(std::string message);      // 503, to be tried again
Refusal server_fault(std::string message);  // 500
Refusal unauthorized(std::string message);  // 401
Refusal forbidden(std::string message);     // 403

}  // namespace wb::serve
