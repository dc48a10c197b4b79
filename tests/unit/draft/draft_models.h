// Small checkpoints of unknown layouts, made in memory, and what a draft says of them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "draft/draft.h"
#include "recipe/recipe.h"
#include "unit/recipe/reference_layout.h"

namespace wb::draft {

using test::CheckpointMaker;

struct Named {
  std::string name;
  Shape shape;
};

// A model of width 24 with two layers; `layer` lists what a layer holds.
inline Checkpoint model(const std::vector<Named>& layer, const std::string& prefix = "",
                        const std::vector<Named>& more = {}) {
  CheckpointMaker maker;
  const auto add = [&](const std::string& name, const Shape& shape) {
    maker.add(name, shape, [name](std::uint64_t i) { return test::element(name, i); });
  };
  add(prefix + "embed.weight", {40, 24});
  add(prefix + "norm.weight", {24});
  for (int l = 0; l < 2; ++l) {
    for (const Named& n : layer)
      add(prefix + "blocks." + std::to_string(l) + "." + n.name, n.shape);
  }
  for (const Named& n : more) add(n.name, n.shape);
  return maker.make();
}

inline std::vector<Named> with(std::vector<Named> base, const std::vector<Named>& more) {
  base.insert(base.end(), more.begin(), more.end());
  return base;
}
inline const std::vector<Named> kNorms = {{"attn_norm.weight", {24}}, {"mlp_norm.weight", {24}}};
inline const std::vector<Named> kLatent = {
    {"attn.wq.weight", {36, 24}},   {"attn.w_dkv.weight", {10, 24}}, {"attn.w_uk.weight", {24, 10}},
    {"attn.w_uv.weight", {24, 10}}, {"attn.w_kr.weight", {4, 24}},   {"attn.wo.weight", {24, 24}}};
inline const std::vector<Named> kMlp = {{"mlp.gate_proj.weight", {50, 24}},
                                        {"mlp.up_proj.weight", {50, 24}},
                                        {"mlp.down_proj.weight", {24, 50}}};

inline std::string role(const Draft& d, const std::string& pattern) {
  for (const DraftGroup& g : d.groups) {
    if (g.pattern == pattern) return g.role;
  }
  return "no such group";
}
inline const Question* question(const Draft& d, const std::string& key) {
  auto it = std::find_if(d.questions.begin(), d.questions.end(),
                         [&](const Question& q) { return q.key == key; });
  return it == d.questions.end() ? nullptr : &*it;
}
inline std::uint64_t dim(const Draft& d, const std::string& name) {
  for (const auto& [key, value] : d.dims) {
    if (key == name) return value;
  }
  return 0;
}
// Drafts, and holds the recipe to being one.
inline Draft drafted(const Checkpoint& checkpoint, const DraftOptions& options = {}) {
  Draft d = draft_recipe(checkpoint, "mine", options);
  ParsedRecipe parsed = parse_recipe(d.toml, "mine.toml");
  for (const RecipeMistake& m : parsed.mistakes) {
    ADD_FAILURE() << m.line << ":" << m.column << ": " << m.text << "\n" << d.toml;
  }
  return d;
}

// The draft applied, with the first likely value for each open field and `settings` for the rest.
inline CanonicalModel answered(const Checkpoint& checkpoint, const Draft& d,
                               const std::map<std::string, std::string>& settings) {
  ParsedRecipe parsed = parse_recipe(d.toml, "mine.toml");
  Overrides fields;
  for (const Question& q : d.questions) {
    if (!q.field) continue;
    nlohmann::json value =
        nlohmann::json::parse(q.values.at(0).substr(0, q.values[0].find(' ')), nullptr, false);
    fields.fields[q.key] = value.is_discarded() ? nlohmann::json(q.values[0]) : value;
  }
  return apply(recognise(checkpoint, parsed.recipe), checkpoint, settings, fields);
}
// The checkpoint with more tensors, in order of name as the reader gives them.
inline Checkpoint and_also(Checkpoint base, const std::vector<SourceTensor>& more) {
  base.tensors.insert(base.tensors.end(), more.begin(), more.end());
  std::sort(base.tensors.begin(), base.tensors.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return base;
}
// Frequencies for `width` rotated rows.
inline SourceTensor frequencies(std::uint64_t width, double base = 10000.0) {
  return CheckpointMaker()
      .add("rope.inv_freq", {width / 2},
           [=](std::uint64_t j) {
             return static_cast<float>(std::pow(base, -2.0 * double(j) / double(width)));
           })
      .make()
      .tensors[0];
}

}  // namespace wb::draft
