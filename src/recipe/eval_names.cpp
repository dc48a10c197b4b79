// What the names in an expression stand for in one checkpoint: source tensors, as they are stored
// or by a line of [encoded], the indices that their names count, and values beside them; see
// eval.h. Refuses indices with gaps, and values that are no scalars.
#include <algorithm>
#include <charconv>

#include "recipe/eval.h"

namespace wb {

namespace {

// The member of an object, or the element of a list by its number; nullptr when there is none.
const nlohmann::json* inner(const nlohmann::json& of, const std::string& key) {
  if (of.is_object()) {
    auto it = of.find(key);
    return it != of.end() ? &*it : nullptr;
  }
  std::size_t i = 0;
  auto [stop, error] = std::from_chars(key.data(), key.data() + key.size(), i);
  bool number = of.is_array() && error == std::errc{} && stop == key.data() + key.size();
  return number && i < of.size() ? &of[i] : nullptr;
}

}  // namespace

std::string Evaluator::expand(const Pattern& pattern) {
  if (!pattern.has_computed() && any_ == nullptr) return pattern.expand(indices);
  return filled(pattern).expand(indices);
}

Pattern Evaluator::filled(const Pattern& pattern) {
  Pattern out;
  for (const Pattern::Part& part : pattern.parts) {
    auto literal = [&](const std::string& text) {
      out.parts.push_back({Pattern::Kind::literal, text});
    };
    auto it = indices.find(part.text);
    if (part.kind == Pattern::Kind::computed) {
      literal(std::to_string(size(*part.computed)));
    } else if (part.kind == Pattern::Kind::star && any_ != nullptr) {
      literal(*any_);
    } else if (part.kind == Pattern::Kind::capture && it != indices.end()) {
      literal(std::to_string(it->second));
    } else {
      out.parts.push_back(part);
    }
  }
  return out;
}

const Expr* Evaluator::encoding(const std::string& name, std::string& any) {
  for (const EncodedRule& rule : recipe_.encoded) {
    std::size_t around = rule.before.size() + rule.after.size();
    if (name.size() <= around || !name.starts_with(rule.before) || !name.ends_with(rule.after)) {
      continue;
    }
    any = name.substr(rule.before.size(), name.size() - around);
    any_ = &any;
    bool whole = std::all_of(rule.needs.begin(), rule.needs.end(), [&](const Pattern& source) {
      return source_.find(expand(source)) != Source::kNone;
    });
    whole = whole && std::all_of(rule.facts.begin(), rule.facts.end(),
                                 [&](const Pattern& path) { return fact(path) != nullptr; });
    any_ = nullptr;
    if (whole) return rule.expr.get();
  }
  return nullptr;
}

Tensor Evaluator::read(const std::string& name) {
  std::string any;
  const Expr* encoded = any_ == nullptr ? encoding(name, any) : nullptr;
  if (encoded == nullptr) {
    std::size_t i = source_.find(name);
    if (i == Source::kNone) throw MissingSource{name};
    used.push_back(i);
    return source_.tensor(i).tensor;
  }
  any_ = &any;
  std::string outer;
  std::swap(outer, suffix);
  Tensor out = tensor(*encoded);
  std::swap(outer, suffix);
  any_ = nullptr;
  return out;
}

std::string Evaluator::found_name(const Expr& expr) { return expand(expr.pattern) + suffix; }

std::size_t Evaluator::source_index(const Expr& expr) {
  std::string name = found_name(expr);
  std::size_t i = source_.find(name);
  if (i == Source::kNone) throw MissingSource{std::move(name)};
  return i;
}

Value Evaluator::name(const Expr& expr) {
  switch (expr.use) {
    case Expr::Use::symbol:
      return expr.name;
    case Expr::Use::scalar:
      WB_CHECK(expr.slot < scalars.size());
      return scalars[expr.slot];
    case Expr::Use::variable: {
      auto it = indices.find(expr.name);
      WB_CHECK(it != indices.end());
      return static_cast<std::int64_t>(it->second);
    }
    case Expr::Use::subject:
      WB_CHECK(subject != nullptr);
      return *subject;
    case Expr::Use::source:
      return read(found_name(expr));
    case Expr::Use::unresolved:
      break;
  }
  WB_BUG("an expression that was not checked");
}

Value Evaluator::count(const Expr& expr, bool first) {
  // Bound variables are filled in; the checker left exactly one free.
  Pattern pattern = filled(expr.args[0]->pattern);
  std::string variable = pattern.captures().at(0);
  const std::set<std::uint64_t>& found = source_.indices(pattern, variable);
  if (first) {
    if (found.empty()) throw MissingSource{pattern.text()};
    return static_cast<std::int64_t>(*found.begin());
  }
  std::uint64_t next = 0;
  for (std::uint64_t i : found) {
    if (i != next) {
      throw Error(Code::dimension_mismatch, "the indices {" + variable + "} of " + pattern.text() +
                                                " should run from 0 " + "without a gap, but " +
                                                std::to_string(next) + " is missing and " +
                                                std::to_string(i) + " is there")
          .expected(std::to_string(next))
          .actual(std::to_string(i))
          .advice("The checkpoint is not whole; get all of its parts.");
    }
    ++next;
  }
  return static_cast<std::int64_t>(next);
}

const nlohmann::json* Evaluator::fact(const Pattern& path) {
  if (any_ == nullptr || !path.has_star()) return source_.facts().at(expand(path));
  const std::string* any = any_;
  const nlohmann::json* found = nullptr;
  for (const std::string& name : source_.wrapped(*any)) {
    any_ = &name;
    found = source_.facts().at(expand(path));
    if (found != nullptr) break;
  }
  any_ = any;
  return found;
}

Value Evaluator::lookup(const Expr& expr) {
  const std::string key = expand(expr.args[0]->pattern);
  const nlohmann::json* at = nullptr;
  if (expr.function->fn == Fn::fact) {
    at = fact(expr.args[0]->pattern);
  } else if (source_.checkpoint().config) {
    // Dots lead into nested objects.
    at = &*source_.checkpoint().config;
    for (std::size_t i = 0; at != nullptr && i <= key.size();) {
      std::size_t end = std::min(key.find('.', i), key.size());
      at = inner(*at, key.substr(i, end - i));
      i = end + 1;
    }
  }
  if (at != nullptr && !at->is_null()) {
    if (std::optional<Value> value = from_json(*at)) return *value;
    throw Error(Code::config_invalid, "the value of " + key +
                                          " is not a number, a word, true or "
                                          "false, or a list of numbers")
        .actual(at->dump().substr(0, 80))
        .advice("Correct it, or remove it so that the recipe's default holds.");
  }
  if (expr.args.size() > 1) return eval(*expr.args[1]);
  throw Error(Code::config_invalid,
              "the recipe needs the value of " + key + ", which stands " +
                  (expr.function->fn == Fn::fact ? "beside the tensors" : "in config.json"))
      .expected(key)
      .actual("nothing")
      .advice("Put the value there, or give the recipe's function a default.");
}

}  // namespace wb
