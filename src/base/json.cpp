// A document built event by event, counting; see json.h.
#include "base/json.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/mapped_file.h"

namespace wb {

namespace {
using nlohmann::json;

constexpr std::size_t kMostShown = 60;  // of a text of the file, in a message

// Text of a file, safe to print and short.
std::string shown(std::string_view text) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (const char c : text.substr(0, kMostShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F) {
      out += c;
    } else {
      out += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
    }
  }
  return text.size() > kMostShown ? out + "..." : out;
}

// What the library says, without its own number and the excerpt of the text.
std::string reason(const std::exception& error) {
  std::string_view text = error.what();
  if (const auto end = text.find("] "); end != text.npos) text.remove_prefix(end + 2);
  if (const auto end = text.find("; last read"); end != text.npos) text = text.substr(0, end);
  return std::string(text);
}

class Builder final : public nlohmann::json_sax<json> {
 public:
  Builder(const std::string& file, std::string_view advice, const JsonLimits& limits)
      : file_(file), advice_(advice), limits_(limits) {}
  json take() { return std::move(root_); }

  [[noreturn]] void too_many() const {
    throw Error(Code::limit_exceeded, "holds too many values")
        .file(file_)
        .expected("at most " + std::to_string(limits_.values))
        .actual("more")
        .advice(advice_);
  }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    auto& object = open_.back()->get_ref<json::object_t&>();
    const auto [place, fresh] = object.try_emplace(std::move(name));
    if (!fresh)
      fail(Code::config_invalid, "has the key \"" + shown(place->first) + "\" twice in one object");
    member_ = &place->second;
    return true;
  }

  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    fail(Code::config_invalid, "is not JSON: " + reason(error));
  }

 private:
  [[noreturn]] void fail(Code code, const std::string& what) const {
    throw Error(code, what).file(file_).advice(advice_);
  }

  // Puts `value` where the next one belongs; returns its place.
  json* put(json&& value) {
    if (++values_ > limits_.values) too_many();
    if (open_.empty()) return &(root_ = std::move(value));
    if (json* place = std::exchange(member_, nullptr)) return &(*place = std::move(value));
    auto& list = open_.back()->get_ref<json::array_t&>();
    list.push_back(std::move(value));
    return &list.back();
  }
  template <class T>
  bool add(T&& value) {
    put(json(std::forward<T>(value)));
    return true;
  }
  bool open(json&& container) {
    if (open_.size() >= limits_.depth) {
      throw Error(Code::limit_exceeded, "nests too deep")
          .file(file_)
          .expected("at most " + std::to_string(limits_.depth) + " levels")
          .actual("more")
          .advice(advice_);
    }
    json* place = put(std::move(container));
    open_.push_back(place);
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  const std::string& file_;
  std::string_view advice_;
  const JsonLimits& limits_;
  json root_;
  std::vector<json*> open_;  // none of them moves while it is open
  json* member_ = nullptr;   // whose key was read last
  std::size_t values_ = 0;
};
}  // namespace

namespace {
// At least so many values are in the text: each comma stands between two, each bracket opens one.
// Counted before any is made, so that a document of too many costs no memory.
std::size_t least_values(std::string_view text) {
  std::size_t commas = 0, opened = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    switch (text[i]) {
      case '"':
        for (++i; i < text.size() && text[i] != '"'; ++i) {
          if (text[i] == '\\') ++i;
        }
        break;
      case ',':
        ++commas;
        break;
      case '[':
      case '{':
        ++opened;
        break;
      default:
        break;
    }
  }
  return std::max(commas + 1, opened);
}
}  // namespace

json parse_json(std::string_view text, const std::string& file, std::string_view advice,
                const JsonLimits& limits) {
  if (text.size() > limits.bytes) {
    throw Error(Code::limit_exceeded, "is too long for a file of this kind")
        .file(file)
        .expected("at most " + std::to_string(limits.bytes) + " bytes")
        .actual(std::to_string(text.size()))
        .advice(advice);
  }
  if (text.find('\0') != text.npos) {
    throw Error(Code::config_invalid, "is not JSON: it holds a NUL byte").file(file).advice(advice);
  }
  Builder builder(file, advice, limits);
  if (least_values(text) > limits.values) builder.too_many();
  json::sax_parse(text, &builder);
  return builder.take();
}

json read_json_file(const std::string& path, std::string_view advice, const JsonLimits& limits) {
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  return parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path, advice,
                    limits);
}

std::string text_member(const json& value, const char* key, const std::string& otherwise) {
  if (!value.is_object()) return otherwise;
  const auto found = value.find(key);
  return found != value.end() && found->is_string() ? found->get<std::string>() : otherwise;
}

}  // namespace wb
