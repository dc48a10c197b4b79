// The sections that speak of tensors: [blocks], [shapes], [tensors], [left_out] and
// [alias]. Canonical names are held against the canonical table.
#include <algorithm>

#include "model/canonical.h"
#include "recipe/check.h"

namespace wb {

namespace {

// Where a {block} of the canonical table can stand, anonymous.
const std::vector<std::string>& block_places() {
  static const std::vector<std::string> places = {"layers.{}", "mtp.{}.block"};
  return places;
}

// Every canonical name with its indices blotted out.
const std::set<std::string, std::less<>>& canonical_names() {
  static const std::set<std::string, std::less<>> names = [] {
    std::set<std::string, std::less<>> out;
    for (const CanonicalRow& row : canonical_table()) {
      std::optional<Pattern::Problem> problem;
      Pattern pattern = Pattern::parse(row.pattern, false, problem);
      if (!row.pattern.starts_with("{block}")) {
        out.insert(pattern.anonymous());
        continue;
      }
      for (const std::string& place : block_places()) {
        out.insert(place + pattern.anonymous().substr(2));
      }
    }
    return out;
  }();
  return names;
}

void substitute_block(Expr& expr, const Pattern& block) {
  each_node(expr, [&](Expr& node) { node.pattern = node.pattern.with_block(block); });
}

}  // namespace

void RecipeChecker::once(Seen& seen, const Pattern& pattern, Place place,
                         const std::string& section) {
  auto [begin, end] = seen.equal_range(pattern.anonymous());
  auto met = std::find_if(begin, end,
                          [&](const auto& entry) { return entry.second.first.may_meet(pattern); });
  if (met == end) {
    seen.emplace(pattern.anonymous(), std::pair(pattern, place));
    return;
  }
  Place first = met->second.second;
  if (comes_before(place, first)) std::swap(first, place);
  mistake(place, "'" + pattern.text() + "' is already given in " + line_of(first, place) + " of [" +
                     section + "]");
}

template <typename Use>
void RecipeChecker::each_block(const Pattern& pattern, Place place, bool canonical_side,
                               const Use& use) {
  std::vector<std::string> captures = pattern.captures();
  if (std::find(captures.begin(), captures.end(), "block") == captures.end()) {
    use(pattern, nullptr);
    return;
  }
  if (blocks_.empty()) {
    mistake(place, "{block} stands for the blocks that [blocks] lists, but it lists none");
  }
  for (const Block& block : blocks_) {
    use(pattern.with_block(canonical_side ? block.canonical : block.source), &block.source);
  }
}

void RecipeChecker::blocks() {
  const DocValue* table = section("blocks", false, "");
  if (table == nullptr) return;
  Seen seen;
  for (const Member& member : table->members) {
    const std::string* source = text(member);
    Block block;
    block.place = member.place;
    block.canonical = parse_name(member.key, member.place, false, mistakes_);
    checker_.check_captures(block.canonical, member.place);
    checker_.no_computed(block.canonical, member.place, "a canonical name");
    const auto& places = block_places();
    if (std::find(places.begin(), places.end(), block.canonical.anonymous()) == places.end()) {
      mistake(member.place, "'" + member.key +
                                "' is no block of the canonical model; its blocks "
                                "are layers.{l} and mtp.{m}.block");
      continue;
    }
    if (source == nullptr) continue;
    once(seen, block.canonical, member.place, "blocks");
    block.source = parse_name(*source, member.value.place, false, mistakes_);
    checker_.check_captures(block.source, member.value.place);
    for (const std::string& capture : variables(block.source)) {
      auto own = block.canonical.captures();
      if (std::find(own.begin(), own.end(), capture) == own.end()) {
        mistake(member.value.place, "{" + capture + "} is not in '" + member.key + "'");
      }
    }
    blocks_.push_back(std::move(block));
  }
}

void RecipeChecker::shapes() {
  const DocValue* table = section("shapes", false, "");
  if (table == nullptr) return;
  Seen seen;
  for (const Member& member : table->members) {
    Pattern pattern = parse_name(member.key, member.place, false, mistakes_);
    if (member.value.kind != ValueKind::array) {
      mistake(member.value.place, "a shape is a list of dimensions, e.g. [\"hidden_size\"], not " +
                                      std::string(in_words(member.value.kind)));
      continue;
    }
    each_block(pattern, member.place, false, [&](const Pattern& source, const Pattern* block) {
      checker_.check_captures(source, member.place);
      once(seen, source, member.place, "shapes");
      ShapeRule rule{source, member.place, {}};
      ExprContext context;
      for (const std::string& capture : variables(source)) context.bound.insert(capture);
      for (const DocValue& item : member.value.items) {
        bool any = item.kind == ValueKind::text && item.text == "*";
        ExprPtr dim = any ? nullptr : expression(item);
        if (dim != nullptr) {
          if (block != nullptr) substitute_block(*dim, *block);
          checker_.check(*dim, Type::number, context);
        }
        rule.dims.push_back(std::move(dim));
      }
      recipe_->shapes.push_back(std::move(rule));
    });
  }
}

void RecipeChecker::tensors() {
  const DocValue* table =
      section("tensors", !recipe_->always_refused, "how each canonical tensor is made");
  if (table == nullptr) return;
  for (const Member& member : table->members) {
    Pattern pattern = parse_name(member.key, member.place, false, mistakes_);
    if (text(member) == nullptr) continue;
    ExprPtr parsed = parse_expr(member.value, mistakes_);
    each_block(pattern, member.place, true, [&](const Pattern& canonical, const Pattern* block) {
      tensor(member, canonical, parsed == nullptr ? nullptr : parsed->clone(), block);
    });
  }
}

void RecipeChecker::tensor(const Member& member, const Pattern& canonical, ExprPtr expr,
                           const Pattern* block) {
  checker_.check_captures(canonical, member.place);
  checker_.no_computed(canonical, member.place, "a canonical name");
  const auto& known = canonical_names();
  std::vector<std::string> suffixes;
  for (const char* suffix : {"", ".weight", ".bias"}) {
    if (known.count(canonical.with_suffix(suffix).anonymous()) != 0) suffixes.push_back(suffix);
  }
  // "norm" is a module, "norm.weight" a tensor; a name that is both is the tensor.
  if (suffixes.size() > 1 && suffixes[0].empty()) suffixes.resize(1);
  if (suffixes.empty()) {
    std::vector<std::string_view> names(known.begin(), known.end());
    mistake(member.place, "the canonical model has no tensor '" + member.key + "'" +
                              did_you_mean(canonical.anonymous(), names));
  }
  for (const std::string& suffix : suffixes) {
    once(canonical_seen_, canonical.with_suffix(suffix), member.place, "tensors");
  }
  if (expr == nullptr) return;
  if (block != nullptr) substitute_block(*expr, *block);
  ExprContext context;
  for (const std::string& capture : canonical.captures()) context.bound.insert(capture);
  checker_.forget_seen();
  checker_.check(*expr, Type::tensor, context);
  for (const std::string& capture : canonical.captures()) {
    if (names_.variables.count(capture) == 0 || checker_.seen_variables().count(capture) != 0 ||
        !checker_.seen_source()) {
      continue;
    }
    mistake(member.value.place, "{" + capture +
                                    "} is in the name on the left but not in the "
                                    "expression; every(" +
                                    capture +
                                    ", ...) says that the same "
                                    "tensor is meant each time");
  }
  for (const std::string& suffix : suffixes) {
    ExprPtr own = expr->clone();
    // A clone is unresolved; names were found good above, so this adds no mistake.
    std::size_t before = mistakes_.size();
    checker_.check(*own, Type::tensor, context);
    mistakes_.resize(before);
    recipe_->tensors.push_back(
        {canonical.with_suffix(suffix), suffix, member.place, std::move(own)});
  }
}

void RecipeChecker::encoded() {
  const DocValue* table = section("encoded", false, "");
  if (table == nullptr) return;
  Seen seen;
  for (const Member& member : table->members) {
    Pattern name = parse_name(member.key, member.place, false, mistakes_);
    auto is_any = [](const Pattern::Part& part) {
      return part.kind == Pattern::Kind::capture && part.text == "any";
    };
    bool others = name.has_computed() || name.captures() != std::vector<std::string>{"any"};
    if (others || std::count_if(name.parts.begin(), name.parts.end(), is_any) != 1) {
      mistake(member.place,
              "the name of a line of [encoded] has {any} once and no index variable, "
              "e.g. \"{any}.weight\"");
      continue;
    }
    once(seen, name, member.place, "encoded");
    if (member.value.kind != ValueKind::array) {
      encoded_line(member, name, member.value);
      continue;
    }
    for (const DocValue& way : member.value.items) encoded_line(member, name, way);
  }
}

void RecipeChecker::encoded_line(const Member& member, const Pattern& name, const DocValue& way) {
  static const Pattern star{{{Pattern::Kind::star, "*"}}};
  if (way.kind != ValueKind::text) {
    mistake(way.place, "an expression (a string) or a list of them should stand here, not " +
                           std::string(in_words(way.kind)));
    return;
  }
  EncodedRule rule;
  rule.place = member.place;
  std::string text = name.text();
  rule.before = text.substr(0, text.find("{any}"));
  rule.after = text.substr(text.find("{any}") + 5);
  rule.expr = parse_expr(way, mistakes_);
  if (rule.expr == nullptr) return;
  each_node(*rule.expr, [&](Expr& node) { node.pattern = node.pattern.with_block(star, "any"); });
  checker_.check(*rule.expr, Type::tensor, {});
  bool any = false;
  each_node(*rule.expr, [&](Expr& node) {
    const bool fact = node.function != nullptr && node.function->fn == Fn::fact;
    if (fact && node.args.size() == 1) rule.facts.push_back(node.args[0]->pattern);
    if (node.use != Expr::Use::source) return;
    rule.needs.push_back(node.pattern);
    any |= node.pattern.has_star();
  });
  if (!any) {
    mistake(way.place, "the expression has no source tensor with {any} in its name");
  }
  recipe_->encoded.push_back(std::move(rule));
}

void RecipeChecker::left_out() {
  const DocValue* table = section("left_out", false, "");
  if (table == nullptr) return;
  Seen seen;
  for (const Member& member : table->members) {
    Pattern pattern = parse_name(member.key, member.place, true, mistakes_);
    each_block(pattern, member.place, false, [&](const Pattern& source, const Pattern* block) {
      once(seen, source, member.place, "left_out");
      left_out_line(member, source, block);
    });
  }
}

void RecipeChecker::left_out_line(const Member& member, const Pattern& source,
                                  const Pattern* block) {
  checker_.check_captures(source, member.place);
  LeftOutRule rule{source, member.place, {}, nullptr, false};
  if (member.value.kind == ValueKind::text) {
    rule.reason = member.value.text;
  } else if (member.value.kind == ValueKind::table) {
    only_keys(member.value, {"reason", "check", "mtp"}, "a line of [left_out]");
    for (const Member& item : member.value.members) {
      if (item.key == "mtp") {
        rule.mtp = item.value.boolean;
        if (item.value.kind != ValueKind::boolean) {
          mistake(item.value.place, "'mtp' takes true or false");
        }
        continue;
      }
      const std::string* value = text(item);
      if (value == nullptr) continue;
      if (item.key == "reason") rule.reason = *value;
      if (item.key != "check") continue;
      rule.check = parse_expr(item.value, mistakes_);
      if (rule.check == nullptr) continue;
      if (block != nullptr) substitute_block(*rule.check, *block);
      ExprContext context;
      context.subject = true;
      for (const std::string& capture : variables(source)) context.bound.insert(capture);
      checker_.check(*rule.check, Type::boolean, context);
    }
  } else {
    mistake(member.value.place,
            "a reason (a string) or { reason = ..., check = ... } should stand "
            "here, not " +
                std::string(in_words(member.value.kind)));
    return;
  }
  if (rule.reason.empty()) {
    mistake(member.value.place, "why '" + member.key + "' is left out is missing");
  }
  recipe_->left_out.push_back(std::move(rule));
}

void RecipeChecker::aliases() {
  const DocValue* table = section("alias", false, "");
  if (table == nullptr) return;
  Seen seen;
  for (const Member& member : table->members) {
    const std::string* of = text(member);
    if (of == nullptr) continue;
    AliasRule rule;
    rule.place = member.place;
    rule.name = parse_name(member.key, member.place, false, mistakes_);
    rule.of = parse_name(*of, member.value.place, false, mistakes_);
    checker_.check_captures(rule.name, member.place);
    checker_.check_captures(rule.of, member.value.place);
    auto own = variables(rule.name);
    for (const std::string& capture : variables(rule.of)) {
      if (std::find(own.begin(), own.end(), capture) == own.end()) {
        mistake(member.value.place, "{" + capture + "} is not in '" + member.key + "'");
      }
    }
    once(seen, rule.name, member.place, "alias");
    recipe_->aliases.push_back(std::move(rule));
  }
}

}  // namespace wb
