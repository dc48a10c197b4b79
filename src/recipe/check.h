// From a TOML tree to a Recipe: every section's keys, types, names and expressions are
// held against what the language and the model have. Reports all mistakes, not the
// first; the recipe is only good when there are none.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "recipe/check_expr.h"
#include "recipe/document.h"
#include "recipe/recipe_impl.h"

namespace wb {

class RecipeChecker {
 public:
  RecipeChecker(const DocValue& root, const std::vector<std::string>& files,
                std::vector<RecipeMistake>& mistakes);
  std::shared_ptr<Recipe> run();

 private:
  struct Block {
    Pattern canonical, source;
    Place place;
  };

  // check.cpp: the small sections
  void head();
  void patterns(const char* key, std::vector<Pattern>& into);
  void declare();  // every name of [ask], [dims] and [index], before any expression
  void declare_scalar(const Member& member, bool ask, Type type);
  void ask(const Member& member, std::size_t slot);
  void dims();
  void indices();
  void unused();
  // conditions.cpp
  bool always_refused() const;
  void conditions(const char* key, std::vector<ConditionRule>& into);
  // check_model.cpp
  void model();
  void model_table(const DocValue& table, const std::string& prefix);
  void model_field(const Member& member, const FieldInfo& field);
  // check_tensors.cpp
  void blocks();
  void shapes();
  void tensors();
  void tensor(const Member& member, const Pattern& canonical, ExprPtr expr, const Pattern* block);
  void encoded();
  void encoded_line(const Member& member, const Pattern& name, const DocValue& way);
  void left_out();
  void left_out_line(const Member& member, const Pattern& source, const Pattern* block);
  void aliases();
  // The pattern with {block} spelled out, for each block; the pattern itself without one.
  template <typename Use>
  void each_block(const Pattern& pattern, Place place, bool canonical_side, const Use& use);
  // What has been given, by anonymous text.
  using Seen = std::multimap<std::string, std::pair<Pattern, Place>>;
  void once(Seen& seen, const Pattern& pattern, Place place, const std::string& section);

  // The table at `key`, or nullptr: absent, or not a table (a mistake).
  const DocValue* section(const char* key, bool required, const char* why);
  const std::string* text(const Member& member);
  void only_keys(const DocValue& table, const std::vector<std::string_view>& known,
                 const std::string& where);
  // An expression from a string, or a literal number or boolean; nullptr on a mistake.
  ExprPtr expression(const DocValue& value);
  // What is extended comes before what extends it.
  static bool comes_before(Place a, Place b);
  // "line 7", with the file when it is not that of `here`.
  std::string line_of(Place place, Place here) const;
  void mistake(Place place, std::string what) { checker_.mistake(place, std::move(what)); }

  const DocValue& root_;
  const std::vector<std::string>& files_;
  std::vector<RecipeMistake>& mistakes_;
  Names names_;
  ExprChecker checker_;
  std::shared_ptr<Recipe> recipe_ = std::make_shared<Recipe>();
  std::vector<Block> blocks_;
  Seen canonical_seen_;
  std::set<std::string> fields_seen_;
};

}  // namespace wb
