// One application of a recipe to a checkpoint, step by step; recipe.h's apply() is its
// only user. Each step may rely on those before it.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "recipe/eval.h"
#include "recipe/recipe_impl.h"
#include "recipe/source.h"

namespace wb {

class Application {
 public:
  Application(const Recognition& recognition, const Checkpoint& checkpoint);
  CanonicalModel run(const std::map<std::string, std::string>& settings,
                     const Overrides& overrides);
  // questions.cpp: what is left to be said
  std::vector<Question> questions(const std::map<std::string, std::string>& settings);
  ModelSpec stated(const std::map<std::string, std::string>& settings, const Overrides& overrides);

 private:
  // apply.cpp: what the model is
  void settings(const std::map<std::string, std::string>& given, const Overrides& overrides);
  std::vector<nlohmann::json> candidates(const AskRule& ask);
  void refuse_open(const Overrides& overrides) const;
  void refuse_unanswered() const;
  Value setting(const AskRule& ask, const std::map<std::string, std::string>& given,
                std::string& origin) const;
  void check_settings();
  void dims();
  void indices();
  void shapes();
  void check_shape(const ShapeRule& rule, const SourceTensor& tensor);
  void state(const Overrides& overrides);  // the model description, as far as it is said
  void model(const Overrides& overrides);  // and held to be one
  // conditions.cpp
  void refusals(bool early);
  void assertions();
  // account.cpp: what becomes of each tensor
  void tensors();
  void tensor(const TensorRule& rule, const std::string& name);
  void missing() const;
  void account();
  void aliases();
  void left_out();
  void check_left_out(const LeftOutRule& rule, std::size_t source);
  void uncovered() const;

  // Calls use() for every combination of the pattern's index variables, with
  // eval_.indices set.
  template <typename Use>
  void each_index(const Pattern& pattern, const Use& use);
  template <typename Use>
  void each_index(const std::vector<std::string>& variables, std::size_t next, const Use& use);
  // Runs `step`; an error out of it is thrown on with the place in the recipe.
  template <typename Step>
  auto located(Place place, const std::string& subject, const Step& step);
  std::string at_line(Place place) const;
  // "hidden_size = wte.weight[1]" for every name in the expression.
  std::string origins(const Expr& expr) const;

  const Recipe& recipe_;
  const Checkpoint& checkpoint_;
  Source source_;
  Evaluator eval_;
  CanonicalModel model_;
  std::vector<std::string> origins_;  // by slot: how its value was found
  std::vector<CanonicalTensor> canonical_;
  // Canonical names -> canonical_, whose strings they are.
  std::unordered_map<std::string_view, std::size_t> wanted_;
  struct Missing {
    std::string canonical, source;
  };
  std::vector<Missing> missing_;
  struct UsedFor {
    std::uint32_t source, canonical;  // source tensor, index into canonical_
  };
  std::vector<UsedFor> uses_;       // in the order that they were made
  std::vector<AccountLine> lines_;  // by source tensor
  std::vector<bool> settled_;       // by source tensor
};

template <typename Use>
void Application::each_index(const Pattern& pattern, const Use& use) {
  each_index(variables(pattern), 0, use);
}
template <typename Use>
void Application::each_index(const std::vector<std::string>& variables, std::size_t next,
                             const Use& use) {
  if (next == variables.size()) {
    use();
    return;
  }
  std::uint64_t count = eval_.counts.at(variables[next]);
  for (std::uint64_t i = 0; i < count; ++i) {
    eval_.indices[variables[next]] = i;
    each_index(variables, next + 1, use);
  }
  eval_.indices.erase(variables[next]);
}

template <typename Step>
auto Application::located(Place place, const std::string& subject, const Step& step) {
  try {
    return step();
  } catch (const MissingSource& gone) {
    throw Error(Code::tensor_missing, "the recipe needs this tensor for " + subject + " (" +
                                          at_line(place) + "), and the checkpoint does not have it")
        .file(checkpoint_.path)
        .tensor(gone.name)
        .advice(
            "The checkpoint is not whole or not of this layout; `weightbridge inspect` lists "
            "what it holds.");
  } catch (const Error& error) {
    std::string sentence = error.sentence();
    while (!sentence.empty() && sentence.back() == '.') sentence.pop_back();
    throw Error(error.code(), subject + " (" + at_line(place) + "): " + sentence)
        .file(checkpoint_.path)
        .advice(error.advice());
  }
}

}  // namespace wb
