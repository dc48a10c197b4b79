// See jinja_interpreter.h: scopes and statements. Expressions are in jinja_evaluate.cpp.
#include "speak/jinja_interpreter.h"

#include <fmt/format.h>

#include <algorithm>

#include "speak/jinja_functions.h"

namespace wb::speak::jinja {

std::string Interpreter::render(const std::vector<Statement>& body) {
  run_all(body);
  return std::move(out_);
}

Interpreter::Flow Interpreter::run_all(const std::vector<Statement>& body) {
  for (const Statement& s : body) {
    if (const Flow flow = run_one(s); flow != Flow::on) return flow;
  }
  return Flow::on;
}

Interpreter::Flow Interpreter::run_one(const Statement& s) {
  const Deeper deeper(depth_, kMaxRunDepth, run_);
  run_.line = s.line;
  run_.step();
  switch (s.kind) {
    case StatementKind::data:
      write(s.text);
      break;
    case StatementKind::print:
      write(to_text(value_of(*s.value), run_));
      break;
    case StatementKind::loop:
      return run_loop(s);
    case StatementKind::branch:
      return run_branch(s);
    case StatementKind::set:
      if (s.targets.size() == 1) {
        assign(s.targets[0], value_of(*s.value));
      } else {
        assign_all(s.targets, value_of(*s.value));
      }
      break;
    case StatementKind::set_block:
      run_set_block(s);
      break;
    case StatementKind::macro:
      define(s);
      break;
    case StatementKind::leave:
      return Flow::leave;
    case StatementKind::next:
      return Flow::next;
    case StatementKind::group: {
      scopes_.emplace_back();
      const Flow flow = run_all(s.body);
      scopes_.pop_back();
      return flow;
    }
  }
  return Flow::on;
}

Interpreter::Flow Interpreter::run_branch(const Statement& s) {
  for (const auto& [test, body] : s.branches) {
    if (truth(value_of(*test))) return run_all(body);
  }
  return run_all(s.otherwise);
}

Interpreter::Flow Interpreter::run_loop(const Statement& s) {
  auto values = std::make_shared<std::vector<Value>>(iterate(value_of(*s.value), run_));
  const auto bind = [&](const Value& value) {
    scopes_.emplace_back();
    run_.step();
    if (s.targets.size() == 1) {
      assign(s.targets[0], value);
    } else {
      assign_all(s.targets, value);
    }
  };
  if (s.test != nullptr) {
    std::erase_if(*values, [&](const Value& value) {
      bind(value);
      const bool wanted = truth(value_of(*s.test));
      scopes_.pop_back();
      return !wanted;
    });
  }
  if (values->empty()) return run_all(s.otherwise);
  for (std::size_t i = 0; i < values->size(); ++i) {
    bind((*values)[i]);
    store(scopes_.back(), "loop", {std::make_shared<const Loop>(Loop{values, i})});
    const Flow flow = run_all(s.body);
    scopes_.pop_back();
    if (flow == Flow::leave) break;
  }
  return Flow::on;
}

void Interpreter::run_set_block(const Statement& s) {
  std::string outside = std::exchange(out_, {});
  scopes_.emplace_back();
  run_all(s.body);
  scopes_.pop_back();
  Value made = text_value(std::exchange(out_, std::move(outside)), run_);
  if (s.value != nullptr) made = filters(*s.value, made);
  assign(s.targets[0], std::move(made));
}

void Interpreter::define(const Statement& s) {
  if (scopes_.size() != 1) run_.refuse("macros are known at the outermost level only");
  store(scopes_.back(), s.text, {MacroRef{&s}});
}

void Interpreter::write(std::string_view text) {
  if (text.size() > kMaxOutput - out_.size()) run_.over("bytes of a rendered text", kMaxOutput);
  run_.work(text.size());
  out_ += text;
}

void Interpreter::store(Scope& scope, const std::string& name, Value value) {
  for (auto& [own, old] : scope) {
    run_.step();
    if (own != name) continue;
    old = std::move(value);
    return;
  }
  scope.emplace_back(name, std::move(value));
}

void Interpreter::assign(const Target& target, Value value) {
  if (target.member.empty()) return store(scopes_.back(), target.name, std::move(value));
  const Value holder = lookup(target.name);
  const auto* space = holder.get<NamespaceRef>();
  if (space == nullptr) run_.fail(fmt::format("\"{}\" is no namespace", target.name));
  member_depth(value, run_);
  if (Value* old = (*space)->find(target.member)) {
    *old = std::move(value);
  } else {
    (*space)->members.emplace_back(target.member, std::move(value));
  }
}

void Interpreter::assign_all(const std::vector<Target>& targets, const Value& value) {
  if (value.undefined()) undefined_used(value, run_);
  std::vector<Value> parts = iterate(value, run_);
  if (parts.size() != targets.size()) {
    run_.fail(fmt::format("{} values are given to {} names", parts.size(), targets.size()));
  }
  for (std::size_t i = 0; i < parts.size(); ++i) assign(targets[i], std::move(parts[i]));
}

}  // namespace wb::speak::jinja
