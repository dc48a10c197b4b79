// The parsed and checked form of a recipe: what check.cpp builds and apply.cpp runs.
// Immutable once built; {block} is already spelled out, once per block.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "recipe/expr.h"
#include "recipe/functions.h"
#include "recipe/recipe.h"

namespace wb {

// A named number (or switch, or word): a dimension or a setting that is asked for.
struct ScalarName {
  std::string name;
  Place place;
  bool ask = false;
  Type type = Type::scalar;  // as far as the recipe tells
};

struct DimRule {
  std::size_t slot;
  ExprPtr expr;
};
struct AskRule {
  std::size_t slot;
  std::string help;
  nlohmann::json default_value;
  std::vector<std::string> from;           // fact keys, first found wins
  ExprPtr minimum, maximum;                // may be null
  std::vector<nlohmann::json> choices;     // empty = any
  std::vector<nlohmann::json> candidates;  // what solve tries first; empty = choices or the range
};
struct IndexRule {
  std::string name;
  Place place;
  ExprPtr count;
};
// One field of ModelSpec.
struct FieldRule {
  std::string path;
  FieldKind kind;
  Place place;
  nlohmann::json literal;      // when there is no expression
  std::vector<ExprPtr> exprs;  // one, or one per element for FieldKind::reals
  bool open = false;           // "?": nobody has said it yet; no literal and no expression
};
struct ShapeRule {
  Pattern source;
  Place place;
  std::vector<ExprPtr> dims;  // null = any
};
struct TensorRule {
  Pattern canonical;   // with its .weight, .bias or other ending
  std::string suffix;  // added to every source name: ".weight", ".bias" or ""
  Place place;
  ExprPtr expr;
};
struct LeftOutRule {
  Pattern source;
  Place place;
  std::string reason;
  ExprPtr check;     // may be null
  bool mtp = false;  // a part of a multi-token layer: CanonicalModel::mtp_aside
};
struct AliasRule {
  Pattern name, of;
  Place place;
};

// A line of [encoded], one per way: names before + {any} + after are what `expr` makes when
// all of its source tensors are there, and the facts that it has no default for. {any} is a star in
// its patterns.
struct EncodedRule {
  std::string before, after;
  Place place;
  ExprPtr expr;
  std::vector<Pattern> needs, facts;
};
// A line of [refuse] or [assert].
struct ConditionRule {
  std::string words, reason;
  Place place;
  std::vector<std::string> variables;  // asked for every combination of their values
  bool early = false;                  // needs no dimension: asked before [dims]
  ExprPtr expr;
};

class Recipe {
 public:
  std::string file, name, title, source;
  std::vector<std::string> files;  // its own, then those that it extends
  std::vector<Pattern> recognise, refuse_if;
  std::vector<ScalarName> scalars;  // slots
  std::vector<DimRule> dims;        // in file order
  std::vector<AskRule> asks;
  std::vector<IndexRule> indices;
  std::vector<FieldRule> model;
  std::vector<ShapeRule> shapes;
  std::vector<TensorRule> tensors;
  std::vector<LeftOutRule> left_out;
  std::vector<AliasRule> aliases;
  std::vector<ConditionRule> refusals, assertions;
  std::vector<EncodedRule> encoded;
  bool always_refused = false;  // a layout that is known, and known not to be convertible
};

}  // namespace wb
