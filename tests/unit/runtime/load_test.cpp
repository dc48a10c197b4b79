// Reading folders strictly: what the loaders refuse is refused by name; and the forms
// in which one model can be written give the same logits.
#include "runtime/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/groups.h"
#include "unit/error_of.h"
#include "unit/runtime/folder_writer.h"
#include "unit/runtime/runtime_fixture.h"

namespace wb {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// A golden folder, taken into memory so that a test can change it.
struct Folder {
  explicit Folder(const std::string& name) {
    const Checkpoint c = open_checkpoint(fixture("goldens/" + name + "/model.safetensors"));
    for (const SourceTensor& t : c.tensors) {
      shapes[t.name] = t.tensor.shape();
      if (t.tensor.dtype() == DType::F32) {
        floats[t.name] = read_f32(t.tensor);
      } else {
        const std::vector<std::byte> raw = read_all(t.tensor);
        words[t.name].resize(raw.size() / 4);
        std::memcpy(words[t.name].data(), raw.data(), raw.size());
      }
    }
    config = json::parse(std::ifstream(fixture("goldens/" + name + "/config.json")));
  }
  void put(const std::string& name, const Shape& shape, std::vector<float> v) {
    shapes[name] = shape;
    floats[name] = std::move(v);
  }
  void erase(const std::string& name) {
    shapes.erase(name);
    floats.erase(name);
    words.erase(name);
  }
  void write(const std::string& file = "model.safetensors") {
    FolderWriter w;
    for (const auto& [name, v] : floats) w.add(name, shapes.at(name), v);
    for (const auto& [name, v] : words) w.add(name, shapes.at(name), v);
    w.write(where.path(), file);
    std::ofstream(where.path() + "/config.json") << config;
  }
  std::vector<float> logits(MlxReader reader = MlxReader::mlx_lm) {
    const std::vector<std::uint32_t> tokens = {5, 17, 200, 3, 9};
    return Decoder(load_model(where.path(), {reader})).forward(tokens).logits;
  }
  Error error(MlxReader reader = MlxReader::mlx_lm) {
    return error_of([&] { load_model(where.path(), {reader}); });
  }

