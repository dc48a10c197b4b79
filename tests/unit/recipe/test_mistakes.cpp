// The checker: every mistake of a broken recipe at once, at its line and column.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "model/canonical.h"
#include "recipe/functions.h"
#include "recipe/recipe.h"
#include "recipe/shipped.h"

namespace wb {
namespace {

using testing::HasSubstr;

std::string printed(const std::vector<RecipeMistake>& mistakes) {
  std::string out;
  for (const RecipeMistake& m : mistakes) {
    out += std::to_string(m.line) + ":" + std::to_string(m.column) + ": " + m.text + "\n";
  }
  return out;
}

// The smallest recipe that is good, with a section added or a line put in place of one.
std::string small(const std::string& tensors = "", const std::string& dims = "",
                  const std::string& rest = "") {
  return "name = \"small\"\n"                                          // 1
         "recognise = [\"emb.weight\"]\n"                              // 2
         "[index]\nl = \"count(h.{l}.w)\"\n"                           // 4
         "[model]\nvocab_size = \"emb.weight[0]\"\nhidden_size = 4\n"  // 7
         "num_hidden_layers = \"count(h.{l}.w)\"\n"                    // 8
         "attention = { num_attention_heads = 1 }\n"                   // 9
         "[tensors]\n\"embed\" = \"emb\"\n" +                          // 11
         tensors +
         "\n[dims]\nwidth = \"emb.weight[1]\"\n" + dims + "\n" + rest;  // 12, 14, 15
}

std::string only_mistake(const std::string& toml, unsigned line) {
  ParsedRecipe parsed = parse_recipe(toml, "r.toml");
  EXPECT_EQ(parsed.mistakes.size(), 1u) << printed(parsed.mistakes);
  EXPECT_EQ(parsed.recipe, nullptr);
  if (parsed.mistakes.empty()) return "";
  EXPECT_EQ(parsed.mistakes[0].line, line) << printed(parsed.mistakes);
  return parsed.mistakes[0].text;
}

TEST(Mistakes, TheSmallRecipeHasNone) {
  ParsedRecipe parsed = parse_recipe(small(), "r.toml");
  EXPECT_EQ(printed(parsed.mistakes), "");
  ASSERT_NE(parsed.recipe, nullptr);
  EXPECT_EQ(summary(*parsed.recipe).name, "small");
  EXPECT_EQ(summary(*parsed.recipe).file, "r.toml");
}

TEST(Mistakes, AllOfABrokenRecipeAtTheirLines) {
  const char* text = R"toml(name = 3
titel = "x"
recognise = ["h.{q}.w", 7]

[index]
l = "count(h.{l}.w)"
z = 3

[dims]
width = "emb.weight[1] +"
early = "later * 2"
later = "emb.weight[0]"
wrong = "widht / 2"
tensor = "emb.weight"
args = "min(2)"
nofn = "maximum(1, 2)"

[ask.topk]
default = "two"
min = 1
hint = "x"

[model]
vocab_size = "later"
hidden_sise = 4
num_hidden_layers = -1
norm = { kind = "rmsnorm" }
rope = "half_split"
positions = "if(has(wpe.weight), learned, nonne)"
attention = { num_attention_heads = true }

[blocks]
"layer.{l}" = "h.{l}"
"layers.{l}" = "h.{l}"

[shapes]
"h.{l}.w" = "later"

[tensors]
"embed" = "emb.rehsape(2)"
"embed.weight" = "emb.weight"
"layers.{l}.attn.q_nop" = "h.{l}.q"
"layers.{l}.attn.o" = "h.0.o"
"layers.{l}.attn.v" = "h.{l}.e.{e}.v"
"{block}.attn.kv_norm" = "{block}.norm.cast(f23)"

[left_out]
"mask" = 3
"mask.{l}" = { reason = "r", check = "equal(this)" }

[alias]
"a.{l}" = "b.{z}"
)toml";
  struct Expected {
    unsigned line;
    std::string text;
  };
  const std::vector<Expected> expected = {
      {1, "name should be a string, not a whole number"},
      {2, "no key 'titel'; did you mean 'title'?"},
      {3, "no index variable is called {q}"},
      {3, "a name should stand here, not a whole number"},
      {3, "at least one name without {variables}"},
      {10, "a value is missing at the end of the expression"},
      {11, "'later' is used before it is defined (line 12)"},
      {13, "no dimension or setting is called 'widht'; did you mean 'width'?"},
      {14, "'emb.weight' is a tensor, but a number, true or false, or a word is called for"},
      {15, "'min' takes min(a, b, ...), but 1 argument is given"},
      {16, "no function is called 'maximum'"},
      {18, "[ask.topk] lacks the key help"},
      {18, "'topk' is asked for but nothing uses it"},
      {20, "min is for numbers"},
      {21, "has no key 'hint'"},
      {23, "[model] lacks the field hidden_size"},
      {25, "no field 'hidden_sise'; did you mean 'hidden_size'?"},
      {26, "the field num_hidden_layers is a whole number"},
      {27, "'rmsnorm' is none of none, rms, layer"},
      {28, "'rope' is a group of fields"},
      {29, "'nonne' is none of none, learned; did you mean 'none'?"},
      {30, "the field attention.num_attention_heads is a whole number"},
      {33, "'layer.{l}' is no block of the canonical model"},
      {37, "a shape is a list of dimensions"},
      {40, "no method is called 'rehsape'; did you mean 'reshape'?"},
      {41, "'embed.weight' is already given in line 40"},
      {42, "no tensor 'layers.{l}.attn.q_nop'; did you mean"},
      {43, "{l} is in the name on the left but not in the expression"},
      {44, "no index variable is called {e}"},
      {45, "no element type is called 'f23'"},
      {48, "a reason (a string)"},
      {49, "'equal' takes equal(a, b), but 1 argument is given"},
      {52, "{z} is not in 'a.{l}'"},
  };
  ParsedRecipe parsed = parse_recipe(text, "broken.toml");
  EXPECT_EQ(parsed.recipe, nullptr);
  for (const Expected& want : expected) {
    bool found = false;
    for (const RecipeMistake& m : parsed.mistakes) {
      found |= m.line == want.line && m.text.find(want.text) != std::string::npos;
    }
    EXPECT_TRUE(found) << want.line << ": " << want.text << "\n in\n" << printed(parsed.mistakes);
  }
  EXPECT_EQ(parsed.mistakes.size(), expected.size()) << printed(parsed.mistakes);
  for (std::size_t i = 1; i < parsed.mistakes.size(); ++i) {
    EXPECT_LE(parsed.mistakes[i - 1].line, parsed.mistakes[i].line) << "in line order";
  }
}

TEST(Mistakes, ColumnsPointIntoTheExpression) {
  auto place = [](const std::string& line) {
    ParsedRecipe parsed = parse_recipe(small("", line), "r.toml");
    EXPECT_EQ(parsed.mistakes.size(), 1u) << printed(parsed.mistakes);
    return std::pair(parsed.mistakes.at(0).line, parsed.mistakes.at(0).column);
  };
  // Line 15 is the first of the added ones.
  EXPECT_EQ(place("x = \"2 * wdth\""), (std::pair{15u, 10u}));
  EXPECT_EQ(place("x = '2 * wdth'"), (std::pair{15u, 10u}));
  EXPECT_EQ(place("x = \"\\u0032 * wdth\""), (std::pair{15u, 15u})) << "an escape is six wide";
  EXPECT_EQ(place("x = \"\"\"\n2 *\n  wdth\"\"\""), (std::pair{17u, 3u}));
  EXPECT_EQ(place("x = \"has('h\u00e9') or wdth\""), (std::pair{15u, 19u}))
      << "characters, not bytes";
  EXPECT_EQ(place("x = \"2 * (3 + 4\""), (std::pair{15u, 16u}));
  EXPECT_EQ(place("x = \"2 $ 3\""), (std::pair{15u, 8u}));
}

TEST(Mistakes, BadSyntaxSaysWhatShouldStandThere) {
  auto dim = [](const std::string& text) {
    return only_mistake(small("", "x = \"" + text + "\""), 15);
  };
  EXPECT_THAT(dim(""), HasSubstr("an empty expression"));
  EXPECT_THAT(dim("2 3"), HasSubstr("the expression ends here"));
  EXPECT_THAT(dim("min(1, 2"), HasSubstr("')' is missing here"));
  EXPECT_THAT(dim("emb.weight[0"), HasSubstr("']' is missing here"));
  EXPECT_THAT(dim("'emb"), HasSubstr("not closed"));
  EXPECT_THAT(dim("emb..weight[0]"), HasSubstr("a part of the name is missing"));
  EXPECT_THAT(dim("h.{l.w[0]"), HasSubstr("not closed by '}'"));
  EXPECT_THAT(dim("and 2"), HasSubstr("a value is missing before 'and'"));
  EXPECT_THAT(dim("99999999999999999999"), HasSubstr("does not fit 63 bits"));
  EXPECT_THAT(dim(std::string(500, '(') + "1"), HasSubstr("nested too deep"));
  EXPECT_THAT(dim(std::string(5000, '1')), HasSubstr("more than 4096 characters"));
}

TEST(Mistakes, NamesMustMeanOneThing) {
  EXPECT_THAT(only_mistake(small("", "l = 3"), 4), HasSubstr("already a dimension or setting"));
  EXPECT_THAT(only_mistake(small("", "or = 3"), 15), HasSubstr("cannot be a name of [dims]"));
  EXPECT_THAT(only_mistake(small("", "", "[ask.width]\ndefault = 1\nhelp = \"h\""), 16),
              HasSubstr("declared before, in line 14"));
  EXPECT_THAT(only_mistake(small("", "x = \"l + 1\""), 15), HasSubstr("'l' has no value here"));
  EXPECT_THAT(only_mistake(small("\"norm.weight\" = \"width\""), 12),
              HasSubstr("'width' is a number, but a tensor is called for"));
  EXPECT_THAT(only_mistake(small("\"norm.weight\" = \"h.{l}.w\""), 12),
              HasSubstr("stack_over(l, ...) goes over all its values"));
  EXPECT_THAT(only_mistake(small("\"norm.weight\" = \"{block}.w\""), 12), HasSubstr("{block}"));
  EXPECT_THAT(only_mistake(small("\"{block}.attn.o\" = \"{block}.o\""), 12),
              HasSubstr("[blocks] lists, but it lists none"));
  EXPECT_THAT(only_mistake(small("\"norm\" = \"stack_over(k, emb)\""), 12),
              HasSubstr("an index variable's name should stand here"));
  EXPECT_THAT(only_mistake(small("", "x = \"count(emb.weight)\""), 15),
              HasSubstr("goes over one index variable, but 'emb.weight' has 0"));
  EXPECT_THAT(only_mistake(small("", "x = \"reshape(1)\""), 15),
              HasSubstr("it is written .reshape(d0, d1, ...)"));
  EXPECT_THAT(only_mistake(small("\"norm\" = \"every(l, tril(3))\""), 12),
              HasSubstr("is values to compare with, but a tensor is called for"));
}

TEST(Mistakes, NamesThatDifferInANumberAreTwo) {
  std::string two = "[left_out]\n\"ff.layers.0.bias\" = \"r\"\n\"ff.layers.2.bias\" = \"r\"\n";
  EXPECT_EQ(printed(parse_recipe(small("", "", two), "r.toml").mistakes), "");
  std::string meets = "[left_out]\n\"ff.layers.{l}.bias\" = \"r\"\n\"ff.layers.2.bias\" = \"r\"\n";
  EXPECT_THAT(printed(parse_recipe(small("", "", meets), "r.toml").mistakes),
              HasSubstr("'ff.layers.2.bias' is already given"));
}

TEST(Mistakes, DeepNestingIsVisitedOnce) {
  // 2^60 visits would never end.
  std::string text;
  for (int i = 0; i < 60; ++i) text += "equal(";
  text += "emb";
  for (int i = 0; i < 60; ++i) text += ", emb)";
  ParsedRecipe parsed = parse_recipe(small("", "x = \"" + text + "\""), "r.toml");
  EXPECT_EQ(parsed.mistakes.size(), 59u) << "true or false is no tensor to compare";
}

TEST(Mistakes, AnUnusedIndexVariableIsOne) {
  std::string text = small();
  text.replace(text.find("[model]"), 0, "k = 3\n");
  EXPECT_THAT(only_mistake(text, 5), HasSubstr("'k' is declared but nothing uses it"));
}

TEST(Mistakes, MissingSectionsAreAllNamed) {
  std::string all = printed(parse_recipe("", "r.toml").mistakes);
  EXPECT_THAT(all, HasSubstr("the key name is missing"));
  EXPECT_THAT(all, HasSubstr("the key recognise is missing"));
  EXPECT_THAT(all, HasSubstr("[model] is missing"));
  EXPECT_THAT(all, HasSubstr("[tensors] is missing"));
}

TEST(Mistakes, TomlItselfIsReportedWithItsPlace) {
  ParsedRecipe parsed = parse_recipe("name = \"x\"\nrecognise = [\n= 3\n", "r.toml");
  ASSERT_EQ(parsed.mistakes.size(), 1u);
  EXPECT_EQ(parsed.mistakes[0].line, 3u);
  EXPECT_THAT(parsed.mistakes[0].text, HasSubstr("this is not TOML"));
}

// The library's parser asserts that no such key can be, and has no case for the character: found
// by a fuzzer, which aborted at both.
TEST(Mistakes, WhatTheTomlLibraryHoldsForImpossibleIsAMistakeLikeAnyOther) {
  for (const char* text : {"[+x]\ny = 1\n", "[.\"a\"]\n", "\xef\xbb\xbe = 1\n"}) {
    ParsedRecipe parsed = parse_recipe(text, "r.toml");
    ASSERT_EQ(parsed.mistakes.size(), 1u) << text;
    EXPECT_EQ(parsed.mistakes[0].line, 1u);
    EXPECT_THAT(parsed.mistakes[0].text, HasSubstr("this is not TOML"));
  }
}

TEST(Mistakes, ChoicesAndBounds) {
  std::string ask = "[ask.act]\ndefault = \"tanh\"\nhelp = \"h\"\nchoices = [\"silu\", 3]\n";
  ParsedRecipe parsed = parse_recipe(small("", "y = \"if(act == 'silu', 1, 2)\"", ask), "r.toml");
  std::string all = printed(parsed.mistakes);
  EXPECT_THAT(all, HasSubstr("16:6: the default of 'act' is none of its choices"));
  EXPECT_THAT(all, HasSubstr("a choice should be of the default's type"));
}

TEST(LoadRecipe, ListsEveryMistakeOneALine) {
  std::string path = testing::TempDir() + "wb_broken_recipe.toml";
  std::ofstream(path) << "name = 3\ncolour = 1\n";
  try {
    load_recipe(path);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::recipe_invalid);
    EXPECT_EQ(e.file(), path);
    EXPECT_THAT(e.sentence(), HasSubstr("the recipe has 5 mistakes"));
    EXPECT_THAT(e.sentence(), HasSubstr("\n" + path + ":1:8: name should be a string"));
    EXPECT_THAT(e.sentence(), HasSubstr("\n" + path + ":2:1: a recipe has no key 'colour'"));
  }
  std::remove(path.c_str());
  try {
    load_recipe(path);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::file_open);
  }
}

