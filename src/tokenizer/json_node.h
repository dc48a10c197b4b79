// A value inside tokenizer.json that knows its place. Reading is strict: a member of the
// wrong type, a missing one, and one that we do not know (it could change what the file
// means) are Code::config_invalid with the file and the path of the offending key.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace wb {

class JsonNode {
 public:
  // `value` must outlive the node. `path` as in "pre_tokenizer.pretokenizers[0]"; "" is the root.
  JsonNode(const nlohmann::json& value, std::string file, std::string path)
      : value_(&value), file_(std::move(file)), path_(std::move(path)) {}

  const nlohmann::json& value() const { return *value_; }
  const std::string& file() const { return file_; }
  const std::string& path() const { return path_; }

  // Throws Code::config_invalid: "FILE: PATH: sentence".
  [[noreturn]] void fail(const std::string& sentence) const;
  [[noreturn]] void fail_at(std::string_view below, const std::string& sentence) const;
  // The refusal of a component: names its type and what we have instead.
  [[noreturn]] void refuse_type(std::string_view kind, std::string_view supported) const;

  JsonNode at(const char* key) const;                   // a member that must be there
  std::optional<JsonNode> find(const char* key) const;  // nothing when absent or null
  // Of this value:
  void require_object() const;
  std::size_t array_size() const;  // must be an array
  JsonNode element(std::size_t index) const;
  std::string string() const;
  bool boolean() const;
  std::uint32_t u32() const;
  // Of a member: its value, or `otherwise` when absent or null.
  bool boolean_or(const char* key, bool otherwise) const;

  std::string type() const { return at("type").string(); }
  // Refuses members outside `known`.
  void only(std::initializer_list<std::string_view> known) const;

  // Components nest (Sequence in Sequence); deeper than this is refused as Code::limit_exceeded.
  static constexpr int kMaxNesting = 16;
  JsonNode nested(const char* key, std::size_t index) const;

 private:
  std::string child_path(std::string_view key) const;
  const nlohmann::json* value_;
  std::string file_, path_;
  int nesting_ = 0;
};

}  // namespace wb
