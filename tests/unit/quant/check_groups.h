// Comparisons of the quantisers: with what MLX wrote (the golden file), and of the fast version
// with the plain one on data that has every corner. No test framework, so that the check on
// another processor (tests/neon) is the same code.
#pragma once

#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "quant/groups.h"
#include "tensor/element.h"

namespace wb::quant_check {

using Bytes = std::vector<std::byte>;

// Tensors of a safetensors file as bytes, by a reader of the tests' own.
class GoldenFile {
 public:
  explicit GoldenFile(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::uint64_t n = 0;
    in.read(reinterpret_cast<char*>(&n), 8);
    std::string text(n, ' ');
    in.read(text.data(), static_cast<std::streamsize>(n));
    header_ = nlohmann::json::parse(text);
    data_.assign(std::istreambuf_iterator<char>(in), {});
  }
  const nlohmann::json& header() const { return header_; }
  Bytes operator[](const std::string& name) const {
    const std::size_t a = header_.at(name)["data_offsets"][0],
                      b = header_.at(name)["data_offsets"][1];
    Bytes bytes(b - a);
    std::memcpy(bytes.data(), data_.data() + a, b - a);
    return bytes;
  }

 private:
  nlohmann::json header_;
  std::vector<char> data_;
};

struct Quantized {
  Bytes words, scales, biases;
  std::vector<std::size_t> refused;  // groups with an infinity or NaN; zeros there
};
using Quantizer = std::size_t (*)(const QuantFormat&, DType, const std::byte*, std::size_t,
                                  const QuantizedGroups&);

inline Quantized run(Quantizer quantizer, const QuantFormat& f, DType dtype, const Bytes& values) {
  const std::size_t size = item_size(dtype), groups = values.size() / size / f.group_size;
  const std::size_t scale = item_size(scales_dtype(f, dtype));
  Quantized out{Bytes(groups * words_per_group(f) * 4),
                Bytes(groups * scale),
                Bytes(has_biases(f) ? groups * size : 0),
                {}};
  for (std::size_t g = 0; g < groups; ++g) {
    QuantizedGroups to{reinterpret_cast<std::uint32_t*>(out.words.data()) + g * words_per_group(f),
                       out.scales.data() + g * scale,
                       has_biases(f) ? out.biases.data() + g * size : nullptr};
    g += quantizer(f, dtype, values.data() + g * f.group_size * size, groups - g, to);
    if (g >= groups) break;
    out.refused.push_back(g);
    for (auto [bytes, each] : {std::pair(&out.words, words_per_group(f) * 4),
                               std::pair(&out.scales, std::uint64_t{scale})}) {
      std::memset(bytes->data() + g * each, 0, each);
    }
    if (has_biases(f)) std::memset(out.biases.data() + g * size, 0, size);
  }
  return out;
}

inline const std::vector<std::pair<std::string, DType>>& types() {
  static const std::vector<std::pair<std::string, DType>> all = {
      {"f32", DType::F32}, {"f16", DType::F16}, {"bf16", DType::BF16}};
  return all;
}
inline std::vector<QuantFormat> formats() {
  std::vector<QuantFormat> all;
  for (unsigned bits : {2u, 3u, 4u, 5u, 6u, 8u}) {
    for (std::uint64_t group : {32u, 64u, 128u}) all.push_back({QuantMode::affine, bits, group});
  }
  for (QuantMode mode : {QuantMode::mxfp4, QuantMode::mxfp8, QuantMode::nvfp4}) {
    all.push_back(default_format(mode));
  }
  return all;
}
// "affine.b4.g64.bf16.", "mxfp4.f32."
inline std::string golden_name(const QuantFormat& f, const std::string& type) {
  std::string out(name(f.mode));
  if (f.mode == QuantMode::affine) {
    out += ".b" + std::to_string(f.bits) + ".g" + std::to_string(f.group_size);
  }
  return out + "." + type + ".";
}

// Every difference from the golden file, one a line; "" when there is none.
inline std::string against_golden(const std::string& path, Quantizer quantizer,
                                  std::size_t& compared) {
  const GoldenFile file(path);
  std::string wrong;
  compared = 0;
  for (const QuantFormat& f : formats()) {
    for (const auto& entry : types()) {
      const std::string& type = entry.first;
      const DType dtype = entry.second;  // a lambda takes no structured binding
      const std::string name = golden_name(f, type);
      Quantized got = run(quantizer, f, dtype, file["input." + type]);
      const auto same = [&](const std::string& part, const Bytes& have) {
        Bytes want = file[name + part];
        const std::size_t each =
            want.size() / (got.scales.size() / item_size(scales_dtype(f, dtype)));
        // MLX promises nothing for a group with an infinity (one, in the f16 input).
        for (std::size_t g : got.refused) std::memset(want.data() + g * each, 0, each);
        compared += want.size();
        if (want != have) wrong += name + part + "\n";
      };
      if (got.refused.size() > (dtype == DType::F16 ? 1u : 0u)) wrong += name + " refused\n";
      same("weight", got.words);
      same("scales", got.scales);
      if (has_biases(f)) same("biases", got.biases);
    }
  }
  return wrong;
}

// --- data with every corner, the same everywhere ---

class Random {
 public:
  double unit() {  // [0, 1)
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<double>(state_ >> 11) * 0x1p-53;
  }
  double normal() {
    return std::sqrt(-2.0 * std::log(1.0 - unit())) * std::cos(6.283185307179586 * unit());
  }

