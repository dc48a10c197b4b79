// What a chat template computes with, as Python sees it: numbers, texts, lists, dicts and the few
// objects that templates use. Values are shared and never change, but for namespaces; lists and
// dicts hold only values that do not change, so that nothing can contain itself, and know how
// deep they nest (Run::kMaxNesting). Printing, comparing and searching are charged to a Run.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "speak/jinja_bounds.h"

namespace wb::speak::jinja {

struct Items;
struct Dict;
struct Namespace;
struct Loop;
struct Statement;

// A name or member that is not there; `what` says which, for messages.
struct Undefined {
  std::shared_ptr<const std::string> what;
};
struct None {};
// A function that every template knows, by name.
struct Function {
  std::string_view name;
};
struct MacroRef {
  const Statement* macro;  // of the template that runs
};

using Text = std::shared_ptr<const std::string>;  // UTF-8
using ItemsRef = std::shared_ptr<const Items>;
using DictRef = std::shared_ptr<const Dict>;
using NamespaceRef = std::shared_ptr<Namespace>;
using LoopRef = std::shared_ptr<const Loop>;

struct Value {
  std::variant<None, Undefined, bool, std::int64_t, double, Text, ItemsRef, DictRef, NamespaceRef,
               LoopRef, Function, MacroRef>
      is;

  template <class T>
  const T* get() const {
    return std::get_if<T>(&is);
  }
  // The text, or null.
  const std::string* text() const {
    const Text* t = get<Text>();
    return t == nullptr ? nullptr : t->get();
  }
  const Items* items() const {
    const ItemsRef* i = get<ItemsRef>();
    return i == nullptr ? nullptr : i->get();
  }
  const Dict* dict() const {
    const DictRef* d = get<DictRef>();
    return d == nullptr ? nullptr : d->get();
  }
  bool undefined() const { return get<Undefined>() != nullptr; }
};

// Python's kinds of what can be gone through. A generator is gone through once.
enum class ItemsKind { list, tuple, range, view, generator };
struct Items {
  std::vector<Value> values;
  ItemsKind kind = ItemsKind::list;
  int depth = 1;
  mutable std::size_t taken = 0;  // of a generator
};
struct Dict {
  std::vector<std::pair<Value, Value>> members;  // in order of insertion
  int depth = 1;
  const Value* find(const Value& key, Run& run) const;
};
struct Namespace {
  std::vector<std::pair<std::string, Value>> members;
  Value* find(std::string_view name);
};
struct Loop {
  std::shared_ptr<const std::vector<Value>> values;
  std::size_t index0 = 0;
};

Value text_value(std::string text, Run& run);
// The depth that `value` gives to the list, dict or namespace that it is put into; refuses what
// may not stand in one.
int member_depth(const Value& value, Run& run);
// Fails for what cannot be the key of a dict.
void require_key(const Value& key, Run& run);
// Charged for; refuses members that may change (namespaces, loops) and nesting too deep.
Value list_value(std::vector<Value> values, Run& run, ItemsKind kind = ItemsKind::list);
Value dict_value(std::vector<std::pair<Value, Value>> members, Run& run);
Value undefined_value(std::string what, Run& run);
Value from_json(const nlohmann::ordered_json& json, Run& run, int depth = 0);

// Python's name of a value's type: "str", "NoneType".
std::string_view type_name(const Value& value);
bool truth(const Value& value);
bool equal(const Value& a, const Value& b, Run& run);
// Negative, zero, positive; fails where Python raises TypeError.
int order(const Value& a, const Value& b, Run& run);
// `needle in haystack`.
bool contains(const Value& haystack, const Value& needle, Run& run);
// What a `for` goes through: items, keys, characters; fails for what Python does not iterate.
std::vector<Value> iterate(const Value& value, Run& run);
// Number of items, members or characters; fails for values without.
std::int64_t length(const Value& value, Run& run);

// str(), which is what is printed; repr(); json.dumps(ensure_ascii=False).
std::string to_text(const Value& value, Run& run);
std::string to_repr(const Value& value, Run& run);
// `indent` < 0: in one line.
std::string to_json(const Value& value, int indent, Run& run);
std::string float_repr(double value);

// A number as int or float; bool counts as int. Null pointers where it is none.
struct Number {
  bool is_int = false;
  std::int64_t whole = 0;
  double real = 0;
};
bool as_number(const Value& value, Number& out);
// a + b, a - b, a * b, a / b, a // b ('d') and a % b, as Python computes them.
Value arithmetic(char op, const Value& a, const Value& b, Run& run);

}  // namespace wb::speak::jinja
