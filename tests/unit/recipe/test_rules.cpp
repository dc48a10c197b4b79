// Rules about whole recipes: what is refused by name, what is asserted, how tensors are
// encoded, and one recipe that extends another.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "recipe/recipe.h"
#include "tensor/read.h"
#include "unit/error_of.h"
#include "unit/recipe/reference_layout.h"

namespace wb {
namespace {

using test::CheckpointMaker;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

float one(std::uint64_t) { return 1.f; }
float count_up(std::uint64_t i) { return static_cast<float>(i); }

// A model of two dense layers; `body` is added to the recipe.
std::string small(const std::string& body, const std::string& head = "") {
  return head +
         "name = \"small\"\n"
         "recognise = [\"emb.weight\"]\n"
         "[model]\nvocab_size = 4\nhidden_size = 2\nnum_hidden_layers = 2\n"
         "tie_word_embeddings = true\nnorm.kind = \"none\"\n"
         "dense = { gated = false, intermediate_size = 3 }\n"
         "attention = { num_attention_heads = 1, qk_nope_head_dim = 2, v_head_dim = 2, "
         "kv_norm.kind = \"none\" }\n"
         "[blocks]\n\"layers.{l}\" = \"h.{l}\"\n[index]\nl = 2\n"
         "[tensors]\n\"embed\" = \"emb\"\n"
         "\"{block}.attn.q_nope\" = \"{block}.q.split(0, 1)\"\n"
         "\"{block}.attn.k_nope\" = \"{block}.k.split(0, 1)\"\n"
         "\"{block}.attn.v\" = \"{block}.v.split(0, 1)\"\n"
         "\"{block}.attn.o\" = \"{block}.o\"\n"
         "\"{block}.mlp.dense.up\" = \"{block}.up\"\n"
         "\"{block}.mlp.dense.down\" = \"{block}.down\"\n" +
         body;
}
CheckpointMaker small_layout() {
  CheckpointMaker maker;
  maker.add("emb.weight", {4, 2}, one);
  for (const char* h : {"h.0.", "h.1."}) {
    for (const char* name : {"q", "k", "v", "o"}) {
      maker.add(h + std::string(name) + ".weight", {2, 2}, count_up);
    }
    maker.add(h + std::string("up.weight"), {3, 2}, count_up);
    maker.add(h + std::string("down.weight"), {2, 3}, count_up);
  }
  return maker;
}
CanonicalModel run(const std::string& toml, CheckpointMaker maker = small_layout()) {
  ParsedRecipe parsed = parse_recipe(toml, "small.toml");
  for (const RecipeMistake& m : parsed.mistakes) {
    ADD_FAILURE() << parsed.files[m.file] << ":" << m.line << ":" << m.column << ": " << m.text;
  }
  Checkpoint checkpoint = maker.make();
  return apply(recognise(checkpoint, parsed.recipe), checkpoint, {});
}
Error refused(const std::string& toml, CheckpointMaker maker = small_layout()) {
  return error_of([&] { run(toml, std::move(maker)); });
}
std::string mistakes(const std::string& toml, const std::string& file = "r.toml") {
  ParsedRecipe parsed = parse_recipe(toml, file);
  std::string out;
  for (const RecipeMistake& m : parsed.mistakes) {
    out += parsed.files[m.file] + ":" + std::to_string(m.line) + ": " + m.text + "\n";
  }
  return out;
}

TEST(Refuse, NamesTheAxisAndTheReason) {
  CheckpointMaker maker = small_layout();
  maker.add("h.0.mask", {3, 3}, one);
  std::string left = "[left_out]\n\"h.0.mask\" = \"rebuilt\"\n";
  Error e = refused(small(left + "[refuse]\n\"attention is not causal\" = \"has(h.0.mask) and not "
                                 "equal(h.0.mask, tril(h.0.mask[0]))\"\n"),
                    maker);
  EXPECT_EQ(e.code(), Code::model_refused);
  EXPECT_EQ(e.file(), "model.pt");
  EXPECT_THAT(e.sentence(), AllOf(HasSubstr("this model is not converted: attention is not causal"),
                                  HasSubstr("recipe small, line ")));
  maker.remove("h.0.mask").add("h.0.mask", {3, 3}, [](std::uint64_t i) {
    return i % 3 <= i / 3 ? 1.f : 0.f;
  });
  EXPECT_TRUE(run(small(left + "[refuse]\n\"attention is not causal\" = \"not equal(h.0.mask, "
                               "tril(3))\"\n"),
                  maker)
                  .has("embed.weight"));
  Error reason = refused(small(
      "[refuse]\n\"capacity routing\" = { if = \"has(h.{l}.q.weight)\", reason = \"tokens are "
      "dropped\" }\n"));
  EXPECT_THAT(reason.sentence(), HasSubstr("capacity routing; tokens are dropped (has(h.{l}"));
}

TEST(Refuse, IsAskedForEveryLayerAndBeforeTheDimensions) {
  CheckpointMaker maker = small_layout();
  maker.add("h.1.noise", {1}, one);
  std::string rest = "[left_out]\n\"*.noise\" = \"x\"\n";
  EXPECT_EQ(refused(small(rest + "[refuse]\nnoise = \"has(h.{l}.noise) and equal(h.{l}.noise, "
                                 "ones(1))\"\n"),
                    maker)
                .code(),
            Code::model_refused);
  EXPECT_EQ(refused(small("[refuse]\nnoise = \"has(h.{l}.q.weight)\"\n[dims]\nx = "
                          "\"gone.weight[0]\"\n"))
                .code(),
            Code::model_refused)
      << "the dimension would fail";
  EXPECT_EQ(refused(small("[dims]\nx = \"emb.weight[0]\"\n[refuse]\nfour = \"x == 4\"\n")).code(),
            Code::model_refused);
}

TEST(Refuse, ALayoutMayBeKnownAndRefusedWithoutAModel) {
  std::string text =
      "name = \"capacity\"\nrecognise = [\"emb.weight\"]\n[refuse]\n\"capacity routing\" = true\n";
  EXPECT_EQ(mistakes(text), "");
  Error e = refused(text);
  EXPECT_EQ(e.code(), Code::model_refused);
  EXPECT_THAT(e.sentence(), HasSubstr("capacity routing (recipe capacity, line 4)"));
}

TEST(Refuse, MistakesHaveTheirLines) {
  std::string all = mistakes(
      "name = \"x\"\nrecognise = [\"a\"]\n[refuse]\nyes = true\n\"a\" = 3\nb = { reason = \"x\" }\n"
      "c = { if = \"has(a)\", why = \"x\" }\nd = \"has(h.{q}.w)\"\ne = \"nothing\"\n");
  EXPECT_THAT(all, HasSubstr("r.toml:5: '3' is a number, but true or false is called for here"));
  EXPECT_THAT(all, HasSubstr("r.toml:6: 'b' lacks the key if"));
  EXPECT_THAT(all, HasSubstr("r.toml:7: a line of [refuse] has no key 'why'"));
  EXPECT_THAT(all, HasSubstr("r.toml:8: no index variable is called {q}"));
  EXPECT_THAT(all, HasSubstr("r.toml:9: no dimension or setting is called 'nothing'"));
}

TEST(Assert, SaysWhatTheRecipeReliesOn) {
  EXPECT_TRUE(run(small("[assert]\n\"queries are square\" = \"h.{l}.q.weight[0] == 2\"\n"))
                  .has("embed.weight"));
  Error e =
      refused(small("[assert]\n\"outputs are ones\" = \"equal(h.{l}.o.weight, ones(2, 2))\"\n"));
  EXPECT_EQ(e.code(), Code::recipe_check_failed);
  EXPECT_THAT(e.sentence(),
              AllOf(HasSubstr("the recipe relies on this: outputs are ones"),
                    HasSubstr("is false for l = 0"), HasSubstr("3 of 4 elements differ")));
}

TEST(Encoded, ANameStandsForWhatItsLineMakes) {
  CheckpointMaker maker = small_layout();
  maker.remove("h.0.up.weight").remove("h.1.up.weight");
  std::vector<std::byte> codes(6);
  for (int i = 0; i < 6; ++i) codes[static_cast<std::size_t>(i)] = std::byte(i);
  maker.raw("h.0.up.weight", DType::I8, {3, 2}, codes)
      .add("h.0.up.weight_scale", {}, [](std::uint64_t) { return 0.5f; });
  // 0x98 -> 0, 1; the rest pads the row of 2 to 8.
  std::vector<std::byte> words(12);
  words[0] = std::byte{0x98};
  words[4] = std::byte{0xba};
  words[8] = std::byte{0xdc};
  std::vector<std::byte> shape{std::byte{3}, {}, {}, {}, std::byte{2}, {}, {}, {}};
  maker.raw("h.1.up.weight_packed", DType::I32, {3, 1}, words)
      .raw("h.1.up.weight_shape", DType::I32, {2}, shape)
      .add("h.1.up.weight_scale", {3, 1}, [](std::uint64_t i) { return 1.f + float(i); });
  CanonicalModel model =
      run(small("[encoded]\n\"{any}.weight\" = [\"{any}.weight.dequantise({any}.weight_scale)\", "
                "\"{any}.weight_packed.unpack_int4().slice(1, 0, item({any}.weight_shape, "
                "1)).dequantise({any}.weight_scale, 1, 2)\"]\n"),
          maker);
  EXPECT_THAT(read_f32(model.at("layers.0.mlp.dense.up.weight")),
              ElementsAre(0, 0.5f, 1, 1.5f, 2, 2.5f));
  EXPECT_THAT(read_f32(model.at("layers.1.mlp.dense.up.weight")), ElementsAre(0, 1, 4, 6, 12, 15));
  EXPECT_FALSE(model.at("layers.0.mlp.dense.up.weight").is_movement());
  EXPECT_TRUE(model.at("layers.0.mlp.dense.down.weight").is_movement());
  for (const AccountLine& line : model.account) EXPECT_EQ(line.fate, Fate::used) << line.source;
}

// Scales that are numbers in a dict beside the tensors, by the tensors' names.
TEST(Encoded, AScaleMayBeAFact) {
  std::vector<std::byte> codes(6);
  for (int i = 0; i < 6; ++i) codes[static_cast<std::size_t>(i)] = std::byte(i);
  CheckpointMaker maker = small_layout();
  maker.remove("h.0.up.weight").raw("h.0.up.weight", DType::I8, {3, 2}, codes);
  maker.rename([](const std::string& name) { return "state.module." + name; });
  const std::string toml =
      small("[encoded]\n\"{any}\" = \"{any}.dequantise(full(fact('meta.{any}.scale'), 1))\"\n");
  for (const char* wrapper : {"", "module.", "state.module."}) {
    SCOPED_TRACE(wrapper);
    CheckpointMaker saved = maker;
    saved.fact("meta", {{wrapper + std::string("h.0.up.weight"), {{"scale", 0.5}}},
                        {wrapper + std::string("h.1.up.weight"), {{"type", "raw"}}}});
    CanonicalModel model = run(toml, saved);
    EXPECT_THAT(read_f32(model.at("layers.0.mlp.dense.up.weight")),
                ElementsAre(0, 0.5f, 1, 1.5f, 2, 2.5f));
    EXPECT_TRUE(model.at("layers.1.mlp.dense.up.weight").is_movement()) << "it has no scale";
  }
  // Without scales the codes are what is read, and they are no weights of any type that is written.
  CanonicalModel bare = run(toml, maker);
  EXPECT_EQ(bare.at("layers.0.mlp.dense.up.weight").dtype(), DType::I8);
}

// A check looks at what a line would get, not at what is stored.
TEST(Encoded, IsWhatAChecksThisIs) {
  std::vector<std::byte> codes = {std::byte{2}, std::byte{0}, std::byte{2}, std::byte{2}};
  CheckpointMaker maker = small_layout();
  maker.raw("mask", DType::I8, {2, 2}, codes).fact("meta", {{"mask", {{"scale", 0.5}}}});
  const std::string rest =
      "[left_out]\n\"mask\" = { reason = \"mask\", check = \"equal(this, tril(2))\" }\n";
  const std::string line =
      "[encoded]\n\"{any}\" = \"{any}.dequantise(full(fact('meta.{any}.scale'), 1))\"\n";
  run(small(line + rest), maker);
  EXPECT_EQ(refused(small(rest), maker).code(), Code::recipe_check_failed);
}

// What MLX 0.32 made of FP8 codes and their scales, [200, 300] in blocks of 128: ragged both ways.
TEST(Encoded, Fp8BlocksAreMlxsBitForBit) {
  Checkpoint golden =
      open_checkpoint(WB_SOURCE_DIR "/tests/fixtures/goldens/mlx-quantize.safetensors");
  auto find = [&](const std::string& name) -> const Tensor& {
    for (const SourceTensor& t : golden.tensors) {
      if (t.name == name) return t.tensor;
    }
    throw std::runtime_error(name);
  };
  std::vector<std::byte> codes = read_all(find("fp8.codes")), want = read_all(find("fp8.bf16"));
  Tensor weight =
      Tensor::stored("w", memory_storage(std::vector(codes)), DType::F8_E4M3, {200, 300});
  Tensor made =
      Tensor::times(weight, find("fp8.weight_scale_inv"), {128, 128}, DType::F32).cast(DType::BF16);
  std::vector<std::byte> got = read_all(made);
  ASSERT_EQ(got.size(), want.size());
  EXPECT_TRUE(got == want);
  // Any range is the same as that part of the whole.
  std::vector<std::byte> part(2 * 1000);
  read_range(made, 12345, 13345, part);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), &got[2 * 12345]));
}

