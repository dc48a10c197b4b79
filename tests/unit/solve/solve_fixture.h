// What solve's tests share: a gallery model, the recipe of it with some fields open, and what its
// PyTorch witness said.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "checkpoint/checkpoint.h"
#include "recipe/recipe.h"

namespace wb::test {

inline std::string gallery(const std::string& file) {
  return WB_SOURCE_DIR "/tests/fixtures/gallery/" + file;
}

struct Draft {
  Checkpoint checkpoint;
  std::string text;
  RecipePtr recipe;
  Recognition recognition;
  std::map<std::string, std::string> settings;

  // `name` of the gallery with each text of `changes` replaced in its recipe.
  Draft(const std::string& name, const std::map<std::string, std::string>& changes)
      : checkpoint(open_checkpoint(gallery(name + ".pt"))) {
    std::ifstream file(WB_SOURCE_DIR "/recipes/" + name + ".toml");
    std::ostringstream all;
    all << file.rdbuf();
    text = all.str();
    for (const auto& [old, now] : changes) {
      const std::size_t at = text.find(old);
      EXPECT_NE(at, text.npos) << old;
      if (at != text.npos) text.replace(at, old.size(), now);
    }
    ParsedRecipe parsed = parse_recipe(text, "draft.toml");
    for (const RecipeMistake& m : parsed.mistakes) ADD_FAILURE() << m.line << ": " << m.text;
    recipe = parsed.recipe;
    recognition = recognise(checkpoint, recipe);
  }
};

}  // namespace wb::test
