// See jinja_value.h.
#include "speak/jinja_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "speak/jinja_text.h"
#include "tokenizer/utf8.h"

namespace wb::speak::jinja {

namespace {

constexpr std::size_t kValueBytes = sizeof(Value);

int depth_of(const Value& value) {
  if (const Items* i = value.items()) return i->depth;
  if (const Dict* d = value.dict()) return d->depth;
  return 0;
}

}  // namespace

int member_depth(const Value& value, Run& run) {
  if (value.get<NamespaceRef>() != nullptr || value.get<LoopRef>() != nullptr ||
      value.get<MacroRef>() != nullptr) {
    run.refuse("a " + std::string(type_name(value)) + " cannot be kept in a list or dict");
  }
  const int depth = depth_of(value) + 1;
  if (depth > kMaxNesting) run.over("levels of nesting", kMaxNesting);
  return depth;
}

void require_key(const Value& key, Run& run) {
  const Items* items = key.items();
  if (items != nullptr && items->kind == ItemsKind::tuple)
    run.refuse("a tuple as a key is not known here");
  if (items != nullptr || key.dict() != nullptr)
    run.fail(fmt::format("a {} cannot be a key", type_name(key)));
}

const Value* Dict::find(const Value& key, Run& run) const {
  for (const auto& [name, value] : members) {
    run.step();
    if (equal(name, key, run)) return &value;
  }
  return nullptr;
}

Value* Namespace::find(std::string_view name) {
  for (auto& [own, value] : members) {
    if (own == name) return &value;
  }
  return nullptr;
}

Value text_value(std::string text, Run& run) {
  run.work(text.size());
  return {std::make_shared<const std::string>(std::move(text))};
}

Value list_value(std::vector<Value> values, Run& run, ItemsKind kind) {
  run.work(values.size(), kValueBytes);
  auto made = std::make_shared<Items>();
  for (const Value& v : values) made->depth = std::max(made->depth, member_depth(v, run));
  made->values = std::move(values);
  made->kind = kind;
  return {ItemsRef(std::move(made))};
}

Value dict_value(std::vector<std::pair<Value, Value>> members, Run& run) {
  run.work(members.size(), 2 * kValueBytes);
  auto made = std::make_shared<Dict>();
  for (auto& member : members) {
    Value &key = member.first, &value = member.second;
    require_key(key, run);
    made->depth = std::max(made->depth, member_depth(value, run));
    member_depth(key, run);
    const auto same = std::find_if(made->members.begin(), made->members.end(), [&](auto& m) {
      run.step();
      return equal(m.first, key, run);
    });
    if (same != made->members.end()) {
      same->second = std::move(value);
    } else {
      made->members.emplace_back(std::move(key), std::move(value));
    }
  }
  return {DictRef(std::move(made))};
}

Value undefined_value(std::string what, Run& run) {
  run.work(what.size());
  return {Undefined{std::make_shared<const std::string>(std::move(what))}};
}

Value from_json(const nlohmann::ordered_json& json, Run& run, int depth) {
  if (depth > kMaxNesting) run.over("levels of nesting", kMaxNesting);
  switch (json.type()) {
    case nlohmann::json::value_t::boolean:
      return {json.get<bool>()};
    case nlohmann::json::value_t::number_integer:
      return {json.get<std::int64_t>()};
    case nlohmann::json::value_t::number_unsigned:
      if (json.get<std::uint64_t>() > INT64_MAX) run.fail("a number has more than 63 bits");
      return {json.get<std::int64_t>()};
    case nlohmann::json::value_t::number_float:
      return {json.get<double>()};
    case nlohmann::json::value_t::string:
      return {std::make_shared<const std::string>(
          utf8::replace_invalid(json.get_ref<const std::string&>()))};
    case nlohmann::json::value_t::array: {
      auto made = std::make_shared<Items>();
      for (const auto& item : json) {
        made->values.push_back(from_json(item, run, depth + 1));
        made->depth = std::max(made->depth, member_depth(made->values.back(), run));
      }
      return {ItemsRef(std::move(made))};
    }
    case nlohmann::json::value_t::object: {
      auto made = std::make_shared<Dict>();
      for (const auto& [key, item] : json.items()) {
        Value name{std::make_shared<const std::string>(utf8::replace_invalid(key))};
        made->members.emplace_back(std::move(name), from_json(item, run, depth + 1));
        made->depth = std::max(made->depth, member_depth(made->members.back().second, run));
      }
      return {DictRef(std::move(made))};
    }
    default:
      return {None{}};
  }
}

std::string_view type_name(const Value& value) {
  static constexpr std::string_view kNames[] = {"NoneType",  "Undefined", "bool",     "int",
                                                "float",     "str",       "list",     "dict",
                                                "namespace", "loop",      "function", "macro"};
  if (const Items* i = value.items()) {
    static constexpr std::string_view kKinds[] = {"list", "tuple", "range", "view", "generator"};
    return kKinds[static_cast<std::size_t>(i->kind)];
  }
  return kNames[value.is.index()];
}

bool truth(const Value& value) {
  if (value.get<None>() != nullptr || value.undefined()) return false;
  if (const bool* b = value.get<bool>()) return *b;
  if (const auto* i = value.get<std::int64_t>()) return *i != 0;
  if (const auto* d = value.get<double>()) return *d != 0;
  if (const std::string* t = value.text()) return !t->empty();
  if (const Items* i = value.items()) return i->kind == ItemsKind::generator || !i->values.empty();
  if (const Dict* d = value.dict()) return !d->members.empty();
  return true;
}

bool as_number(const Value& value, Number& out) {
  if (const bool* b = value.get<bool>()) {
    out = {true, *b ? 1 : 0, *b ? 1.0 : 0.0};
  } else if (const auto* i = value.get<std::int64_t>()) {
    out = {true, *i, static_cast<double>(*i)};
  } else if (const auto* d = value.get<double>()) {
    out = {false, 0, *d};
  } else {
    return false;
  }
  return true;
}

namespace {

// long double holds every int64_t.
int order_numbers(const Number& a, const Number& b) {
  if (a.is_int && b.is_int) return a.whole < b.whole ? -1 : a.whole > b.whole ? 1 : 0;
  const long double x = a.is_int ? static_cast<long double>(a.whole) : a.real;
  const long double y = b.is_int ? static_cast<long double>(b.whole) : b.real;
  return x < y ? -1 : x > y ? 1 : 0;
}

bool is_sequence(const Items* i) {
  return i != nullptr &&
         (i->kind == ItemsKind::list || i->kind == ItemsKind::tuple || i->kind == ItemsKind::range);
}

}  // namespace

bool equal(const Value& a, const Value& b, Run& run) {
  run.step();
  Number x, y;
  if (as_number(a, x) && as_number(b, y)) {
    if (std::isnan(x.real) || std::isnan(y.real)) return false;
    return order_numbers(x, y) == 0;
  }
  if (a.is.index() != b.is.index()) return false;
  if (const std::string* s = a.text()) {
    if (s->size() != b.text()->size()) return false;
    run.work(s->size());
    return *s == *b.text();
  }
  if (const Items* i = a.items()) {
    const Items* j = b.items();
    if (i == j) return true;
    if (i->kind != j->kind || !is_sequence(i) || i->values.size() != j->values.size()) return false;
    for (std::size_t n = 0; n < i->values.size(); ++n) {
      if (!equal(i->values[n], j->values[n], run)) return false;
    }
    return true;
  }
  if (const Dict* d = a.dict()) {
    if (d->members.size() != b.dict()->members.size()) return false;
    for (const auto& [key, value] : d->members) {
      const Value* other = b.dict()->find(key, run);
      if (other == nullptr || !equal(value, *other, run)) return false;
    }
    return true;
  }
  if (const auto* n = a.get<NamespaceRef>()) return *n == *b.get<NamespaceRef>();
  if (const auto* l = a.get<LoopRef>()) return *l == *b.get<LoopRef>();
  if (const auto* f = a.get<Function>()) return f->name == b.get<Function>()->name;
  if (const auto* m = a.get<MacroRef>()) return m->macro == b.get<MacroRef>()->macro;
  return true;  // None, Undefined
}

int order(const Value& a, const Value& b, Run& run) {
  run.step();
  Number x, y;
  if (as_number(a, x) && as_number(b, y)) {
    if (std::isnan(x.real) || std::isnan(y.real)) run.refuse("NaN is compared");
    return order_numbers(x, y);
  }
  const std::string *s = a.text(), *t = b.text();
  if (s != nullptr && t != nullptr) {  // code points are in the order of their bytes
    run.work(std::min(s->size(), t->size()));
    return s->compare(*t);
  }
  const Items *i = a.items(), *j = b.items();
  if (is_sequence(i) && is_sequence(j) && i->kind == j->kind && i->kind != ItemsKind::range) {
    for (std::size_t n = 0; n < i->values.size() && n < j->values.size(); ++n) {
      if (!equal(i->values[n], j->values[n], run)) return order(i->values[n], j->values[n], run);
    }
    return i->values.size() < j->values.size() ? -1 : i->values.size() > j->values.size() ? 1 : 0;
  }
  run.fail(fmt::format("a {} and a {} have no order", type_name(a), type_name(b)));
}

bool contains(const Value& haystack, const Value& needle, Run& run) {
  if (const std::string* text = haystack.text()) {
    const std::string* part = needle.text();
    if (part == nullptr) run.fail(fmt::format("a {} is looked for in a str", type_name(needle)));
    run.work(text->size());
    return find_text(*text, *part) != std::string_view::npos;
  }
  if (const Dict* d = haystack.dict()) {
    require_key(needle, run);
    return d->find(needle, run) != nullptr;
  }
  if (haystack.undefined()) return false;
  const Items* i = haystack.items();
  if (i == nullptr) run.fail(fmt::format("nothing can be in a {}", type_name(haystack)));
  std::size_t at = i->kind == ItemsKind::generator ? i->taken : 0;
  bool found = false;
  while (!found && at < i->values.size()) found = equal(i->values[at++], needle, run);
  if (i->kind == ItemsKind::generator) i->taken = at;
  return found;
}

std::vector<Value> iterate(const Value& value, Run& run) {
  std::vector<Value> out;
  if (const Items* i = value.items()) {
    std::size_t from = 0;
    if (i->kind == ItemsKind::generator) {
      from = i->taken;
      i->taken = i->values.size();
    }
    run.work(i->values.size() - from, kValueBytes);
    out.assign(i->values.begin() + static_cast<std::ptrdiff_t>(from), i->values.end());
  } else if (const Dict* d = value.dict()) {
    run.work(d->members.size(), kValueBytes);
    for (const auto& member : d->members) out.push_back(member.first);
  } else if (const std::string* text = value.text()) {
    run.work(text->size(), kValueBytes + sizeof(std::string));
    for (std::string_view c : chars(*text)) {
      out.push_back({std::make_shared<const std::string>(c)});
    }
  } else if (!value.undefined()) {
    run.fail(fmt::format("a {} cannot be gone through", type_name(value)));
  }
  return out;
}

std::int64_t length(const Value& value, Run& run) {
  if (const std::string* text = value.text()) {
    run.work(text->size());
    return static_cast<std::int64_t>(count_chars(*text));
  }
  const Items* i = value.items();
  if (i != nullptr && i->kind != ItemsKind::generator) {
    return static_cast<std::int64_t>(i->values.size());
  }
  if (const Dict* d = value.dict()) return static_cast<std::int64_t>(d->members.size());
  if (value.undefined()) return 0;
  run.fail(fmt::format("a {} has no length", type_name(value)));
}

}  // namespace wb::speak::jinja
