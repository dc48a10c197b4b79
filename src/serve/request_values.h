// The body of a request as a JSON document, and single values of it by their type and range: what
// reading fields (request.cpp) is made of. Owns the sentences about a body that is no document and
// about a value that is not what its field takes; refuses by throwing a Refusal. Knows no field.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "serve/request.h"

namespace wb::serve {

// Every function here that refuses throws a Refusal of status 400, whose field is `param`.
[[noreturn]] void refuse(std::string param, std::string message, std::string code = "");
// "'PARAM' has to be WANTED; it is ...".
[[noreturn]] void wrong(const std::string& param, std::string_view wanted,
                        const nlohmann::ordered_json& got);
// A value as the sentence shows it: short, whatever was sent.
std::string shown(const nlohmann::ordered_json& value);

// Refuses a name that is there twice: which of the two would count?
nlohmann::ordered_json parse_document(std::string_view body, const RequestLimits& limits);

bool take_bool(const std::string& param, const nlohmann::ordered_json& value);
// From `least` to `most`, both included.
std::uint64_t take_count(const std::string& param, const nlohmann::ordered_json& value,
                         std::uint64_t least, std::uint64_t most);
// One that `fits`, which is what `range` says in words.
double take_number(const std::string& param, const nlohmann::ordered_json& value,
                   std::string_view range, bool (*fits)(double));
std::string take_text(const std::string& param, const nlohmann::ordered_json& value);
// `value` is a list.
std::vector<std::uint32_t> take_ids(const std::string& param, const nlohmann::ordered_json& value);

}  // namespace wb::serve
