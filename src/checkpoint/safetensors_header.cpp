// The one-pass reader; see safetensors_header.h.
#include "checkpoint/safetensors_header.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/names.h"

namespace wb {

namespace {
constexpr std::size_t kMaxDepth = 16;
constexpr std::size_t kMaxRank = 64;

[[noreturn]] void wrong_header(const std::string& what) {
  throw Error(Code::safetensors_header, "the safetensors header " + what)
      .advice("The file is damaged or was made by a faulty writer; get it again from its author.");
}

// Depth 1 is the header object, 2 an entry or __metadata__, 3 an entry's arrays.
// Deeper values can only stand under keys that the format does not know.
class Sax final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Sax(std::uint64_t max_tensors) : max_tensors_(max_tensors) {}
  SafetensorsHeader take() { return std::move(out_); }

  bool null() override {
    // Rust's reader takes a null __metadata__ for an absent one.
    if (depth_ == 1 && in_metadata_) return true;
    return scalar("null");
  }
  bool boolean(bool) override { return scalar("a boolean"); }
  bool number_integer(number_integer_t) override { return scalar("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    return scalar("a number that is no size");
  }
  bool binary(binary_t&) override { return scalar("binary"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (depth_ == 3 && field_ == Field::shape) {
      if (value >= kMaxSize) entry_fails("a dimension does not fit 63 bits");
      if (entry().shape.size() == kMaxRank) entry_fails("it has more than 64 dimensions");
      entry().shape.push_back(value);
      return true;
    }
    if (depth_ == 3 && field_ == Field::offsets) {
      if (offsets_ == 2) entry_fails("data_offsets has more than two numbers");
      (offsets_++ == 0 ? entry().begin : entry().end) = value;
      return true;
    }
    return scalar("a number");
  }

  bool string(string_t& value) override {
    if (depth_ == 2 && in_metadata_) {
      out_.metadata.emplace(metadata_key_, value);
      return true;
    }
    if (depth_ == 2 && field_ == Field::dtype) {
      const auto dtype = dtype_from_name(value);
      if (!dtype) entry_fails("its dtype \"" + printable(value) + "\" is none of the format");
      entry().dtype = *dtype;
      return true;
    }
    return scalar("a string");
  }

  bool start_object(std::size_t) override {
    if (++depth_ > kMaxDepth) wrong_header("nests more than 16 levels deep");
    if (depth_ == 3 && (in_metadata_ || field_ != Field::unknown)) return scalar("an object");
    if (depth_ == 2 && !in_metadata_) seen_ = 0;
    keys_.emplace_back();
    return true;
  }

  bool end_object() override {
    keys_.pop_back();
    if (depth_-- == 2) {
      if (!in_metadata_ && seen_ != kAllFields) {
        entry_fails("it lacks one of dtype, shape and data_offsets");
      }
      in_metadata_ = false;
    }
    if (depth_ == 1) field_ = Field::unknown;
    return true;
  }

  bool start_array(std::size_t) override {
    if (depth_ == 0) wrong_header("is not a JSON object");
    if (++depth_ > kMaxDepth) wrong_header("nests more than 16 levels deep");
    if (depth_ == 2 && !in_metadata_) entry_fails("its entry is an array, not an object");
    const bool expected = field_ == Field::shape || field_ == Field::offsets;
    if (depth_ == 3 && !in_metadata_ && (expected || field_ == Field::unknown)) {
      offsets_ = 0;
    } else if (depth_ <= 3 || field_ != Field::unknown) {
      return scalar("an array");
    }
    return true;
  }

  bool end_array() override {
    if (depth_-- == 3 && field_ == Field::offsets && offsets_ != 2) {
      entry_fails("data_offsets has fewer than two numbers");
    }
    return true;
  }

  bool key(string_t& value) override {
    if (depth_ == 1) {
      top_key(value);
      return true;
    }
    // Few keys per object here: entries have three, and metadata is small.
    if (!keys_.back().insert(value).second) {
      wrong_header("has the key \"" + printable(value) + "\" twice in one object");
    }
    if (depth_ == 2 && in_metadata_) metadata_key_ = value;
    if (depth_ == 2 && !in_metadata_) {
      field_ = value == "dtype"          ? Field::dtype
               : value == "shape"        ? Field::shape
               : value == "data_offsets" ? Field::offsets
                                         : Field::unknown;
      seen_ |= 1u << static_cast<unsigned>(field_) & kAllFields;
    }
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    const std::string_view what = error.what();
    const std::size_t colon = what.rfind("; last read");
    wrong_header("is not valid JSON at byte " + std::to_string(position) + " (" +
                 printable(what.substr(0, colon)) + ")");
  }

 private:
  enum class Field : unsigned { unknown, dtype, shape, offsets };
  static constexpr unsigned kAllFields = 0b1110;

  SafetensorsEntry& entry() { return out_.entries.back(); }
  [[noreturn]] void entry_fails(const std::string& what) {
    throw Error(Code::safetensors_tensor, what)
        .tensor(printable(entry().name))
        .advice("The file is damaged or was made by a faulty writer; get it again.");
  }

  void top_key(const std::string& value) {
    if (value == "__metadata__") {
      if (seen_metadata_) wrong_header("has the key \"__metadata__\" twice in one object");
      in_metadata_ = seen_metadata_ = true;
      return;
    }
    in_metadata_ = false;
    check_tensor_name(value);
    if (out_.entries.size() >= max_tensors_) {
      throw Error(Code::limit_exceeded, "the safetensors header has too many entries")
          .expected("at most " + std::to_string(max_tensors_))
          .actual("more")
          .advice(raise_limit("tensors"));
    }
    out_.entries.emplace_back().name = value;
  }

  // A value of a type that its place does not allow; true where anything is allowed.
  bool scalar(const char* what) {
    if (depth_ == 0) wrong_header("is not a JSON object");
    if (in_metadata_) wrong_header(std::string("has ") + what + " in __metadata__, not a string");
    if (depth_ == 1) entry_fails(std::string("its entry is ") + what + ", not an object");
    if (field_ == Field::unknown) return true;
    static constexpr const char* fields[] = {"", "dtype", "shape", "data_offsets"};
    entry_fails(std::string(fields[static_cast<unsigned>(field_)]) + " holds " + what);
  }

  std::uint64_t max_tensors_;
  SafetensorsHeader out_;
  std::size_t depth_ = 0;
  bool in_metadata_ = false, seen_metadata_ = false;
  Field field_ = Field::unknown;
  unsigned seen_ = 0, offsets_ = 0;
  std::string metadata_key_;
  std::vector<std::set<std::string>> keys_;
};

void check_unique(const std::vector<SafetensorsEntry>& entries) {
  std::vector<std::string_view> names;
  names.reserve(entries.size());
  for (const SafetensorsEntry& entry : entries) names.push_back(entry.name);
  std::sort(names.begin(), names.end());
  const auto twin = std::adjacent_find(names.begin(), names.end());
  if (twin != names.end()) {
    wrong_header("has the tensor \"" + printable(*twin) + "\" twice");
  }
}
}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t max_tensors) {
  // The JSON library takes a NUL for the end, so that what follows it would go unseen.
  if (text.find('\0') != text.npos) wrong_header("holds a NUL byte");
  if (!is_utf8(text)) wrong_header("is not valid UTF-8");
  Sax sax(max_tensors);
  nlohmann::json::sax_parse(text, &sax);
  SafetensorsHeader header = sax.take();
  check_unique(header.entries);
  return header;
}

}  // namespace wb
