// Strict reading and its messages; see json_node.h.
#include "tokenizer/json_node.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace wb {

void JsonNode::fail(const std::string& sentence) const {
  throw Error(Code::config_invalid, (path_.empty() ? "the whole file" : path_) + ": " + sentence)
      .file(file_)
      .advice(
          "Get tokenizer.json again from the model's author, or pass another with --tokenizer.");
}

void JsonNode::fail_at(std::string_view below, const std::string& sentence) const {
  JsonNode(*value_, file_, path_ + std::string(below)).fail(sentence);
}

void JsonNode::refuse_type(std::string_view kind, std::string_view supported) const {
  throw Error(Code::config_invalid, path_ + ".type: the " + std::string(kind) + " \"" + type() +
                                        "\" is not supported; supported are " +
                                        std::string(supported))
      .file(file_)
      .advice(
          "Tokenize with the model's own tokenizer and pass token ids, or ask for this component "
          "to be added.");
}

std::string JsonNode::child_path(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

void JsonNode::require_object() const {
  if (!value_->is_object()) fail(std::string("must be an object, is ") + value_->type_name());
}

JsonNode JsonNode::at(const char* key) const {
  require_object();
  auto it = value_->find(key);
  JsonNode child(it == value_->end() ? *value_ : *it, file_, child_path(key));
  if (it == value_->end()) child.fail("is missing");
  child.nesting_ = nesting_;
  return child;
}

std::optional<JsonNode> JsonNode::find(const char* key) const {
  require_object();
  auto it = value_->find(key);
  if (it == value_->end() || it->is_null()) return std::nullopt;
  return at(key);
}

std::size_t JsonNode::array_size() const {
  if (!value_->is_array()) fail(std::string("must be an array, is ") + value_->type_name());
  return value_->size();
}

JsonNode JsonNode::element(std::size_t index) const {
  JsonNode child((*value_)[index], file_, path_ + "[" + std::to_string(index) + "]");
  child.nesting_ = nesting_;
  return child;
}

JsonNode JsonNode::nested(const char* key, std::size_t index) const {
  JsonNode child = at(key).element(index);
  if (++child.nesting_ > kMaxNesting)
    throw Error(Code::limit_exceeded, child.path_ + ": components nest too deeply")
        .file(file_)
        .expected("at most " + std::to_string(kMaxNesting) + " levels")
        .actual(std::to_string(child.nesting_))
        .advice("Flatten the Sequence in tokenizer.json.");
  return child;
}

std::string JsonNode::string() const {
  if (!value_->is_string()) fail(std::string("must be a string, is ") + value_->type_name());
  return value_->get<std::string>();
}

bool JsonNode::boolean() const {
  if (!value_->is_boolean()) fail(std::string("must be true or false, is ") + value_->type_name());
  return value_->get<bool>();
}

std::uint32_t JsonNode::u32() const {
  // get<int64_t> of an unsigned number above its range gives a negative one: refused as well.
  std::int64_t number = value_->is_number_integer() ? value_->get<std::int64_t>() : -1;
  if (number < 0 || number > std::numeric_limits<std::uint32_t>::max())
    fail("must be a whole number from 0 to 4294967295, is " + value_->dump());
  return static_cast<std::uint32_t>(number);
}

bool JsonNode::boolean_or(const char* key, bool otherwise) const {
  auto child = find(key);
  return child ? child->boolean() : otherwise;
}

void JsonNode::only(std::initializer_list<std::string_view> known) const {
  require_object();
  for (const auto& [key, unused] : value_->items())
    if (std::find(known.begin(), known.end(), key) == known.end())
      at(key.c_str()).fail("is not a member that this program knows");
}

}  // namespace wb