  std::map<std::string, Shape> shapes;
  std::map<std::string, std::vector<float>> floats;
  std::map<std::string, std::vector<std::uint32_t>> words;
  json config;
  test::TempFolder where;
};

constexpr const char* kGroups = "deepseek_v3-yarn-groups";

TEST(Load, StackedAndPerExpertAreTheSame) {
  Folder f(kGroups);
  f.write();
  const std::vector<float> apart = f.logits();
  for (int l : {1, 2}) {
    const std::string mlp = "model.layers." + std::to_string(l) + ".mlp.";
    for (const char* part : {"gate_proj", "up_proj", "down_proj"}) {
      std::vector<float> all;
      Shape shape;
      for (int e = 0; e < 8; ++e) {
        const std::string name = mlp + "experts." + std::to_string(e) + "." + part + ".weight";
        shape = f.shapes.at(name);
        all.insert(all.end(), f.floats.at(name).begin(), f.floats.at(name).end());
        f.erase(name);
      }
      f.put(mlp + "switch_mlp." + part + ".weight", {8, shape[0], shape[1]}, all);
    }
  }
  f.write();
  EXPECT_EQ(f.logits(), apart);
}

TEST(Load, KvBProjAndItsPartsAreTheSame) {
  Folder f(kGroups);
  f.write();
  const std::vector<float> whole = f.logits();
  const std::size_t heads = 4, nope = 16, value = 24, rank = 32;
  for (int l : {0, 1, 2}) {
    const std::string attn = "model.layers." + std::to_string(l) + ".self_attn.";
    const std::vector<float> kv = f.floats.at(attn + "kv_b_proj.weight");
    std::vector<float> k(heads * rank * nope), v(heads * value * rank);
    for (std::size_t h = 0; h < heads; ++h) {
      for (std::size_t r = 0; r < nope + value; ++r) {
        for (std::size_t c = 0; c < rank; ++c) {
          const float x = kv[(h * (nope + value) + r) * rank + c];
          if (r < nope) {
            k[(h * rank + c) * nope + r] = x;
          } else {
            v[(h * value + r - nope) * rank + c] = x;
          }
        }
      }
    }
    f.erase(attn + "kv_b_proj.weight");
    f.put(attn + "embed_q.weight", {heads, rank, nope}, k);
    f.put(attn + "unembed_out.weight", {heads, value, rank}, v);
  }
  f.write();
  EXPECT_EQ(f.logits(), whole);
  // Swift knows kv_b_proj only.
  EXPECT_EQ(f.error(MlxReader::swift).tensor(), "model.layers.0.self_attn.kv_b_proj.weight");
}

TEST(Load, LayersOfTheirOwnWidthAndUnquantisedOnes) {
  Folder f("deepseek_v3-4bit");
  f.write();
  const std::vector<float> before = f.logits();
  // lm_head decoded and stored plain; the config says so, or says nothing.
  const QuantFormat format{QuantMode::affine, 4, 32};
  auto decoded = [&](const std::string& path) {
    std::vector<float> out(f.words.at(path + ".weight").size() * 8);
    const auto bytes = [&](const char* part) {
      return reinterpret_cast<const std::byte*>(f.floats.at(path + part).data());
    };
    dequantize_groups_plain(
        format, DType::F32,
        {f.words.at(path + ".weight").data(), bytes(".scales"), bytes(".biases")}, out.size() / 32,
        out.data());
    return out;
  };
  const std::vector<float> head = decoded("lm_head");
  for (const char* part : {".weight", ".scales", ".biases"}) f.erase(std::string("lm_head") + part);
  f.put("lm_head.weight", {320, 64}, head);
  for (bool said : {false, true}) {
    if (said) f.config["quantization"]["lm_head"] = false;
    f.write();
    EXPECT_EQ(f.logits(), before);
  }
  // The embeddings with 8 bits and groups of 64, by an entry of their own: close to the plain ones.
  const std::string embed = "model.embed_tokens";
  const std::vector<float> plain = decoded(embed);
  std::vector<std::uint32_t> words(320 * 16);
  std::vector<float> scales(320), biases(320);
  ASSERT_EQ(quantize_groups_plain({QuantMode::affine, 8, 64}, DType::F32,
                                  reinterpret_cast<const std::byte*>(plain.data()), 320,
                                  {words.data(), reinterpret_cast<std::byte*>(scales.data()),
                                   reinterpret_cast<std::byte*>(biases.data())}),
            320u);
  f.words[embed + ".weight"] = words;
  f.shapes[embed + ".weight"] = {320, 16};
  f.put(embed + ".scales", {320, 1}, scales);
  f.put(embed + ".biases", {320, 1}, biases);
  f.config["quantization"][embed] = {{"bits", 8}, {"group_size", 64}};
  f.write();
  const double moved = max_difference(f.logits(), before);
  EXPECT_GT(moved, 0.0);
  EXPECT_LT(moved, 0.1);
}

TEST(Load, WhatTheClassTakesAwayIsNoError) {
  Folder f(kGroups);
  f.put("model.layers.0.self_attn.rotary_emb.inv_freq", {4}, {1, 2, 3, 4});
  f.put("model.layers.61.enorm.weight", {2}, {1, 2});
  f.write();
  f.logits();
}

TEST(Load, SwiftReadsTheIndexAndMlxLmTheFolder) {
  Folder f(kGroups);
  f.write("weights.safetensors");
  EXPECT_EQ(f.error().code(), Code::no_tensors);
  EXPECT_THAT(f.error().sentence(), HasSubstr("expected model*.safetensors, found none"));
  EXPECT_FALSE(f.logits(MlxReader::swift).empty());
  f.write("model-00001-of-00001.safetensors");
  json map;
  for (const auto& [name, shape] : f.shapes) map[name] = "model-00001-of-00001.safetensors";
  std::ofstream(f.where.path() + "/model.safetensors.index.json") << json{{"weight_map", map}};
  FolderWriter stale;
  stale.add("model.norm.weight", {64}, std::vector<float>(64, 1.0f));
  stale.write(f.where.path(), "model-stale.safetensors");
  EXPECT_FALSE(f.logits(MlxReader::swift).empty()) << "the index does not name the stale file";
  const Error e = f.error();
  EXPECT_EQ(e.code(), Code::tensor_name);
  EXPECT_EQ(e.tensor(), "model.norm.weight");
  EXPECT_THAT(e.sentence(), HasSubstr("in two files that the loader merges"));
}

TEST(LoadErrors, MissingLeftOverAndMisshapen) {
  Folder f(kGroups);
  const std::vector<float> norm = f.floats.at("model.norm.weight");
  f.erase("model.norm.weight");
  f.write();
  Error e = f.error();
  EXPECT_EQ(e.code(), Code::tensor_missing);
  EXPECT_EQ(e.tensor(), "model.norm.weight");
  EXPECT_THAT(e.sentence(),
              HasSubstr("the class needs this tensor and no file has it: expected [64]"));
  f.put("model.norm.weight", {32, 2}, norm);
  f.write();
  e = f.error();
  EXPECT_EQ(e.code(), Code::shape_mismatch);
  EXPECT_THAT(e.sentence(), HasSubstr("model.norm.weight: the tensor does not have the shape that "
                                      "the class needs: expected [64], found [32, 2]"));
  f.put("model.norm.weight", {64}, norm);
  f.put("lm_head.bias", {320}, std::vector<float>(320));
  f.write();
  e = f.error();
  EXPECT_EQ(e.code(), Code::source_uncovered);
  EXPECT_THAT(e.sentence(),
              HasSubstr("1 tensors are in the folder that the class has no place for: "
                        "lm_head.bias"));
}

TEST(LoadErrors, ConfigsThatCannotBeRead) {
  Folder f("deepseek_v3-4bit");
  f.write();
  std::ofstream(f.where.path() + "/config.json") << "{\"model_type\": ";
  Error e = f.error();
  EXPECT_EQ(e.code(), Code::config_invalid);
  EXPECT_THAT(e.sentence(), HasSubstr("config.json: is not JSON"));
  EXPECT_FALSE(is_mlx_folder(f.where.path()));
  std::filesystem::remove(f.where.path() + "/config.json");
  EXPECT_EQ(f.error().code(), Code::file_open);
  const json good = f.config;
  f.config.erase("quantization");
  f.write();
  e = f.error();
  EXPECT_EQ(e.code(), Code::config_invalid);
  EXPECT_THAT(e.sentence(), HasSubstr("scales are stored, but config.json has no"));
  f.config = good;
  f.config["quantization"]["mode"] = "mxfp4";
  f.write();
  EXPECT_THAT(f.error().sentence(), HasSubstr("is not stored as mxfp4 quantisation is"));
  f.config["quantization"] = {{"bits", 4}, {"group_size", 64}};
  f.write();
  EXPECT_EQ(f.error().code(), Code::shape_mismatch);
  f.config["quantization"] = {{"bits", 0}, {"group_size", 32}};
  f.write();
  EXPECT_THAT(f.error().sentence(), HasSubstr("\"bits\""));
  f.config = good;
  f.config["quantization"]["lm_head"] = false;  // its weight is words, and there are scales
  f.write();
  EXPECT_EQ(f.error().code(), Code::shape_mismatch);
  f.config = good;
  f.config["hidden_size"] = "wide";
  f.write();
  e = f.error();
  EXPECT_THAT(e.file(), HasSubstr("config.json"));
  EXPECT_TRUE(is_mlx_folder(f.where.path()));
  f.config["model_type"] = "llama";
  f.write();
  EXPECT_FALSE(is_mlx_folder(f.where.path()));
}

TEST(LoadErrors, WordsWithoutScales) {
  Folder f(kGroups);
  f.erase("model.norm.weight");
  f.words["model.norm.weight"] = std::vector<std::uint32_t>(64);
  f.shapes["model.norm.weight"] = {64};
  f.write();
  const Error e = f.error();
  EXPECT_EQ(e.code(), Code::dtype_unsupported);
  EXPECT_THAT(e.sentence(), HasSubstr("model.norm.weight: the tensor is not of a floating type"));
}

TEST(LoadSwift, ComputesWhatSwiftComputes) {
  // Biased scores weigh in Swift: with a bias of 0 and the same epsilons the two agree.
  Folder f(kGroups);
  f.write();
  const std::vector<float> mlx = f.logits();
  EXPECT_GT(max_difference(f.logits(MlxReader::swift), mlx), 1e-3);
  for (auto& [name, v] : f.floats) {
    if (name.ends_with("e_score_correction_bias")) std::fill(v.begin(), v.end(), 0.0f);
  }
  f.write();
  EXPECT_LT(max_difference(f.logits(MlxReader::swift), f.logits()), 1e-3) << "only epsilons differ";
}

}  // namespace
}  // namespace wb
