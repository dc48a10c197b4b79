// The filters of chat templates (jinja_functions.h).
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>

#include "speak/jinja_functions.h"
#include "speak/jinja_text.h"

namespace wb::speak::jinja {

namespace {

using Filter = Value (*)(const Value& on, Arguments& args, Run& run);

Value text_of(std::string_view text, Run& run) { return text_value(std::string(text), run); }

Value trim(const Value& on, Arguments& args, Run& run) {
  const std::string text = to_text(on, run);
  const std::string* of = args.text_or_null(0, "chars");
  if (of != nullptr) run.work(text.size(), of->size());
  return text_of(strip(text, of, true, true), run);
}

Value size(const Value& on, Arguments&, Run& run) { return {length(on, run)}; }

Value upper_case(const Value& on, Arguments&, Run& run) {
  return text_value(upper(to_text(on, run), run), run);
}
Value lower_case(const Value& on, Arguments&, Run& run) {
  return text_value(lower(to_text(on, run), run), run);
}
Value capital(const Value& on, Arguments&, Run& run) {
  return text_value(capitalize(to_text(on, run), run), run);
}
Value titled(const Value& on, Arguments&, Run& run) {
  return text_value(title_filter(to_text(on, run), run), run);
}

Value json(const Value& on, Arguments& args, Run& run) {
  // Arguments in the order that transformers gives them, which is not Jinja's own.
  if (args.flag_or(0, "ensure_ascii", false)) run.refuse("tojson(ensure_ascii=true) is not known");
  const Value* given = args.find(1, "indent");
  std::int64_t indent = -1;
  if (given != nullptr && given->get<None>() == nullptr) {
    indent = args.whole_or(1, "indent", 0);
    if (indent < 0 || indent > 16) run.refuse("tojson indents by 0 to 16");
  }
  return text_value(to_json(on, static_cast<int>(indent), run), run);
}

Value join(const Value& on, Arguments& args, Run& run) {
  const Value* between = args.find(0, "d");
  const std::string separator = between == nullptr ? "" : to_text(*between, run);
  const Value* attribute = args.find(1, "attribute");
  if (attribute != nullptr && attribute->get<None>() == nullptr && attribute->text() == nullptr)
    run.refuse(fmt::format("joining by a {} is not known here", type_name(*attribute)));
  const std::string* path = args.text_or_null(1, "attribute");
  std::string out;
  bool first = true;
  for (const Value& item : iterate(on, run)) {
    if (!first) {
      run.work(separator.size());
      out += separator;
    }
    first = false;
    out += to_text(path == nullptr ? item : path_of(item, *path, run), run);
  }
  return text_value(std::move(out), run);
}

Value fallback(const Value& on, Arguments& args, Run& run) {
  const Value* given = args.find(0, "default_value");
  const bool falsy = args.flag_or(1, "boolean", false);
  if (!on.undefined() && !(falsy && !truth(on))) return on;
  return given == nullptr ? text_of("", run) : *given;
}

Value first(const Value& on, Arguments&, Run& run) {
  if (const Items* i = on.items(); i != nullptr && i->kind == ItemsKind::generator) {
    if (i->taken < i->values.size()) return i->values[i->taken++];
  } else if (auto all = iterate(on, run); !all.empty()) {
    return all.front();
  }
  return undefined_value("No first item, sequence was empty.", run);
}

Value last(const Value& on, Arguments&, Run& run) {
  if (const Items* i = on.items(); i != nullptr && i->kind == ItemsKind::generator) {
    run.fail("a generator has no last item; `|list` makes a list of it");
  }
  if (auto all = iterate(on, run); !all.empty()) return all.back();
  return undefined_value("No last item, sequence was empty.", run);
}

Value replace(const Value& on, Arguments& args, Run& run) {
  const Value* count = args.find(2, "count");
  const bool all = count == nullptr || count->get<None>() != nullptr;
  const std::string from = to_text(args.at(0, "old"), run), to = to_text(args.at(1, "new"), run);
  const std::int64_t most = all ? -1 : args.whole_or(2, "count", -1);
  return text_value(replace_text(to_text(on, run), from, to, most, run), run);
}

Value list(const Value& on, Arguments&, Run& run) { return list_value(iterate(on, run), run); }

Value items(const Value& on, Arguments&, Run& run) {
  std::vector<Value> out;
  if (!on.undefined()) {
    const Dict* dict = on.dict();
    if (dict == nullptr) run.fail("Can only get item pairs from a mapping.");
    for (const auto& [key, value] : dict->members)
      out.push_back(list_value({key, value}, run, ItemsKind::tuple));
  }
  return list_value(std::move(out), run, ItemsKind::generator);
}

Value as_string(const Value& on, Arguments&, Run& run) { return text_value(to_text(on, run), run); }

// The whole number or the real that a text is, as Python's int() and float() read it; what they
// read and we do not is refused.
template <class T>
bool read_number(const std::string& text, T& out, Run& run) {
  std::string_view rest = strip(text, nullptr, true, true);
  run.work(text.size());
  std::string word = lower(rest, run);
  if (word.starts_with('-') || word.starts_with('+')) word.erase(0, 1);
  const bool odd = word.find_first_of("_") != word.npos || word == "inf" || word == "nan" ||
                   word == "infinity" || std::any_of(word.begin(), word.end(), [](char c) {
                     return static_cast<unsigned char>(c) >= 0x80;
                   });
  if (odd) run.refuse("a number is written in a way that is not known here");
  if (rest.starts_with('+') && !rest.starts_with("+-")) rest.remove_prefix(1);
  if (rest.empty() || rest.find_first_not_of("0123456789+-.eE") != rest.npos) return false;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), out);
  if (error == std::errc::result_out_of_range) run.refuse("a number is too large");
  return error == std::errc() && end == rest.data() + rest.size();
}

