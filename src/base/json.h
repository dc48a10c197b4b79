// JSON of strangers: config.json, manifests, tokenizer files. One parser with bounds on nesting,
// length and number of values, that refuses a key that an object has twice (which of the two would
// count?) and a NUL (the JSON library takes it for the end, so that what follows would go unseen).
// Refuses to know what the document means.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace wb {

struct JsonLimits {
  std::size_t bytes = std::size_t{16} << 20;
  std::size_t depth = 64;
  std::size_t values = std::size_t{1} << 19;  // numbers, texts, lists and objects together
};
// Of a tokenizer.json, for every layer that opens one. The largest in use have half a million
// merges in 35 MB.
inline constexpr JsonLimits kTokenizerJson{std::size_t{256} << 20, 64, std::size_t{1} << 22};

// The document in `text`. `file` is named in errors, which have `advice`: Code::config_invalid for
// what is no JSON, a key twice, a NUL; Code::limit_exceeded beyond `limits`.
nlohmann::json parse_json(std::string_view text, const std::string& file, std::string_view advice,
                          const JsonLimits& limits = {});

// The same of a file, which is mapped and not copied; throws Code::file_open, too.
nlohmann::json read_json_file(const std::string& path, std::string_view advice,
                              const JsonLimits& limits = {});

// The text of a member; `otherwise` where the value is no object, or the member absent or no text.
std::string text_member(const nlohmann::json& value, const char* key,
                        const std::string& otherwise = "");

}  // namespace wb