TEST(Encoded, MistakesHaveTheirLines) {
  std::string all =
      mistakes(small("[encoded]\n\"x.weight\" = \"x\"\n\"{any}.{l}.w\" = \"{any}.v\"\n\"{any}.w\" "
                     "= 3\n\"{any}.b\" "
                     "= \"emb.weight\"\n"));
  EXPECT_THAT(all, HasSubstr("has {any} once and no index variable"));
  EXPECT_THAT(all, HasSubstr("a list of them should stand here, not a whole number"));
  EXPECT_THAT(all, HasSubstr("no source tensor with {any} in its name"));
}

TEST(Blocks, MayBeReckonedFromADimension) {
  // The second layer's tensors follow the first's under another count.
  CheckpointMaker maker = small_layout();
  maker.rename([](const std::string& name) {
    return name.starts_with("h.") ? "h." + std::to_string(name[2] - '0' + 3) + name.substr(3)
                                  : name;
  });
  std::string toml = small("[dims]\nskip = 3\n[shapes]\n\"{block}.q.weight\" = [2, 2]\n");
  std::string from = "\"layers.{l}\" = \"h.{l}\"";
  toml.replace(toml.find(from), from.size(), "\"layers.{l}\" = \"h.{l + skip}\"");
  CanonicalModel model = run(toml, maker);
  ASSERT_EQ(model.account.size(), 13u);
  for (const AccountLine& line : model.account) EXPECT_EQ(line.fate, Fate::used) << line.source;
  toml.replace(toml.find("[2, 2]\n"), 6, "[2, 3]");
  EXPECT_EQ(refused(toml, maker).code(), Code::dimension_mismatch);
}