 private:
  std::uint64_t state_ = 20240831;
};

inline std::map<std::string, std::vector<float>> data_sets(std::size_t count) {
  std::map<std::string, std::vector<float>> sets;
  Random random;
  const auto make = [&](const std::string& name, const std::function<double(std::size_t)>& value) {
    std::vector<float>& set = sets[name];
    for (std::size_t i = 0; i < count; ++i) set.push_back(static_cast<float>(value(i)));
  };
  make("normal", [&](std::size_t) { return random.normal(); });
  make("small normal", [&](std::size_t) { return random.normal() * 0.02; });
  make("uniform", [&](std::size_t) { return random.unit() * 2 - 1; });
  make("negative", [&](std::size_t) { return -random.unit() - 1e-3; });
  make("positive", [&](std::size_t) { return random.unit() + 1e-3; });
  make("signs", [&](std::size_t) { return random.unit() < 0.5 ? -1.0 : 1.0; });
  make("+0", [](std::size_t) { return 0.0; });
  make("-0", [](std::size_t) { return -0.0; });
  make("constant", [](std::size_t i) { return i % 2048 < 1024 ? 0.375 : -3e38; });
  make("subnormal", [&](std::size_t) { return random.normal() * 1e-41; });
  make("huge",
       [&](std::size_t) { return std::fmin(3e38, std::fmax(-3e38, random.normal() * 2e38)); });
  make("1e-7", [&](std::size_t) { return random.normal() * 1e-7; });
  make("1e-5", [&](std::size_t) { return random.normal() * 1e-5; });
  make("spread", [&](std::size_t) {
    return (random.unit() < 0.5 ? -1 : 1) * std::exp2(random.unit() * 200 - 120);
  });
  make("steps of scale", [&](std::size_t i) {  // group after group another exponent
    return random.normal() * std::exp2(static_cast<double>(i / 128 % 250) - 140);
  });
  make("outliers", [&](std::size_t) { return random.normal() * (random.unit() < 0.01 ? 100 : 1); });
  make("integers", [&](std::size_t) { return std::floor(random.unit() * 511) - 255; });
  make("halves", [&](std::size_t) { return std::floor(random.unit() * 511) * 0.5 - 100; });
  make("ties", [&](std::size_t) { return std::floor(random.unit() * 49) * 0.25 - 6; });
  make("one hot", [](std::size_t i) { return i % 97 == 5 ? 6.0 : 0.0; });
  make("nonfinite", [&](std::size_t i) {
    return i % 5000 == 4000 ? HUGE_VAL : i % 5000 == 4999 ? std::nan("") : random.normal();
  });
  return sets;
}

inline Bytes in_type(DType dtype, const std::vector<float>& values) {
  Bytes out(values.size() * item_size(dtype));
  convert_elements(DType::F32, reinterpret_cast<const std::byte*>(values.data()), dtype, out.data(),
                   values.size());
  return out;
}

inline bool same_floats(const std::vector<float>& a, const std::vector<float>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (std::memcmp(&a[i], &b[i], 4) != 0) return false;
  }
  return true;
}

// Every difference of the fast version from the plain one; "" when there is none.
inline std::string fast_against_plain(std::size_t& compared) {
  std::string wrong;
  compared = 0;
  for (const auto& [set, values] : data_sets(64 << 8)) {
    for (const auto& [type, dtype] : types()) {
      const Bytes input = in_type(dtype, values);
      for (const QuantFormat& f : formats()) {
        const std::string where = golden_name(f, type) + " " + set + ": ";
        const Quantized a = run(quantize_groups_plain, f, dtype, input);
        const Quantized b = run(quantize_groups, f, dtype, input);
        if (a.refused != b.refused) wrong += where + "refused\n";
        if (a.words != b.words) wrong += where + "words\n";
        if (a.scales != b.scales) wrong += where + "scales\n";
        if (a.biases != b.biases) wrong += where + "biases\n";
        const std::size_t groups = values.size() / f.group_size;
        const QuantizedInput in{reinterpret_cast<const std::uint32_t*>(a.words.data()),
                                a.scales.data(), has_biases(f) ? a.biases.data() : nullptr};
        std::vector<float> x(values.size()), y(values.size());
        dequantize_groups_plain(f, dtype, in, groups, x.data());
        dequantize_groups(f, dtype, in, groups, y.data());
        if (!same_floats(x, y)) wrong += where + "decoded\n";
        compared += values.size();
      }
    }
  }
  return wrong;
}

}  // namespace wb::quant_check
