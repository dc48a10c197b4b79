// How values are written: str(), repr() and json.dumps() of Python (jinja_value.h declares them).
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "speak/jinja_text.h"
#include "speak/jinja_value.h"

namespace wb::speak::jinja {

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 64> buffer{};
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                          std::chars_format::scientific);
  WB_CHECK(error == std::errc());
  // [-]d[.ddd]e[+-]dd, the fewest digits that say which number it is.
  std::string_view text(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
  std::string out = text.starts_with('-') ? "-" : "";
  if (text.starts_with('-')) text.remove_prefix(1);
  const std::size_t e = text.find('e');
  std::string digits(text.substr(0, e));
  std::erase(digits, '.');
  int exponent = 0;
  std::string_view written = text.substr(e + 1);
  if (written.starts_with('+')) written.remove_prefix(1);
  std::from_chars(written.data(), written.data() + written.size(), exponent);
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits.substr(0, 1);
    if (count > 1) out += "." + digits.substr(1);
    return out + fmt::format("e{}{:02d}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0)
    return out + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  if (count <= exponent + 1) {
    return out + digits + std::string(static_cast<std::size_t>(exponent + 1 - count), '0') + ".0";
  }
  const std::size_t whole = static_cast<std::size_t>(exponent) + 1;
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

namespace {

// Numbers, None and bools, which print alike; false for anything else.
bool plain_text(const Value& value, std::string& out) {
  if (value.get<None>() != nullptr) {
    out = "None";
  } else if (const bool* b = value.get<bool>()) {
    out = *b ? "True" : "False";
  } else if (const auto* i = value.get<std::int64_t>()) {
    out = std::to_string(*i);
  } else if (const auto* d = value.get<double>()) {
    out = float_repr(*d);
  } else {
    return false;
  }
  return true;
}

void add_repr(const Value& value, std::string& out, Run& run) {
  run.step();
  const std::size_t before = out.size();
  std::string simple;
  if (plain_text(value, simple)) {
    out += simple;
  } else if (const std::string* text = value.text()) {
    out += python_quoted(*text);
  } else if (value.undefined()) {
    out += "Undefined";
  } else if (const Dict* d = value.dict()) {
    out += '{';
    for (const auto& [key, member] : d->members) {
      if (&key != &d->members.front().first) out += ", ";
      add_repr(key, out, run);
      out += ": ";
      add_repr(member, out, run);
    }
    out += '}';
  } else {
    const Items* i = value.items();
    if (i == nullptr || (i->kind != ItemsKind::list && i->kind != ItemsKind::tuple)) {
      run.refuse(fmt::format("a {} is printed; `|list` makes a list of what can be gone through",
                             type_name(value)));
    }
    const bool tuple = i->kind == ItemsKind::tuple;
    out += tuple ? '(' : '[';
    for (std::size_t n = 0; n < i->values.size(); ++n) {
      if (n > 0) out += ", ";
      add_repr(i->values[n], out, run);
    }
    if (tuple && i->values.size() == 1) out += ',';
    out += tuple ? ')' : ']';
  }
  // Members are counted once for each level: enough to stop what doubles with every level.
  run.work(out.size() - before);
}

void add_json_text(std::string_view text, std::string& out) {
  out += '"';
  for (const char c : text) {
    const auto b = static_cast<unsigned char>(c);
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (b < 0x20) {
          out += fmt::format("\\u{:04x}", static_cast<unsigned>(b));
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

// json.dumps with the separators that it has by default.
class JsonWriter {
 public:
  JsonWriter(int indent, Run& run) : indent_(indent), run_(run) {}

  void add(const Value& value, int level) {
    run_.step();
    const std::size_t before = out.size();
    if (value.get<None>() != nullptr) {
      out += "null";
    } else if (const bool* b = value.get<bool>()) {
      out += *b ? "true" : "false";
    } else if (const auto* i = value.get<std::int64_t>()) {
      out += std::to_string(*i);
    } else if (const auto* d = value.get<double>()) {
      out += number(*d);
    } else if (const std::string* text = value.text()) {
      add_json_text(*text, out);
    } else if (const Dict* dict = value.dict()) {
      add_dict(*dict, level);
    } else {
      const Items* items = value.items();
      if (items == nullptr || (items->kind != ItemsKind::list && items->kind != ItemsKind::tuple)) {
        run_.fail(fmt::format("tojson does not know how to write a {}", type_name(value)));
      }
      out += '[';
      for (std::size_t n = 0; n < items->values.size(); ++n) {
        separate(n == 0, level + 1);
        add(items->values[n], level + 1);
      }
      if (!items->values.empty()) line(level);
      out += ']';
    }
    run_.work(out.size() - before);
  }

  std::string out;

 private:
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return float_repr(value);
  }

  void add_dict(const Dict& dict, int level) {
    out += '{';
    for (std::size_t n = 0; n < dict.members.size(); ++n) {
      const auto& [key, member] = dict.members[n];
      separate(n == 0, level + 1);
      if (const std::string* name = key.text()) {
        add_json_text(*name, out);
      } else if (key.get<None>() != nullptr || key.get<bool>() != nullptr ||
                 key.get<std::int64_t>() != nullptr || key.get<double>() != nullptr) {
        out += '"';
        add(key, level);
        out += '"';
      } else {
        run_.fail(fmt::format("tojson does not know how to write a {} as a key", type_name(key)));
      }
      out += ": ";
      add(member, level + 1);
    }
    if (!dict.members.empty()) line(level);
    out += '}';
  }

  void separate(bool first, int level) {
    if (!first) out += indent_ < 0 ? ", " : ",";
    line(level);
  }
  void line(int level) {
    if (indent_ < 0) return;
    run_.work(static_cast<std::size_t>(level), static_cast<std::size_t>(indent_));
    out += '\n';
    out.append(static_cast<std::size_t>(level) * static_cast<std::size_t>(indent_), ' ');
  }

  int indent_;
  Run& run_;
};

}  // namespace

std::string to_repr(const Value& value, Run& run) {
  std::string out;
  add_repr(value, out, run);
  return out;
}

std::string to_text(const Value& value, Run& run) {
  if (const std::string* text = value.text()) {
    run.work(text->size());
    return *text;
  }
  if (value.undefined()) return {};
  return to_repr(value, run);
}

std::string to_json(const Value& value, int indent, Run& run) {
  JsonWriter writer(indent, run);
  writer.add(value, 0);
  return std::move(writer.out);
}

}  // namespace wb::speak::jinja