class Extends : public testing::Test {
 protected:
  Extends() {
    folder_ = std::filesystem::temp_directory_path() /
              ("wb-extends-" + std::to_string(::getpid()) + "-" +
               testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
  }
  ~Extends() override { std::filesystem::remove_all(folder_); }
  std::string write(const std::string& name, const std::string& text) {
    std::string path = (folder_ / name).string();
    std::ofstream(path) << text;
    return path;
  }
  std::filesystem::path folder_;
};

TEST_F(Extends, MergesKeyByKey) {
  write("base.toml", small("[dims]\nwide = \"emb.weight[1]\"\nrows = \"wide * 2\"\n"
                           "[left_out]\n\"extra\" = \"not needed\"\n"));
  std::string child =
      write("child.toml",
            "extends = \"base.toml\"\nname = \"child\"\n[dims]\nwide = \"other + 0\"\nother = 2\n"
            "[model]\nattention = { v_head_dim = \"wide\" }\n"
            "[tensors]\n\"{block}.attn.o\" = \"{block}.out\"\n[without]\nleft_out = [\"extra\"]\n");
  RecipePtr recipe = load_recipe(child);
  EXPECT_EQ(summary(*recipe).name, "child");
  CheckpointMaker maker = small_layout();
  maker.rename([](const std::string& name) {
    return name.ends_with(".o.weight") ? name.substr(0, 4) + "out.weight" : name;
  });
  Checkpoint checkpoint = maker.make();
  CanonicalModel model = apply(recognise(checkpoint, recipe), checkpoint, {});
  for (const AccountLine& line : model.account) EXPECT_EQ(line.fate, Fate::used) << line.source;
  EXPECT_EQ(model.spec.attention.qk_nope_head_dim, 2u) << "fields of the base are kept";
  maker.add("extra", {1}, one);
  Checkpoint more = maker.make();
  EXPECT_THROW(apply(recognise(more, recipe), more, {}), Error) << "the line was taken out";
  // Flat, it is the same recipe without `extends`.
  std::string flat;
  {
    std::ifstream stream(child);
    flat = flat_recipe({std::istreambuf_iterator<char>(stream), {}}, child);
  }
  EXPECT_EQ(flat.find("extends"), flat.npos);
  EXPECT_EQ(flat.find("extra"), flat.npos);
  EXPECT_EQ(mistakes(flat), "");
  EXPECT_EQ(run(flat,
                [&] {
                  maker.remove("extra");
                  return maker;
                }())
                .spec.attention.v_head_dim,
            2u);
  EXPECT_EQ(flat_recipe(flat, "flat.toml"), flat) << "a fixed point";
}

TEST_F(Extends, MistakesAreInTheFileThatHasThem) {
  std::string base =
      write("base.toml", small("[left_out]\n\"extra\" = \"x\"\n\"h.{q}.x\" = \"y\"\n"));
  std::string all = mistakes(
      "extends = \"base.toml\"\n[model]\nvocab = 3\n[without]\nleft_out = [\"extras\"]\nshapes = "
      "[\"a\"]\nmodel = [\"attention.v_head_dims\"]\n",
      (folder_ / "child.toml").string());
  std::string child = (folder_ / "child.toml").string();
  EXPECT_THAT(all, HasSubstr(child + ":5: [left_out] of the recipe that is extended has no line "
                                     "'extras'; did you mean 'extra'?"));
  EXPECT_THAT(all, HasSubstr(child + ":6: the recipe that is extended has no section [shapes]"));
  EXPECT_THAT(all, HasSubstr(child + ":7: [model] of the recipe that is extended has no line "
                                     "'attention.v_head_dims'; did you mean 'v_head_dim'?"));
  all = mistakes("extends = \"base.toml\"\n[model]\nvocab = 3\n", child);
  EXPECT_THAT(all, HasSubstr(child + ":1: the key name is missing"));
  EXPECT_THAT(all, HasSubstr(child + ":3: the model has no field 'vocab'"));
  EXPECT_THAT(all, HasSubstr(base + ":25: no index variable is called {q}"));
  EXPECT_THAT(mistakes("name = \"x\"\nrecognise = [\"a\"]\n[without]\ndims = [\"a\"]\n"),
              HasSubstr("r.toml:3: [without] takes lines out of the recipe that extends"));
}

TEST_F(Extends, EndsSomewhere) {
  std::string a = write("a.toml", "extends = \"b.toml\"\nname = \"a\"\n");
  write("b.toml", "extends = \"a.toml\"\nname = \"b\"\n");
  std::string loop = mistakes("extends = \"b.toml\"\nname = \"a\"\n", a);
  EXPECT_THAT(loop, HasSubstr("b.toml:1: this recipe extends itself, by way of " + a));
  for (int i = 0; i < 12; ++i) {
    write("c" + std::to_string(i) + ".toml", "extends = \"c" + std::to_string(i + 1) + ".toml\"\n");
  }
  EXPECT_THAT(mistakes("extends = \"c0.toml\"\n", a), HasSubstr("a chain of more than 8 recipes"));
  EXPECT_THAT(mistakes("extends = \"gone.toml\"\n", a), HasSubstr("gone.toml cannot be read"));
  EXPECT_THAT(mistakes("extends = \"deepseek-from-scrach\"\n", a),
              HasSubstr("did you mean 'deepseek-from-scratch'?"));
  EXPECT_THAT(mistakes("extends = 3\n", a), HasSubstr("extends should be a string"));
}

TEST_F(Extends, StaysInTheFolder) {
  const std::string a = (folder_ / "a.toml").string();
  for (const char* outside : {"../b.toml", "below/../../b.toml", "/etc/b.toml"}) {
    EXPECT_THAT(mistakes(std::string("extends = \"") + outside + "\"\n", a),
                HasSubstr("'" + std::string(outside) + "' leads outside"));
  }
  EXPECT_THAT(mistakes("extends = \"below/b.toml\"\n", a), HasSubstr("b.toml cannot be read"));
}

// Deeper texts would overflow the stack of the TOML library, whose tree recurses.
TEST(HostileToml, NestingHasABoundBeforeItIsParsed) {
  const std::string many(100'000, '.');
  std::string dotted = "a";
  for (int i = 0; i < 100'000; ++i) dotted += ".a";
  for (const std::string& text :
       {dotted + " = 1\n", "[" + dotted + "]\n", "a = " + std::string(100'000, '['),
        "x = '''\n\"'''\n" + dotted + " = 1\n", "# \"\n" + dotted + " = 1\n",
        "x = \"\\\"\"\n" + dotted + " = 1\n"}) {
    EXPECT_THAT(mistakes(text), HasSubstr("nest more than 32 deep")) << text.substr(0, 20);
  }
  // Dots and brackets in strings and comments are none.
  const std::string quiet = "# " + many + std::string(100, '[') + "\n";
  EXPECT_THAT(mistakes(quiet), testing::Not(HasSubstr("nest more")));
  EXPECT_THAT(mistakes("x = \"" + many + "\"\n"), testing::Not(HasSubstr("nest more")));
  EXPECT_THAT(mistakes("x = '''\n" + many + "\n'''\n"), testing::Not(HasSubstr("nest more")));
}

TEST(HostileToml, LengthAndPartsHaveBounds) {
  EXPECT_THAT(mistakes(std::string(300'000, '#')), HasSubstr("a file of more than 262144 bytes"));
  std::string sum = "1";
  for (int i = 0; i < 600; ++i) sum += "+1";
  EXPECT_THAT(mistakes("name = \"x\"\nrecognise = [\"a\"]\n[dims]\nd = \"" + sum +
                       "\"\n[model]\n[tensors]\n"),
              HasSubstr("an expression of more than 512 parts"));
}

// Places were once found by walking each line from its start.
TEST(HostileToml, APlaceInALongLineIsItsColumn) {
  std::string line = "recognise = [\"\u00e9\", ";
  for (int i = 0; i < 60'000; ++i) line += "\"a\",";
  // 18 characters, 60 000 times four, a space: then the number.
  bool found = false;
  for (const RecipeMistake& m :
       parse_recipe("name = \"x\"\n" + line + " 1]\n", "r.toml").mistakes) {
    found = found || (m.line == 2 && m.column == 240'020);
  }
  EXPECT_TRUE(found);
}

TEST_F(Extends, AShippedRecipe) {
  std::string text =
      "extends = \"deepseek-from-scratch\"\nname = \"variant\"\n[model]\nrope.base = 500.0\n";
  EXPECT_EQ(mistakes(text), "");
  CheckpointMaker maker = test::reference_layout();
  Checkpoint checkpoint = maker.make();
  ParsedRecipe parsed = parse_recipe(text, "v.toml");
  ASSERT_NE(parsed.recipe, nullptr);
  EXPECT_EQ(apply(recognise(checkpoint, parsed.recipe), checkpoint, {}).spec.rope.base, 500.0);
  maker.remove("ln_f.weight").add("ln_f.weight", {7}, one);
  Checkpoint other = maker.make();
  try {
    apply(recognise(other, parsed.recipe), other, {});
    ADD_FAILURE() << "the shape of ln_f is wrong";
  } catch (const Error& e) {
    EXPECT_THAT(e.sentence(), HasSubstr("of recipes/deepseek-from-scratch.toml"));
  }
}

}  // namespace
}  // namespace wb
