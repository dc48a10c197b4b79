// The variants of axes.json as exact-class folders: names and shapes from the file, values from
// its own generator.
#pragma once

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "unit/runtime/folder_writer.h"

namespace wb {

// The fixture's own generator: splitmix64 seeded with the FNV-1a of the name.
inline std::vector<float> pattern(const std::string& name, const Shape& shape) {
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

// Writes variant `v` (all that it does not say is the first variant's); returns its config.
inline nlohmann::json write_variant(const nlohmann::json& variants, const nlohmann::json& v,
                                    const std::string& folder) {
  nlohmann::json config = variants[0]["config"], tensors = variants[0]["tensors"];
  config.merge_patch(v["config"]);
  tensors.merge_patch(v["tensors"]);
  FolderWriter writer, heads;
  for (const auto& [name, shape] : tensors.items()) {
    std::vector<float> values = pattern(name, shape.get<Shape>());
    if (name.ends_with("switch_mlp.gate_proj.weight")) {
      for (float& x : values) x *= v.value("gain", 1.0f);
    }
    (name.starts_with("mtp.") ? heads : writer).add(name, shape.get<Shape>(), values);
  }
  writer.write(folder, "model.safetensors");
  if (v.contains("mtp")) heads.write(folder, "mtp.safetensors");
  std::ofstream(folder + "/config.json") << config;
  return config;
}

}  // namespace wb
