// Arguments of filters, methods and functions, and reading members of values (jinja_functions.h).
#include <fmt/format.h>

#include <algorithm>

#include "speak/jinja_functions.h"
#include "speak/jinja_text.h"

namespace wb::speak::jinja {

const Value* Arguments::find(std::size_t place, std::string_view name) {
  if (place != kByName) taken_ = std::max(taken_, place + 1);
  if (!name.empty()) asked_.emplace_back(name);
  const Value* found = place < placed_.size() ? &placed_[place] : nullptr;
  for (const auto& [own, value] : named_) {
    if (name.empty() || own != name) continue;
    if (found != nullptr) run_.fail(fmt::format("{} is given \"{}\" twice", what_, name));
    found = &value;
  }
  return found;
}

const Value& Arguments::at(std::size_t place, std::string_view name) {
  const Value* found = find(place, name);
  if (found == nullptr) run_.fail(fmt::format("{} is given too few arguments", what_));
  return *found;
}

const std::string* Arguments::text_or_null(std::size_t place, std::string_view name) {
  const Value* found = find(place, name);
  if (found == nullptr || found->get<None>() != nullptr) return nullptr;
  if (found->text() == nullptr) {
    run_.fail(fmt::format("{} is given a {} where a text is expected", what_, type_name(*found)));
  }
  return found->text();
}

const std::string& Arguments::text(std::size_t place, std::string_view name) {
  at(place, name);
  const std::string* found = text_or_null(place, name);
  if (found == nullptr) run_.fail(fmt::format("{} is given none instead of a text", what_));
  return *found;
}

std::int64_t Arguments::whole_or(std::size_t place, std::string_view name, std::int64_t otherwise) {
  const Value* found = find(place, name);
  Number number;
  if (found == nullptr) return otherwise;
  if (!as_number(*found, number) || !number.is_int) {
    run_.fail(
        fmt::format("{} is given a {} where a whole number is expected", what_, type_name(*found)));
  }
  return number.whole;
}

bool Arguments::flag_or(std::size_t place, std::string_view name, bool otherwise) {
  const Value* found = find(place, name);
  return found == nullptr ? otherwise : truth(*found);
}

void Arguments::done() const {
  if (placed_.size() > taken_) {
    run_.refuse(
        fmt::format("{} takes {} arguments here and is given {}", what_, taken_, placed_.size()));
  }
  for (const auto& [name, value] : named_) {
    if (std::find(asked_.begin(), asked_.end(), name) == asked_.end()) {
      run_.refuse(fmt::format("{} has no argument \"{}\" here", what_, name));
    }
  }
}

std::vector<Value> Arguments::rest(std::size_t place) {
  taken_ = std::max(taken_, placed_.size());
  return {placed_.begin() + static_cast<std::ptrdiff_t>(std::min(place, placed_.size())),
          placed_.end()};
}

void undefined_used(const Value& value, Run& run) { run.fail(*value.get<Undefined>()->what); }

Value attribute_of(const Value& on, const std::string& name, Run& run) {
  run.step();
  if (on.undefined()) undefined_used(on, run);
  if (const auto* space = on.get<NamespaceRef>()) {
    if (const Value* found = (*space)->find(name)) return *found;
  } else if (const auto* ref = on.get<LoopRef>()) {
    const Loop& loop = **ref;
    const std::size_t n = loop.values->size(), i = loop.index0;
    const std::pair<std::string_view, std::size_t> numbers[] = {
        {"index", i + 1}, {"index0", i}, {"revindex", n - i}, {"revindex0", n - i - 1},
        {"length", n},    {"depth", 1},  {"depth0", 0}};
    for (const auto& [known, value] : numbers) {
      if (known == name) return {static_cast<std::int64_t>(value)};
    }
    if (name == "first") return {i == 0};
    if (name == "last") return {i + 1 == n};
    if (name == "previtem") {
      return i > 0 ? (*loop.values)[i - 1] : undefined_value("there is no previous item", run);
    }
    if (name == "nextitem") {
      return i + 1 < n ? (*loop.values)[i + 1] : undefined_value("there is no next item", run);
    }
    run.refuse(fmt::format("loop.{} is not known here", name));
  } else if (has_method(on, name)) {
    run.refuse(fmt::format("the method {} is named and not called", name));
  } else if (const Dict* dict = on.dict()) {
    const Value key = text_value(name, run);
    if (const Value* found = dict->find(key, run)) return *found;
  }
  return undefined_value(fmt::format("a {} has no member \"{}\"", type_name(on), name), run);
}

Value item_of(const Value& on, const Value& key, Run& run) {
  run.step();
  if (on.undefined()) undefined_used(on, run);
  if (const Dict* dict = on.dict()) {
    if (key.items() == nullptr && key.dict() == nullptr) {
      if (const Value* found = dict->find(key, run)) return *found;
    }
    if (key.text() != nullptr) return attribute_of(on, *key.text(), run);
  } else if (key.text() != nullptr) {
    return attribute_of(on, *key.text(), run);
  }
  Number place;
  const bool number = as_number(key, place) && place.is_int;
  const Items* items = on.items();
  if (number && (items != nullptr || on.text() != nullptr)) {
    const bool once =
        items != nullptr && (items->kind == ItemsKind::generator || items->kind == ItemsKind::view);
    const std::int64_t n = once ? 0 : length(on, run);
    const std::int64_t i = place.whole < 0 ? place.whole + n : place.whole;
    if (i >= 0 && i < n) {
      if (items != nullptr) return items->values[static_cast<std::size_t>(i)];
      run.work(on.text()->size());
      std::string_view rest = *on.text();
      for (std::int64_t skip = 0; skip < i; ++skip) rest.remove_prefix(char_bytes(rest[0]));
      return text_value(std::string(rest.substr(0, char_bytes(rest[0]))), run);
    }
  }
  return undefined_value(fmt::format("a {} has no item {}", type_name(on),
                                     key.get<std::int64_t>() != nullptr
                                         ? std::to_string(place.whole)
                                         : "of this kind (" + std::string(type_name(key)) + ")"),
                         run);
}

Value slice_of(const Value& on, const Value* start, const Value* stop, const Value* step,
               Run& run) {
  if (on.undefined()) undefined_used(on, run);
  const auto bound = [&](const Value* given, std::int64_t otherwise) {
    Number number;
    if (given == nullptr || given->get<None>() != nullptr) return otherwise;
    if (given->undefined()) undefined_used(*given, run);
    if (!as_number(*given, number) || !number.is_int) {
      run.fail(fmt::format("a {} cannot bound a slice", type_name(*given)));
    }
    return number.whole;
  };
  const Items* items = on.items();
  const bool cut = on.text() != nullptr || (items != nullptr && items->kind != ItemsKind::view &&
                                            items->kind != ItemsKind::generator);
  if (!cut) run.fail(fmt::format("a {} cannot be sliced", type_name(on)));
  const std::vector<Value> all = iterate(on, run);
  const auto n = static_cast<std::int64_t>(all.size());
  const std::int64_t by = bound(step, 1);
  if (by == 0) run.fail("the step of a slice is 0");
  const auto inside = [&](std::int64_t i, std::int64_t low, std::int64_t high) {
    if (i < 0) i = i < -n ? low : i + n;
    return std::clamp(i, low, high);
  };
  const std::int64_t low = by > 0 ? 0 : -1, high = by > 0 ? n : n - 1;
  const std::int64_t begin = start == nullptr || start->get<None>() != nullptr
                                 ? (by > 0 ? low : high)
                                 : inside(bound(start, 0), low, high);
  const std::int64_t end = stop == nullptr || stop->get<None>() != nullptr
                               ? (by > 0 ? high : low)
                               : inside(bound(stop, 0), low, high);
  std::vector<Value> out;
  for (std::int64_t i = begin; by > 0 ? i < end : i > end;) {
    out.push_back(all[static_cast<std::size_t>(i)]);
    if (by > n || by < -n) break;
    i += by;
  }
  if (on.text() == nullptr) return list_value(std::move(out), run, items->kind);
  std::string text;
  for (const Value& c : out) text += *c.text();
  return text_value(std::move(text), run);
}

Value path_of(const Value& on, const std::string& path, Run& run, const Value* otherwise) {
  Value at = on;
  for (std::string_view rest = path;;) {
    const std::size_t dot = std::min(rest.find('.'), rest.size());
    const std::string part(rest.substr(0, dot));
    const bool place = !part.empty() && part.find_first_not_of("0123456789") == part.npos;
    if (place && part.size() > 9) run.refuse("a place in a list is too large");
    at = item_of(at, place ? Value{std::int64_t{std::stoll(part)}} : text_value(part, run), run);
    if (at.undefined() && otherwise != nullptr && otherwise->get<None>() == nullptr)
      at = *otherwise;
    if (dot == rest.size()) return at;
    rest.remove_prefix(dot + 1);
  }
}

}  // namespace wb::speak::jinja
