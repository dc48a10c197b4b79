// The filters, tests and methods of docs/chat.md, each as Jinja or Python defines it. Owns their
// arguments and what they refuse; a name that is not listed is refused by name.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "speak/jinja_value.h"

namespace wb::speak::jinja {

// The place of an argument that is given by name only.
inline constexpr std::size_t kByName = 99;

// What a filter, test, method or function is called with, by place and by name.
class Arguments {
 public:
  Arguments(std::string what, std::vector<Value> placed,
            std::vector<std::pair<std::string, Value>> named, Run& run)
      : what_(std::move(what)), placed_(std::move(placed)), named_(std::move(named)), run_(run) {}

  // The argument at `place`, or by this name; null when it is not given.
  const Value* find(std::size_t place, std::string_view name = "");
  // The same, where it has to be there, or to have a type.
  const Value& at(std::size_t place, std::string_view name = "");
  const std::string* text_or_null(std::size_t place, std::string_view name = "");  // none = null
  const std::string& text(std::size_t place, std::string_view name = "");
  std::int64_t whole_or(std::size_t place, std::string_view name, std::int64_t otherwise);
  bool flag_or(std::size_t place, std::string_view name, bool otherwise);
  // Refuses what nobody has asked for.
  void done() const;
  // Those from `place` on, for map() and select(), which hand them on.
  std::vector<Value> rest(std::size_t place);
  std::size_t placed() const { return placed_.size(); }
  const std::vector<Value>& values() const { return placed_; }
  const std::vector<std::pair<std::string, Value>>& by_name() const { return named_; }

 private:
  std::string what_;  // "the filter join", for messages
  std::vector<Value> placed_;
  std::vector<std::pair<std::string, Value>> named_;
  std::vector<std::string> asked_;
  std::size_t taken_ = 0;
  Run& run_;
};

Value apply_filter(const std::string& name, const Value& on, std::vector<Value> placed,
                   std::vector<std::pair<std::string, Value>> named, Run& run);
bool apply_test(const std::string& name, const Value& on, std::vector<Value> placed, Run& run);
// A method of a text, list or dict.
Value call_method(const Value& on, const std::string& name, std::vector<Value> placed,
                  std::vector<std::pair<std::string, Value>> named, Run& run);
// Whether Python's type of `on` has a method of this name, known here or not.
bool has_method(const Value& on, std::string_view name);

// on.name, which in a dict is its member, and on[key]; undefined where there is none.
Value attribute_of(const Value& on, const std::string& name, Run& run);
Value item_of(const Value& on, const Value& key, Run& run);
// on[start:stop:step] as Python cuts; null for what is not given.
Value slice_of(const Value& on, const Value* start, const Value* stop, const Value* step, Run& run);
// Names with dots, as in map(attribute="a.b").
// `otherwise`, where it is given, stands for what is not there.
Value path_of(const Value& on, const std::string& path, Run& run, const Value* otherwise = nullptr);

[[noreturn]] void undefined_used(const Value& value, Run& run);

}  // namespace wb::speak::jinja