Value whole(const Value& on, Arguments& args, Run& run) {
  const Value* otherwise = args.find(0, "default");
  if (on.undefined()) undefined_used(on, run);
  Number number;
  std::int64_t read = 0;
  double real = 0;
  bool known = false;
  if (as_number(on, number)) {
    known = true;
    read = number.whole;
    real = number.real;
    if (number.is_int) return {read};
  } else if (const std::string* text = on.text()) {
    if (read_number(*text, read, run)) return {read};
    known = read_number(*text, real, run);
  }
  if (known && std::isfinite(real)) {
    if (std::abs(real) >= 0x1p63) run.refuse("a whole number has more than 63 bits");
    return {static_cast<std::int64_t>(real)};
  }
  return otherwise == nullptr ? Value{std::int64_t{0}} : *otherwise;
}

Value real(const Value& on, Arguments& args, Run& run) {
  const Value* otherwise = args.find(0, "default");
  if (on.undefined()) undefined_used(on, run);
  Number number;
  double read = 0;
  if (as_number(on, number)) return {number.real};
  if (on.text() != nullptr && read_number(*on.text(), read, run)) return {read};
  return otherwise == nullptr ? Value{0.0} : *otherwise;
}

Value absolute(const Value& on, Arguments&, Run& run) {
  Number number;
  if (!as_number(on, number)) run.fail(fmt::format("a {} has no absolute value", type_name(on)));
  if (!number.is_int) return {std::abs(number.real)};
  if (number.whole == INT64_MIN) run.refuse("a whole number has more than 63 bits");
  return {std::abs(number.whole)};
}

Value reverse(const Value& on, Arguments&, Run& run) {
  std::vector<Value> all = iterate(on, run);
  std::reverse(all.begin(), all.end());
  if (on.text() == nullptr) return list_value(std::move(all), run, ItemsKind::generator);
  std::string out;
  for (const Value& c : all) out += *c.text();
  return text_value(std::move(out), run);
}

