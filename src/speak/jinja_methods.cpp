// The tests (`x is ...`) and the methods of texts, lists and dicts in chat templates
// (jinja_functions.h).
#include <fmt/format.h>

#include <algorithm>

#include "speak/jinja_functions.h"
#include "speak/jinja_text.h"

namespace wb::speak::jinja {

namespace {

using Test = bool (*)(const Value& on, Arguments& args, Run& run);

bool is_number(const Value& v) {
  Number n;
  return as_number(v, n);
}
bool is_sequence_value(const Value& v) {
  const Items* i = v.items();
  if (i != nullptr) return i->kind != ItemsKind::view && i->kind != ItemsKind::generator;
  return v.text() != nullptr || v.dict() != nullptr || v.undefined();
}

// v % by == wanted.
bool leaves(const Value& v, const Value& by, std::int64_t wanted, Run& run) {
  return equal(arithmetic('%', v, by, run), {wanted}, run);
}

template <class T>
bool holds(const Value& v) {
  return v.get<T>() != nullptr;
}
template <bool wanted>
bool is_bool(const Value& v) {
  return holds<bool>(v) && *v.get<bool>() == wanted;
}

constexpr std::pair<std::string_view, bool (*)(const Value&)> kPlainTests[] = {
    {"defined", [](const Value& v) { return !v.undefined(); }},
    {"undefined", holds<Undefined>},
    {"none", holds<None>},
    {"boolean", holds<bool>},
    {"true", is_bool<true>},
    {"false", is_bool<false>},
    {"integer", holds<std::int64_t>},
    {"float", holds<double>},
    {"number", is_number},
    {"string", holds<Text>},
    {"mapping", holds<DictRef>},
    {"sequence", is_sequence_value},
    {"iterable", [](const Value& v) { return is_sequence_value(v) || v.items() != nullptr; }},
    {"callable", [](const Value& v) { return holds<Function>(v) || holds<MacroRef>(v); }}};

bool test_equal(const Value& v, Arguments& a, Run& r) { return equal(v, a.at(0), r); }
bool test_unequal(const Value& v, Arguments& a, Run& r) { return !equal(v, a.at(0), r); }
bool test_less(const Value& v, Arguments& a, Run& r) { return order(v, a.at(0), r) < 0; }
bool test_greater(const Value& v, Arguments& a, Run& r) { return order(v, a.at(0), r) > 0; }
bool test_at_most(const Value& v, Arguments& a, Run& r) { return order(v, a.at(0), r) <= 0; }
bool test_at_least(const Value& v, Arguments& a, Run& r) { return order(v, a.at(0), r) >= 0; }

constexpr std::pair<std::string_view, Test> kTests[] = {
    {"in", [](const Value& v, Arguments& a, Run& r) { return contains(a.at(0), v, r); }},
    {"even", [](const Value& v, Arguments&, Run& r) { return leaves(v, {std::int64_t{2}}, 0, r); }},
    {"odd", [](const Value& v, Arguments&, Run& r) { return leaves(v, {std::int64_t{2}}, 1, r); }},
    {"divisibleby", [](const Value& v, Arguments& a, Run& r) { return leaves(v, a.at(0), 0, r); }},
    {"upper", [](const Value& v, Arguments&, Run& r) { return is_upper(to_text(v, r), r); }},
    {"lower", [](const Value& v, Arguments&, Run& r) { return is_lower(to_text(v, r), r); }},
    {"eq", test_equal},
    {"equalto", test_equal},
    {"ne", test_unequal},
    {"lt", test_less},
    {"lessthan", test_less},
    {"le", test_at_most},
    {"gt", test_greater},
    {"greaterthan", test_greater},
    {"ge", test_at_least}};

using Method = Value (*)(const Value& on, Arguments& args, Run& run);

std::string_view own(const Value& on) { return *on.text(); }

template <bool left, bool right>
Value stripped(const Value& on, Arguments& args, Run& run) {
  const std::string* of = args.text_or_null(0);
  if (of != nullptr) run.work(own(on).size(), of->size());
  return text_value(std::string(strip(own(on), of, left, right)), run);
}

template <bool from_right>
Value split(const Value& on, Arguments& args, Run& run) {
  const std::string* by = args.text_or_null(0, "sep");
  if (by != nullptr && by->empty()) run.fail("a text is split by nothing");
  std::vector<Value> out;
  for (std::string_view part :
       split_text(own(on), by, args.whole_or(1, "maxsplit", -1), from_right, run))
    out.push_back(text_value(std::string(part), run));
  return list_value(std::move(out), run);
}

Value lines(const Value& on, Arguments& args, Run& run) {
  run.work(own(on).size());
  std::vector<Value> out;
  for (std::string_view part : split_lines(own(on), args.flag_or(0, "keepends", false)))
    out.push_back(text_value(std::string(part), run));
  return list_value(std::move(out), run);
}

// The text that is asked about, or any of a tuple of them.
template <class F>
Value any_of(const Value& on, Arguments& args, Run& run, F holds) {
  const Value& asked = args.at(0);
  const Items* several = asked.items();
  if (asked.text() != nullptr) {
    run.work(asked.text()->size());
    return {holds(own(on), std::string_view(*asked.text()))};
  }
  if (several == nullptr || several->kind != ItemsKind::tuple) {
    run.fail(fmt::format("a text cannot begin or end with a {}", type_name(asked)));
  }
  bool found = false;
  for (const Value& v : several->values) {
    run.step();
    if (v.text() == nullptr) run.fail("a text is expected in the tuple");
    found = found || holds(own(on), std::string_view(*v.text()));
  }
  return {found};
}

Value starts(const Value& on, Arguments& args, Run& run) {
  return any_of(on, args, run, [](auto text, auto part) { return text.starts_with(part); });
}
Value ends(const Value& on, Arguments& args, Run& run) {
  return any_of(on, args, run, [](auto text, auto part) { return text.ends_with(part); });
}

Value find_in(const Value& on, Arguments& args, Run& run) {
  run.work(own(on).size());
  const std::size_t at = find_text(own(on), args.text(0));
  return {at == std::string::npos ? std::int64_t{-1}
                                  : static_cast<std::int64_t>(count_chars(own(on).substr(0, at)))};
}

Value count_in(const Value& on, Arguments& args, Run& run) {
  const std::string& part = args.text(0);
  run.work(own(on).size());
  if (part.empty()) return {static_cast<std::int64_t>(count_chars(own(on))) + 1};
  std::int64_t n = 0;
  for (std::size_t at = find_text(own(on), part); at != std::string::npos;
       at = find_text(own(on), part, at + part.size()))
    ++n;
  return {n};
}

Value joined(const Value& on, Arguments& args, Run& run) {
  std::string out;
  bool first = true;
  for (const Value& v : iterate(args.at(0), run)) {
    if (v.text() == nullptr) run.fail(fmt::format("a {} is joined as a text", type_name(v)));
    run.work(own(on).size() + v.text()->size());
    if (!first) out += own(on);
    first = false;
    out += *v.text();
  }
  return text_value(std::move(out), run);
}

Value replaced(const Value& on, Arguments& args, Run& run) {
  const std::string &from = args.text(0), &to = args.text(1);
  return text_value(replace_text(own(on), from, to, args.whole_or(2, "", -1), run), run);
}

Value without_prefix(const Value& on, Arguments& args, Run& run) {
  const std::string& part = args.text(0);
  const bool there = own(on).starts_with(part);
  return text_value(std::string(own(on).substr(there ? part.size() : 0)), run);
}
Value without_suffix(const Value& on, Arguments& args, Run& run) {
  const std::string& part = args.text(0);
  const bool there = own(on).ends_with(part);
  return text_value(std::string(own(on).substr(0, own(on).size() - (there ? part.size() : 0))),
                    run);
}

template <std::string (*change)(std::string_view, Run&)>
Value changed(const Value& on, Arguments&, Run& run) {
  return text_value(change(own(on), run), run);
}

Value dict_items(const Value& on, Arguments&, Run& run) {
  std::vector<Value> out;
  for (const auto& [key, value] : on.dict()->members)
    out.push_back(list_value({key, value}, run, ItemsKind::tuple));
  return list_value(std::move(out), run, ItemsKind::view);
}
Value dict_keys(const Value& on, Arguments&, Run& run) {
  return list_value(iterate(on, run), run, ItemsKind::view);
}
Value dict_values(const Value& on, Arguments&, Run& run) {
  std::vector<Value> out;
  for (const auto& member : on.dict()->members) out.push_back(member.second);
  return list_value(std::move(out), run, ItemsKind::view);
}
Value dict_get(const Value& on, Arguments& args, Run& run) {
  const Value* otherwise = args.find(1);
  require_key(args.at(0), run);
  if (const Value* found = on.dict()->find(args.at(0), run)) return *found;
  return otherwise == nullptr ? Value{None{}} : *otherwise;
}

Value list_index(const Value& on, Arguments& args, Run& run) {
  const auto& values = on.items()->values;
  const Value& wanted = args.at(0);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (equal(values[i], wanted, run)) return {static_cast<std::int64_t>(i)};
  }
  run.fail("what is looked for is not in the list");
}
Value list_count(const Value& on, Arguments& args, Run& run) {
  const Value& wanted = args.at(0);
  std::int64_t n = 0;
  for (const Value& v : on.items()->values) n += equal(v, wanted, run) ? 1 : 0;
  return {n};
}

using Methods = std::pair<std::string_view, Method>;
constexpr Methods kTextMethods[] = {{"strip", stripped<true, true>},
                                    {"lstrip", stripped<true, false>},
                                    {"rstrip", stripped<false, true>},
                                    {"split", split<false>},
                                    {"rsplit", split<true>},
                                    {"splitlines", lines},
                                    {"startswith", starts},
                                    {"endswith", ends},
                                    {"find", find_in},
                                    {"count", count_in},
                                    {"join", joined},
                                    {"replace", replaced},
                                    {"removeprefix", without_prefix},
                                    {"removesuffix", without_suffix},
                                    {"upper", changed<upper>},
                                    {"lower", changed<lower>},
                                    {"title", changed<title>},
                                    {"capitalize", changed<capitalize>}};
constexpr Methods kDictMethods[] = {
    {"items", dict_items}, {"keys", dict_keys}, {"values", dict_values}, {"get", dict_get}};
constexpr Methods kListMethods[] = {{"index", list_index}, {"count", list_count}};
// What Python's types have besides, which hides members of these names.
constexpr std::string_view kOtherTextMethods[] = {
    "casefold",     "center",     "encode",    "expandtabs",  "format",    "format_map",
    "index",        "isalnum",    "isalpha",   "isascii",     "isdecimal", "isdigit",
    "isidentifier", "islower",    "isnumeric", "isprintable", "isspace",   "istitle",
    "isupper",      "ljust",      "maketrans", "partition",   "rfind",     "rindex",
    "rjust",        "rpartition", "swapcase",  "translate",   "zfill"};
constexpr std::string_view kOtherDictMethods[] = {"clear",   "copy",       "fromkeys", "pop",
                                                  "popitem", "setdefault", "update"};
constexpr std::string_view kOtherListMethods[] = {"append", "clear",  "copy",    "extend", "insert",
                                                  "pop",    "remove", "reverse", "sort"};

template <std::size_t N>
Method known(const Methods (&methods)[N], std::string_view name) {
  for (const auto& [own_name, method] : methods) {
    if (own_name == name) return method;
  }
  return nullptr;
}
template <std::size_t N>
bool listed(const std::string_view (&names)[N], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

bool is_list(const Value& v) {
  const Items* i = v.items();
  return i != nullptr && (i->kind == ItemsKind::list || i->kind == ItemsKind::tuple);
}

Method method_of(const Value& on, std::string_view name) {
  if (on.text() != nullptr) return known(kTextMethods, name);
  if (on.dict() != nullptr) return known(kDictMethods, name);
  return is_list(on) ? known(kListMethods, name) : nullptr;
}

}  // namespace

bool has_method(const Value& on, std::string_view name) {
  if (method_of(on, name) != nullptr || name.starts_with("__")) return true;
  if (on.text() != nullptr) return listed(kOtherTextMethods, name);
  if (on.dict() != nullptr) return listed(kOtherDictMethods, name);
  return is_list(on) && listed(kOtherListMethods, name);
}

bool apply_test(const std::string& name, const Value& on, std::vector<Value> placed, Run& run) {
  run.step();
  for (const auto& [own_name, test] : kPlainTests) {
    if (own_name != name) continue;
    Arguments("the test " + name, std::move(placed), {}, run).done();
    return test(on);
  }
  for (const auto& [own_name, test] : kTests) {
    if (own_name != name) continue;
    Arguments args("the test " + name, std::move(placed), {}, run);
    const bool out = test(on, args, run);
    args.done();
    return out;
  }
  run.refuse(fmt::format("the test \"{}\" is not known here", name));
}

Value call_method(const Value& on, const std::string& name, std::vector<Value> placed,
                  std::vector<std::pair<std::string, Value>> named, Run& run) {
  run.step();
  if (on.undefined()) undefined_used(on, run);
  const Method method = method_of(on, name);
  if (method == nullptr) {
    if (has_method(on, name)) {
      run.refuse(fmt::format("the method {} of a {} is not known here", name, type_name(on)));
    }
    run.fail(fmt::format("a {} has no method \"{}\"", type_name(on), name));
  }
  Arguments args("the method " + name, std::move(placed), std::move(named), run);
  Value out = method(on, args, run);
  args.done();
  return out;
}

}  // namespace wb::speak::jinja
