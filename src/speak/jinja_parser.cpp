// Statements of a chat template: the tags of docs/chat.md and what stands between them.
#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>

#include "speak/jinja_expression_parser.h"

namespace wb::speak::jinja {

namespace {

class Parser : ExpressionParser {
 public:
  Parser(std::vector<Token> tokens, Run& run) : ExpressionParser(std::move(tokens), run) {}

  std::vector<Statement> all() { return body({}); }

 private:
  // Statements up to a tag of one of these names, whose "{%" is taken and whose name is not; or
  // to the end of the template where none is named.
  std::vector<Statement> body(std::initializer_list<std::string_view> ends) {
    const Deeper deeper(depth_, kMaxDepth, run_);
    const int line = line_before();
    std::vector<Statement> out;
    while (true) {
      run_.line = now().line;
      if (now().kind == TokenKind::end) {
        if (ends.size() == 0) return out;
        run_.line = line;
        run_.refuse(fmt::format("the tag \"{}\" of what begins here is missing", *ends.begin()));
      }
      if (now().kind == TokenKind::data) {
        Statement data = statement(StatementKind::data);
        data.text = take().text;
        out.push_back(std::move(data));
      } else if (now().kind == TokenKind::print_begin) {
        Statement print = statement(StatementKind::print);
        take();
        print.value = parse_tuple();
        end_of(TokenKind::print_end, "\"}}\"");
        out.push_back(std::move(print));
      } else {
        take();
        if (now().kind == TokenKind::name &&
            std::find(ends.begin(), ends.end(), now().text) != ends.end()) {
          return out;
        }
        out.push_back(tag());
      }
    }
  }

  Statement statement(StatementKind kind) const {
    Statement made;
    made.kind = kind;
    made.line = now().line;
    return made;
  }
  void end_of(TokenKind kind, std::string_view wanted) {
    if (now().kind != kind) unexpected(wanted);
    take();
  }
  void tag_end() { end_of(TokenKind::tag_end, "\"%}\""); }
  // The name of the tag that ended a body, and its "%}".
  void close() {
    take();
    tag_end();
  }

  Statement tag() {
    if (now().kind != TokenKind::name) unexpected("the name of a tag");
    if (is_name("for")) return loop();
    if (is_name("if")) return branch();
    if (is_name("set")) return set();
    if (is_name("macro")) return macro();
    if (is_name("generation")) {
      Statement group = statement(StatementKind::group);
      close();
      group.body = body({"endgeneration"});
      close();
      return group;
    }
    if (is_name("break") || is_name("continue")) {
      if (loops_ == 0) run_.refuse(fmt::format("\"{}\" stands outside of a loop", now().text));
      Statement made = statement(is_name("break") ? StatementKind::leave : StatementKind::next);
      close();
      return made;
    }
    run_.refuse(fmt::format("the tag \"{}\" is not known here", now().text));
  }

  std::string assignable() {
    static constexpr std::string_view kWords[] = {"true", "false", "none", "True", "False",
                                                  "None", "if",    "else", "and",  "or",
                                                  "not",  "in",    "is"};
    const std::string name = expect_identifier();
    if (std::find(std::begin(kWords), std::end(kWords), name) != std::end(kWords)) {
      run_.refuse(fmt::format("\"{}\" cannot be given a value", name));
    }
    return name;
  }

  std::vector<Target> targets(bool members) {
    std::vector<Target> out;
    const bool bracket = accept_sign("(");
    do {
      if (!out.empty() && (is_name("in") || is_sign("=") || is_sign(")"))) break;
      Target target;
      target.name = assignable();
      if (members && accept_sign(".")) target.member = expect_identifier();
      out.push_back(std::move(target));
    } while (accept_sign(","));
    if (bracket) expect_sign(")");
    return out;
  }

  Statement loop() {
    Statement made = statement(StatementKind::loop);
    take();
    made.targets = targets(false);
    for (const Target& t : made.targets) {
      if (t.name == "loop") run_.refuse("a loop cannot have \"loop\" as its variable");
    }
    if (!accept_name("in")) unexpected("\"in\"");
    made.value = parse_tuple(/*with_condition=*/false);
    if (accept_name("if")) made.test = parse_expression();
    if (is_name("recursive")) run_.refuse("loops that are recursive are not known here");
    tag_end();
    ++loops_;
    made.body = body({"endfor", "else"});
    --loops_;
    if (is_name("else")) {
      close();
      made.otherwise = body({"endfor"});
    }
    close();
    return made;
  }

  Statement branch() {
    Statement made = statement(StatementKind::branch);
    do {
      take();
      ExprPtr test = parse_or();
      tag_end();
      made.branches.emplace_back(std::move(test), body({"endif", "elif", "else"}));
    } while (is_name("elif"));
    if (is_name("else")) {
      close();
      made.otherwise = body({"endif"});
    }
    close();
    return made;
  }

  Statement set() {
    Statement made = statement(StatementKind::set);
    take();
    made.targets = targets(true);
    if (accept_sign("=")) {
      made.value = parse_tuple();
      tag_end();
      return made;
    }
    made.kind = StatementKind::set_block;
    if (made.targets.size() != 1) unexpected("\"=\"");
    made.value = parse_filters(nullptr, /*only_filters=*/true);
    tag_end();
    made.body = inner({"endset"});
    close();
    return made;
  }

  Statement macro() {
    Statement made = statement(StatementKind::macro);
    take();
    made.text = assignable();
    expect_sign("(");
    while (!is_sign(")")) {
      std::string name = assignable();
      ExprPtr otherwise = accept_sign("=") ? parse_expression() : nullptr;
      if (otherwise == nullptr && !made.parameters.empty() && made.parameters.back().second) {
        run_.refuse("a parameter without a value follows one with a value");
      }
      made.parameters.emplace_back(std::move(name), std::move(otherwise));
      if (!accept_sign(",")) break;
    }
    expect_sign(")");
    tag_end();
    made.body = inner({"endmacro"});
    close();
    return made;
  }

  // A body that no loop outside can be left from.
  std::vector<Statement> inner(std::initializer_list<std::string_view> ends) {
    const int outside = std::exchange(loops_, 0);
    std::vector<Statement> out = body(ends);
    loops_ = outside;
    return out;
  }

  int loops_ = 0;
};

}  // namespace

std::vector<Statement> parse_template(std::string_view source, Run& run) {
  std::vector<Token> tokens = cut_into_tokens(source, run);
  run.line = 1;
  return Parser(std::move(tokens), run).all();
}

}  // namespace wb::speak::jinja
