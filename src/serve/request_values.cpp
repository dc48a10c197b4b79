// See request_values.h.
#include "serve/request_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace wb::serve {

namespace {

using Json = nlohmann::ordered_json;

// The deepest nesting, without parsing: what it counts in a body that is no JSON does not matter.
std::size_t depth_of(std::string_view body) {
  std::size_t depth = 0, most = 0;
  bool text = false;
  for (std::size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (text) {
      if (c == '\\') ++i;
      if (c == '"') text = false;
    } else if (c == '"') {
      text = true;
    } else if (c == '{' || c == '[') {
      most = std::max(most, ++depth);
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return most;
}

// The library's "[json.exception.parse_error.101] parse error at line 1, ...".
std::string json_trouble(const std::exception& error) {
  std::string_view text = error.what();
  if (const auto end = text.find("] "); text.starts_with('[') && end != text.npos)
    text.remove_prefix(end + 2);
  return std::string(text.substr(0, 300));
}

}  // namespace

void refuse(std::string param, std::string message, std::string code) {
  throw Refusal{400, std::move(message), "invalid_request_error", std::move(param),
                std::move(code)};
}

std::string shown(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return fmt::format("a list of {}", value.size());
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  constexpr std::size_t kMost = 60;
  if (text.size() > kMost) text = text.substr(0, kMost) + "...";
  return text;
}

void wrong(const std::string& param, std::string_view wanted, const Json& got) {
  refuse(param, fmt::format("'{}' has to be {}; it is {}.", param, wanted, shown(got)),
         "invalid_value");
}

Json parse_document(std::string_view body, const RequestLimits& limits) {
  if (body.find_first_not_of(" \t\r\n") == body.npos)
    refuse("", "The body is empty; it has to be a JSON object.", "invalid_json");
  // The JSON library takes a NUL for the end, so that what follows it would go unseen.
  if (body.find('\0') != body.npos) refuse("", "The body holds a NUL byte.", "invalid_json");
  if (const std::size_t depth = depth_of(body); depth > limits.depth) {
    refuse("", fmt::format("The body is nested {} deep; at most {} is read.", depth, limits.depth),
           "too_deep");
  }
  std::vector<std::vector<std::string>> names;
  auto watch = [&names](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) names.emplace_back();
    if (event == Json::parse_event_t::object_end) names.pop_back();
    if (event != Json::parse_event_t::key) return true;
    const auto& name = value.get_ref<const std::string&>();
    auto& seen = names.back();
    if (std::find(seen.begin(), seen.end(), name) != seen.end())
      refuse(name, fmt::format("The field {} is there twice.", shown(value)), "invalid_json");
    // Only so many that looking through them stays cheap; a request has a few dozen.
    constexpr std::size_t kMostNames = 256;
    if (seen.size() == kMostNames)
      refuse("", fmt::format("An object of more than {} fields.", kMostNames), "invalid_json");
    seen.push_back(name);
    return true;
  };
  try {
    return Json::parse(body, watch);
  } catch (const Json::exception& error) {
    refuse("", "The body is not JSON: " + json_trouble(error), "invalid_json");
  }
}

bool take_bool(const std::string& param, const Json& value) {
  if (!value.is_boolean()) wrong(param, "true or false", value);
  return value.get<bool>();
}

std::uint64_t take_count(const std::string& param, const Json& value, std::uint64_t least,
                         std::uint64_t most) {
  const std::string range = most == std::numeric_limits<std::uint64_t>::max()
                                ? fmt::format("a whole number, {} or more", least)
                                : fmt::format("a whole number from {} to {}", least, most);
  // A library may write a whole number as 5.0.
  if (value.is_number_float()) {
    const double v = value.get<double>();
    if (v == std::floor(v) && v >= static_cast<double>(least) && v <= 0x1p53 &&
        v <= static_cast<double>(most))
      return static_cast<std::uint64_t>(v);
    wrong(param, range, value);
  }
  if (!value.is_number_unsigned()) wrong(param, range, value);
  const auto v = value.get<std::uint64_t>();
  if (v < least || v > most) wrong(param, range, value);
  return v;
}

double take_number(const std::string& param, const Json& value, std::string_view range,
                   bool (*fits)(double)) {
  if (!value.is_number()) wrong(param, fmt::format("a number, {}", range), value);
  const double v = value.get<double>();
  if (!fits(v)) wrong(param, fmt::format("a number, {}", range), value);
  return v;
}

std::string take_text(const std::string& param, const Json& value) {
  if (!value.is_string()) wrong(param, "a string", value);
  return value.get<std::string>();
}

std::vector<std::uint32_t> take_ids(const std::string& param, const Json& value) {
  std::vector<std::uint32_t> out;
  out.reserve(value.size());
  for (std::size_t i = 0; i < value.size(); ++i) {
    out.push_back(static_cast<std::uint32_t>(
        take_count(fmt::format("{}[{}]", param, i), value[i], 0, 0xffffffff)));
  }
  return out;
}

}  // namespace wb::serve
