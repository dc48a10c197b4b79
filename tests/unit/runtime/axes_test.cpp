// Every switch of ModelSpec: small exact-class folders, written here from the names and
// shapes of axes.json, read back by load_model, and run against logits that a plain f64
// implementation in Python computed (tools/make_runtime_fixtures.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/load.h"
#include "unit/runtime/folder_writer.h"
#include "unit/runtime/runtime_fixture.h"

namespace wb {
namespace {

using nlohmann::json;

// The fixture's own generator: splitmix64 seeded with the FNV-1a of the name.
std::vector<float> pattern(const std::string& name, const Shape& shape) {
  std::uint64_t seed = 0xcbf29ce484222325;
  for (char c : name) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  std::vector<float> out(numel(shape));
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint64_t z = seed + 0x9e3779b97f4a7c15 * (i + 1);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z = z ^ (z >> 31);
    const double unit = static_cast<double>(z >> 40) / (1 << 23) - 1.0;
    double v = 0;
    if (name.ends_with("norm.weight")) {
      v = 1.0 + 0.5 * unit;
    } else if (name.ends_with("expert_bias")) {
      v = -1.7 + 0.5 * unit;
    } else if (name.ends_with(".bias")) {
      v = 0.5 * unit;
    } else if (name.find("embed") != std::string::npos) {
      v = 1.2 * unit;
    } else {
      const double gain = name.find("mlp.gate.") != std::string::npos ? 5.0 : 2.2;
      v = gain * unit / std::sqrt(static_cast<double>(shape.back()));
    }
    out[i] = static_cast<float>(v);
  }
  return out;
}

TEST(Axes, EverySwitchIsThePlainImplementations) {
  const json variants = json::parse(std::ifstream(fixture("runtime/axes.json")));
  ASSERT_GT(variants.size(), 60u);
  std::map<std::string, std::set<std::string>> met;  // key -> its values
  for (const json& v : variants) {
    SCOPED_TRACE(v["name"].get<std::string>());
    json config = variants[0]["config"], tensors = variants[0]["tensors"];
    config.merge_patch(v["config"]);
    tensors.merge_patch(v["tensors"]);
    TemporaryFolder folder;
    FolderWriter writer, heads;
    for (const auto& [name, shape] : tensors.items()) {
      std::vector<float> values = pattern(name, shape.get<Shape>());
      if (name.ends_with("switch_mlp.gate_proj.weight")) {
        for (float& x : values) x *= v.value("gain", 1.0f);
      }
      (name.starts_with("mtp.") ? heads : writer).add(name, shape.get<Shape>(), values);
    }
    writer.write(folder.path(), "model.safetensors");
    if (v.contains("mtp")) heads.write(folder.path(), "mtp.safetensors");
    std::ofstream(folder.path() + "/config.json") << config;
    const std::vector<std::uint32_t> tokens = v["tokens"];
    const std::vector<float> want = v["logits"];
    // 1e-4 at logits of the usual size; without norms they grow, and rounding with them.
    float largest = 10.0f;
    for (float w : want) largest = std::max(largest, std::fabs(w));
    const double scale = static_cast<double>(largest) / 10.0;
    const Decoder decoder(load_model(folder.path()));
    EXPECT_LE(max_difference(decoder.forward(tokens).logits, want), 1e-4 * scale);
    EXPECT_LE(max_difference(logits_in_steps(decoder, tokens, {4}), want), 1e-4 * scale);
    const Decoder plain(load_model(folder.path()), {ops::Kernels::plain, 1});
    EXPECT_LE(max_difference(plain.forward(tokens).logits, want), 2e-5 * scale);
    if (v.contains("mtp")) {
      const std::vector<float> wanted = v["mtp"];
      std::vector<float> got;
      ForwardOptions options;
      options.mtp = true;
      for (const MtpOutput& head : decoder.forward(tokens, options).mtp) {
        got.insert(got.end(), head.logits.begin(), head.logits.end());
      }
      ASSERT_EQ(got.size(), wanted.size());
      EXPECT_LE(max_difference(got, wanted), 1e-4 * scale);
    }
    for (const auto& [key, value] : config.items()) met[key].insert(value.dump());
  }
  // Every field of the spec was met with two values.
  for (const auto& [key, values] : met) {
    if (key == "model_type") continue;
    EXPECT_GE(values.size(), 2u) << key;
  }
  for (const FieldInfo& f : spec_fields()) {
    EXPECT_TRUE(met.count(exact_config_key(f.path))) << f.path;
  }
}

}  // namespace
}  // namespace wb