// map("filter", ...) or map(attribute="a.b", default=...).
Value map(const Value& on, Arguments& args, Run& run) {
  std::vector<Value> out;
  const std::vector<Value> all = truth(on) ? iterate(on, run) : std::vector<Value>();
  if (args.placed() == 0) {
    const std::string path = to_text(args.at(kByName, "attribute"), run);
    const Value* otherwise = args.find(kByName, "default");
    for (const Value& item : all) out.push_back(path_of(item, path, run, otherwise));
  } else {
    const std::string filter = args.text(0);
    const std::vector<Value> rest = args.rest(1);
    for (const Value& item : all) out.push_back(apply_filter(filter, item, rest, {}, run));
  }
  return list_value(std::move(out), run, ItemsKind::generator);
}

// select, reject and their kin by attribute: what passes a test, or is true without one.
Value choose(const Value& on, Arguments& args, Run& run, bool by_attribute, bool wanted) {
  const std::string path = by_attribute ? to_text(args.at(0), run) : "";
  const std::size_t place = by_attribute ? 1 : 0;
  std::string test;
  std::vector<Value> rest;
  if (args.placed() > place) {
    test = args.text(place);
    rest = args.rest(place + 1);
  }
  std::vector<Value> out;
  if (!truth(on)) return list_value({}, run, ItemsKind::generator);
  for (const Value& item : iterate(on, run)) {
    run.step();
    const Value looked = by_attribute ? path_of(item, path, run) : item;
    if ((test.empty() ? truth(looked) : apply_test(test, looked, rest, run)) == wanted)
      out.push_back(item);
  }
  return list_value(std::move(out), run, ItemsKind::generator);
}

Value indent(const Value& on, Arguments& args, Run& run) {
  std::string by;
  const Value* width = args.find(0, "width");
  if (width != nullptr && width->text() != nullptr) {
    by = *width->text();
  } else {
    const std::int64_t n = args.whole_or(0, "width", 4);
    if (n > 1000) run.refuse("indent takes at most 1000 columns");
    by.assign(static_cast<std::size_t>(std::max<std::int64_t>(n, 0)), ' ');
  }
  const bool first_line = args.flag_or(1, "first", false), blank = args.flag_or(2, "blank", false);
  if (on.text() == nullptr) run.fail(fmt::format("a {} is indented", type_name(on)));
  const std::string text = to_text(on, run) + "\n";  // as Jinja does
  std::string out;
  const std::vector<std::string_view> lines = split_lines(text, false);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    run.work(by.size() + lines[i].size());
    if (i > 0) out += '\n';
    if (i == 0 ? first_line : blank || !lines[i].empty()) out += by;
    out += lines[i];
  }
  return text_value(std::move(out), run);
}

constexpr std::pair<std::string_view, Filter> kFilters[] = {
    {"abs", absolute},
    {"capitalize", capital},
    {"count", size},
    {"d", fallback},
    {"default", fallback},
    {"first", first},
    {"float", real},
    {"indent", indent},
    {"int", whole},
    {"items", items},
    {"join", join},
    {"last", last},
    {"length", size},
    {"list", list},
    {"lower", lower_case},
    {"map", map},
    {"reject", [](const Value& v, Arguments& a, Run& r) { return choose(v, a, r, false, false); }},
    {"rejectattr",
     [](const Value& v, Arguments& a, Run& r) { return choose(v, a, r, true, false); }},
    {"replace", replace},
    {"reverse", reverse},
    {"safe", as_string},
    {"select", [](const Value& v, Arguments& a, Run& r) { return choose(v, a, r, false, true); }},
    {"selectattr",
     [](const Value& v, Arguments& a, Run& r) { return choose(v, a, r, true, true); }},
    {"string", as_string},
    {"title", titled},
    {"tojson", json},
    {"trim", trim},
    {"upper", upper_case}};

}  // namespace

Value apply_filter(const std::string& name, const Value& on, std::vector<Value> placed,
                   std::vector<std::pair<std::string, Value>> named, Run& run) {
  run.step();
  for (const auto& [known, filter] : kFilters) {
    if (known != name) continue;
    Arguments args("the filter " + name, std::move(placed), std::move(named), run);
    Value out = filter(on, args, run);
    args.done();
    return out;
  }
  run.refuse(fmt::format("the filter \"{}\" is not known here", name));
}

}  // namespace wb::speak::jinja