TEST(ShippedRecipes, AreWhatTheFilesSay) {
  ASSERT_FALSE(embedded_recipes().empty());
  for (const EmbeddedRecipe& embedded : embedded_recipes()) {
    std::ifstream stream(std::string(WB_SOURCE_DIR) + "/" + std::string(embedded.file),
                         std::ios::binary);
    ASSERT_TRUE(stream) << embedded.file;
    std::string text((std::istreambuf_iterator<char>(stream)), {});
    EXPECT_EQ(embedded.text, text) << embedded.file;
    EXPECT_EQ(printed(parse_recipe(text, "r").mistakes), "") << embedded.file;
  }
}

TEST(Documentation, ListsEveryFunctionFieldAndCanonicalTensor) {
  std::ifstream stream(std::string(WB_SOURCE_DIR) + "/docs/recipes.md", std::ios::binary);
  ASSERT_TRUE(stream);
  std::string text((std::istreambuf_iterator<char>(stream)), {});
  for (const Function& function : functions()) {
    EXPECT_THAT(text, HasSubstr("`" + std::string(function.usage) + "`"));
  }
  for (const CanonicalRow& row : canonical_table()) {
    EXPECT_THAT(text,
                HasSubstr("| `" + std::string(row.pattern) + "` | " + std::string(row.shape)));
  }
  for (const FieldInfo& field : spec_fields()) {
    // The fields of a norm or a network are listed once, beside the name of the group.
    std::string group = field.path.substr(0, field.path.rfind('.'));
    bool listed = text.find("| `" + field.path + "` |") != std::string::npos ||
                  text.find("| `" + group + "` | a ") != std::string::npos;
    EXPECT_TRUE(listed) << field.path;
    for (const std::string& word : field.enum_values) {
      EXPECT_THAT(text, HasSubstr("`" + word + "`")) << field.path;
    }
  }
}

TEST(Nearest, FindsWhatWasMeant) {
  EXPECT_EQ(nearest("hidden_sise", {"hidden_size", "vocab_size"}), "hidden_size");
  EXPECT_EQ(nearest("tesnors", {"tensors", "model"}), "tensors");
  EXPECT_EQ(nearest("colour", {"name", "model"}), "");
}

}  // namespace
}  // namespace wb
