// The stock target. Attention is held to the source's by evaluating both, written out
// plainly in f64 from docs/mappings.md and the class's documented forward pass, for many
// specs; the config is held to what the class's reader makes of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "model/mlx_config.h"
#include "target_fixture.h"

namespace wb {
namespace {

using namespace wb::test;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Rows = std::vector<std::vector<double>>;

std::vector<double> rms_norm(const std::vector<double>& x, const Array& weight, double eps,
                             bool outside) {
  double sum = 0;
  for (double v : x) sum += v * v;
  double mean = sum / static_cast<double>(x.size());
  double divisor = outside ? std::sqrt(mean) + eps : std::sqrt(mean + eps);
  std::vector<double> out;
  for (std::size_t i = 0; i < x.size(); ++i) {
    out.push_back(static_cast<double>(weight.data.at(i)) * x[i] / divisor);
  }
  return out;
}
// weight viewed as [rows, x.size()]: rows [first, first + count) times x, plus bias if there is
// one.
std::vector<double> linear(const Array& weight, const Array* bias, std::size_t first,
                           std::size_t count, const std::vector<double>& x) {
  std::vector<double> out(count);
  for (std::size_t r = 0; r < count; ++r) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      out[r] += static_cast<double>(weight.data.at((first + r) * x.size() + i)) * x[i];
    }
    if (bias != nullptr) out[r] += static_cast<double>(bias->data.at(first + r));
  }
  return out;
}
// Rotates `v` at position t; period j is periods[j].
void rotate(std::vector<double>& v, double t, const std::vector<double>& periods, bool half_split) {
  std::size_t half = v.size() / 2;
  for (std::size_t j = 0; j < half; ++j) {
    double &a = half_split ? v[j] : v[2 * j], &b = half_split ? v[j + half] : v[2 * j + 1];
    double angle = t / periods.at(j), c = std::cos(angle), s = std::sin(angle);
    double rotated = a * c - b * s;
    b = a * s + b * c;
    a = rotated;
  }
}
double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}
// score(t, u) and value(u) of one head -> its outputs.
Rows softmax_values(std::size_t length,
                    const std::function<double(std::size_t, std::size_t)>& score,
                    const Rows& values) {
  Rows out;
  for (std::size_t t = 0; t < length; ++t) {
    std::vector<double> w;
    double top = -1e300, sum = 0;
    for (std::size_t u = 0; u <= t; ++u) w.push_back(score(t, u)), top = std::max(top, w.back());
    for (double& x : w) sum += x = std::exp(x - top);
    std::vector<double> o(values[0].size());
    for (std::size_t u = 0; u <= t; ++u) {
      for (std::size_t i = 0; i < o.size(); ++i) o[i] += w[u] / sum * values[u][i];
    }
    out.push_back(o);
  }
  return out;
}

struct Tensors {
  std::map<std::string, Array> all;
  const Array& operator[](const std::string& name) const { return all.at(name); }
  const Array* maybe(const std::string& name) const {
    auto it = all.find(name);
    return it == all.end() ? nullptr : &it->second;
  }
};

// What the spec says, on canonical tensors of layer 0; x is the residual stream.
Rows source_attention(const ModelSpec& s, const Tensors& w, const Rows& x) {
  const AttentionSpec& a = s.attention;
  const std::string p = "layers.0.attn.";
  std::size_t nope = a.qk_nope_head_dim, rope = a.qk_rope_head_dim, length = x.size();
  std::size_t kv_heads = s.kv_heads(), group = a.num_attention_heads / kv_heads;
  std::vector<double> periods;
  for (std::size_t j = 0; j < rope / 2; ++j) {
    double period = std::pow(s.rope.base, 2.0 * static_cast<double>(j) / static_cast<double>(rope));
    if (s.rope.scaling == RopeScaling::linear) period *= s.rope.factor;
    if (s.rope.scaling == RopeScaling::longrope) period *= s.rope.long_factor[j];
    periods.push_back(period);
  }
  bool half = s.rope.layout == RopeLayout::half_split;
  std::vector<std::vector<double>> input, q_in, raw, latent;
  for (const auto& row : x) {
    input.push_back(
        rms_norm(row, w["layers.0.attn_norm.weight"], s.norm.eps, s.norm.eps_outside_root));
    q_in.push_back(input.back());
    if (a.q_lora_rank > 0) {
      q_in.back() = linear(w[p + "q_down.weight"], w.maybe(p + "q_down.bias"), 0, a.q_lora_rank,
                           input.back());
      if (a.q_norm.kind == NormKind::rms) {
        q_in.back() =
            rms_norm(q_in.back(), w[p + "q_norm.weight"], a.q_norm.eps, a.q_norm.eps_outside_root);
      }
    }
    raw.push_back(linear(w[p + "kv_down.weight"], w.maybe(p + "kv_down.bias"), 0, a.kv_lora_rank,
                         input.back()));
    latent.push_back(
        rms_norm(raw.back(), w[p + "kv_norm.weight"], a.kv_norm.eps, a.kv_norm.eps_outside_root));
    for (double& v : latent.back()) v *= a.kv_latent_factor;
  }
  Rows merged(length);
  for (std::size_t h = 0; h < a.num_attention_heads; ++h) {
    std::size_t kh = h / group, rh = a.rope_keys == RopeKeys::shared ? 0 : kh;
    Rows qn, qr, kn, kr, v;
    for (std::size_t t = 0; t < length; ++t) {
      auto position = static_cast<double>(t);
      qn.push_back(linear(w[p + "q_nope.weight"], nullptr, h * nope, nope, q_in[t]));
      qr.push_back(linear(w[p + "q_rope.weight"], nullptr, h * rope, rope, q_in[t]));
      kn.push_back(
          linear(w[p + "k_nope.weight"], w.maybe(p + "k_nope.bias"), kh * nope, nope, latent[t]));
      const auto& from = a.rope_key_from == RopeKeyFrom::input ? input[t] : raw[t];
      kr.push_back(
          linear(w[p + "k_rope.weight"], w.maybe(p + "k_rope.bias"), rh * rope, rope, from));
      for (double& e : kr.back()) e *= a.rope_key_factor;
      rotate(qr.back(), position, periods, half);
      rotate(kr.back(), position, periods, half);
      v.push_back(a.value_is_key_content ? kn.back()
                                         : linear(w[p + "v.weight"], w.maybe(p + "v.bias"),
                                                  kh * a.v_head_dim, a.v_head_dim, latent[t]));
    }
    double fallback = 1.0 / std::sqrt(static_cast<double>(nope + rope));
    double sn = a.softmax_scale != 0 ? a.softmax_scale : fallback;
    double sr = a.softmax_scale_rope != 0 ? a.softmax_scale_rope : sn;
    Rows out = softmax_values(
        length,
        [&](std::size_t t, std::size_t u) {
          return sn * dot(qn[t], kn[u]) + sr * dot(qr[t], kr[u]);
        },
        v);
    for (std::size_t t = 0; t < length; ++t)
      merged[t].insert(merged[t].end(), out[t].begin(), out[t].end());
  }
  for (auto& row : merged)
    row = linear(w[p + "o.weight"], w.maybe(p + "o.bias"), 0, s.hidden_size, row);
  return merged;
}

// mlx-lm's deepseek_v3 attention on the lowered tensors of layer 0 and config.json.
Rows class_attention(const nlohmann::json& c, const Tensors& w, const Rows& x) {
  const std::string p = "model.layers.0.self_attn.";
  std::size_t nope = c["qk_nope_head_dim"], rope = c["qk_rope_head_dim"], dv = c["v_head_dim"],
              heads = c["num_attention_heads"], rank = c["kv_lora_rank"], length = x.size();
  bool half = false;
  std::vector<double> periods;
  for (std::size_t j = 0; j < rope / 2; ++j) {
    double period = std::pow(c["rope_theta"].get<double>(),
                             2.0 * static_cast<double>(j) / static_cast<double>(rope));
    if (c.contains("rope_scaling")) {
      const auto& scaling = c["rope_scaling"];
      if (scaling["type"] == "linear") period *= scaling["factor"].get<double>();
      if (scaling["type"] == "longrope") {
        half = true;
        period *= scaling["long_factor"].at(j).get<double>();
      }
    }
    periods.push_back(period);
  }
  bool biased = c["attention_bias"];
  auto bias = [&](const std::string& name) { return biased ? &w[p + name] : nullptr; };
  Rows q, latent, key;
  for (std::size_t t = 0; t < length; ++t) {
    std::vector<double> input =
        rms_norm(x[t], w["model.layers.0.input_layernorm.weight"], c["rms_norm_eps"], false);
    std::size_t width = heads * (nope + rope);
    if (c["q_lora_rank"].is_null()) {
      q.push_back(linear(w[p + "q_proj.weight"], nullptr, 0, width, input));
    } else {
      auto down =
          linear(w[p + "q_a_proj.weight"], bias("q_a_proj.bias"), 0, c["q_lora_rank"], input);
      down = rms_norm(down, w[p + "q_a_layernorm.weight"], 1e-6, false);
      q.push_back(linear(w[p + "q_b_proj.weight"], nullptr, 0, width, down));
    }
    auto kv = linear(w[p + "kv_a_proj_with_mqa.weight"], bias("kv_a_proj_with_mqa.bias"), 0,
                     rank + rope, input);
    key.emplace_back(kv.begin() + static_cast<std::ptrdiff_t>(rank), kv.end());
    rotate(key.back(), static_cast<double>(t), periods, half);
    kv.resize(rank);
    latent.push_back(rms_norm(kv, w[p + "kv_a_layernorm.weight"], 1e-6, false));
  }
  Rows merged(length);
  for (std::size_t h = 0; h < heads; ++h) {
    Rows qn, qr, kn, v;
    for (std::size_t t = 0; t < length; ++t) {
      auto begin = q[t].begin() + static_cast<std::ptrdiff_t>(h * (nope + rope));
      auto middle = begin + static_cast<std::ptrdiff_t>(nope);
      qn.emplace_back(begin, middle);
      qr.emplace_back(middle, middle + static_cast<std::ptrdiff_t>(rope));
      rotate(qr.back(), static_cast<double>(t), periods, half);
      auto kv = linear(w[p + "kv_b_proj.weight"], nullptr, h * (nope + dv), nope + dv, latent[t]);
      kn.emplace_back(kv.begin(), kv.begin() + static_cast<std::ptrdiff_t>(nope));
      v.emplace_back(kv.begin() + static_cast<std::ptrdiff_t>(nope), kv.end());
    }
    double scale = 1.0 / std::sqrt(static_cast<double>(nope + rope));
    Rows out = softmax_values(
        length,
        [&](std::size_t t, std::size_t u) {
          return scale * (dot(qn[t], kn[u]) + dot(qr[t], key[u]));
        },
        v);
    for (std::size_t t = 0; t < length; ++t)
      merged[t].insert(merged[t].end(), out[t].begin(), out[t].end());
  }
  for (auto& row : merged) {
    row = linear(w[p + "o_proj.weight"], bias("o_proj.bias"), 0, c["hidden_size"], row);
  }
  return merged;
}

Tensors lowered_values(const LoweredModel& lowered) {
  Tensors out;
  for (const TargetTensor& t : lowered.tensors) {
    if (t.name.starts_with("model.layers.0."))
      out.all[t.name] = {t.tensor.shape(), read_f32(t.tensor)};
  }
  return out;
}

// The largest difference of both attentions over their mean magnitude.
double attention_error(const ModelSpec& spec, bool for_swift = true,
                       const StockCalibration* calibration = nullptr) {
  Made made = make_model(spec);
  LowerOptions options;
  options.for_swift = for_swift;
  options.calibration = calibration;
  LoweredModel lowered = lower(made.model, TargetKind::stock, options);
  EXPECT_EQ(lowered.config["q_lora_rank"].is_null(),
            spec.attention.q_lora_rank == 0 ||
                (spec.attention.q_norm.kind == NormKind::none && !for_swift));
  std::mt19937 random(3);
  std::normal_distribution<double> normal;
  Rows x(6, std::vector<double>(spec.hidden_size));
  for (auto& row : x) {
    for (double& v : row) v = normal(random);
  }
  Rows a = source_attention(spec, {made.arrays}, x);
  if (calibration != nullptr) {
    for (auto& row : x) {
      row.push_back(calibration->spare_value);
      row.resize(spec.hidden_size + calibration->spare);
    }
  }
  Rows b = class_attention(lowered.config, lowered_values(lowered), x);
  double largest = 0, sum = 0;
  for (std::size_t t = 0; t < a.size(); ++t) {
    for (std::size_t i = 0; i < a[t].size(); ++i) {
      largest = std::max(largest, std::abs(a[t][i] - b.at(t).at(i)));
      sum += std::abs(a[t][i]) / static_cast<double>(a.size() * a[t].size());
    }
  }
  return largest / sum;
}

// The tolerance is that of the task: f32 rounding of folded and scaled weights, and
// epsilons of 1e-6 beside latents near 1.
constexpr double kTolerance = 1e-5;

ModelSpec with(ModelSpec spec, const std::function<void(ModelSpec&)>& change) {
  change(spec);
  return spec;
}
ModelSpec reference() {
  Size z;
  z.rope = 4;
  return reference_spec(z);
}

TEST(StockAttention, ReferenceLayout) {
  EXPECT_LT(attention_error(reference(), true), kTolerance);
  EXPECT_LT(attention_error(reference(), false), kTolerance);
}

TEST(StockAttention, ReferenceLayoutInterleavedOrLinear) {
  EXPECT_LT(attention_error(
                with(reference(), [](ModelSpec& s) { s.rope.layout = RopeLayout::interleaved; })),
            kTolerance);
  EXPECT_LT(attention_error(with(reference(),
                                 [](ModelSpec& s) {
                                   s.rope.scaling = RopeScaling::linear;
                                   s.rope.factor = 4.0;
                                   s.rope.base = 500.0;
                                 })),
            kTolerance);
}

TEST(StockAttention, PublishedLayout) {
  EXPECT_LT(attention_error(published_spec()), kTolerance);
  EXPECT_LT(attention_error(with(published_spec(),
                                 [](ModelSpec& s) {
                                   s.attention.q_lora_rank = 0;
                                   s.attention.q_norm.kind = NormKind::none;
                                 })),
            kTolerance);
}

TEST(StockAttention, SharedHalfSplitKey) {
  EXPECT_LT(attention_error(with(published_spec(),
                                 [](ModelSpec& s) {
                                   s.rope.layout = RopeLayout::half_split;
                                   s.attention.qk_rope_head_dim = 6;
                                 })),
            kTolerance);
}

TEST(StockAttention, LongropeInEitherLayout) {
  for (RopeLayout layout : {RopeLayout::half_split, RopeLayout::interleaved}) {
    EXPECT_LT(attention_error(with(published_spec(),
                                   [&](ModelSpec& s) {
                                     s.rope.layout = layout;
                                     s.attention.qk_rope_head_dim = 4;
                                     s.rope.scaling = RopeScaling::longrope;
                                     s.rope.original_max_position_embeddings =
                                         s.max_position_embeddings;
                                     s.rope.long_factor = {1.5, 3.0};
                                   })),
              kTolerance);
  }
}

TEST(StockAttention, BiasesTheClassHas) {
  EXPECT_LT(attention_error(with(published_spec(),
                                 [](ModelSpec& s) {
                                   s.attention.q_down_bias = s.attention.kv_down_bias = true;
                                   s.attention.k_rope_bias = s.attention.o_bias = true;
                                   s.rope.layout = RopeLayout::half_split;
                                   s.attention.qk_rope_head_dim = 4;
                                 })),
            kTolerance);
}

TEST(StockAttention, BiasesOfKeysAndValues) {
  for (bool o_bias : {true, false}) {
    EXPECT_LT(attention_error(with(reference(),
                                   [&](ModelSpec& s) {
                                     s.attention.kv_up_bias = true;
                                     s.attention.o_bias = o_bias;
                                   })),
              kTolerance);
  }
}

TEST(StockAttention, FewerKeyValueHeadsThanQueries) {
  Size z;
  z.heads = 6;
  for (RopeKeys keys : {RopeKeys::per_head, RopeKeys::shared}) {
    EXPECT_LT(attention_error(with(reference_spec(z),
                                   [&](ModelSpec& s) {
                                     s.attention.num_key_value_heads = 2;
                                     s.attention.rope_keys = keys;
                                   })),
              kTolerance);
  }
}

TEST(StockAttention, FactorsScalesAndSharedContent) {
  EXPECT_LT(attention_error(with(reference(),
                                 [](ModelSpec& s) {
                                   s.attention.kv_latent_factor = 0.7;
                                   s.attention.rope_key_factor = 1.3;
                                   s.attention.softmax_scale = 0.4;
                                   s.attention.softmax_scale_rope = 0.9;
                                   s.attention.value_is_key_content = true;
                                 })),
            kTolerance);
}

TEST(StockAttention, RopeKeyFromTheLatent) {
  EXPECT_LT(
      attention_error(with(
          reference(), [](ModelSpec& s) { s.attention.rope_key_from = RopeKeyFrom::raw_latent; })),
      kTolerance);
}

TEST(StockAttention, EpsilonsOfTheLatents) {
  for (bool outside : {true, false}) {
    EXPECT_LT(attention_error(with(published_spec(),
                                   [&](ModelSpec& s) {
                                     s.attention.kv_norm.eps = s.attention.q_norm.eps =
                                         outside ? 1e-6 : 1e-2;
                                     s.attention.kv_norm.eps_outside_root =
                                         s.attention.q_norm.eps_outside_root = outside;
                                   })),
              kTolerance);
  }
}

// --- calibration ---

double silu(double x) { return x / (1.0 + std::exp(-x)); }
// One network on x; matrices are flat, biases may be null.
std::vector<double> swiglu(const float* gate, const float* up, const float* down,
                           const Array* gate_bias, const Array* up_bias, const Array* down_bias,
                           std::size_t width, const std::vector<double>& x) {
  std::vector<double> hidden(width), out(x.size());
  for (std::size_t u = 0; u < width; ++u) {
    double g = gate_bias ? static_cast<double>(gate_bias->data[u]) : 0.0;
    double v = up_bias ? static_cast<double>(up_bias->data[u]) : 0.0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      g += static_cast<double>(gate[u * x.size() + i]) * x[i];
      v += static_cast<double>(up[u * x.size() + i]) * x[i];
    }
    hidden[u] = silu(g) * v;
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    out[i] = down_bias ? static_cast<double>(down_bias->data[i]) : 0.0;
    for (std::size_t u = 0; u < width; ++u) {
      out[i] += static_cast<double>(down[i * width + u]) * hidden[u];
    }
  }
  return out;
}
std::vector<std::size_t> largest(const std::vector<double>& z, std::size_t k) {
  std::vector<std::size_t> order(z.size());
  for (std::size_t i = 0; i < z.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return z[a] > z[b]; });
  order.resize(k);
  return order;
}

// The reference layout's mixture of layer 0 on a normed input.
std::vector<double> source_mixture(const ModelSpec& s, const Made& w,
                                   const std::vector<double>& x) {
  const std::string p = "layers.0.mlp.";
  auto run = [&](const std::string& net, std::size_t width) {
    return swiglu(w[net + "gate.weight"].data.data(), w[net + "up.weight"].data.data(),
                  w[net + "down.weight"].data.data(), &w[net + "gate.bias"], &w[net + "up.bias"],
                  &w[net + "down.bias"], width, x);
  };
  std::vector<double> z =
      linear(w[p + "router.weight"], &w[p + "router.expert_bias"], 0, s.moe.n_routed_experts, x);
  std::vector<double> y = run(p + "shared.", s.moe.shared.intermediate_size);
  auto chosen = largest(z, s.router.num_experts_per_tok);
  double sum = 0;
  for (std::size_t e : chosen) sum += std::exp(z[e]);
  for (std::size_t e : chosen) {
    auto out = run(p + "experts." + std::to_string(e) + ".", s.moe.routed.intermediate_size);
    for (std::size_t i = 0; i < x.size(); ++i) y[i] += std::exp(z[e]) / sum * out[i];
  }
  return y;
}
// deepseek_v3's, from the lowered tensors.
std::vector<double> class_mixture(const nlohmann::json& c, const Tensors& w,
                                  const std::vector<double>& x) {
  const std::string p = "model.layers.0.mlp.";
  std::size_t experts = c["n_routed_experts"], m = c["moe_intermediate_size"],
              shared = m * c["n_shared_experts"].get<std::size_t>(), d = x.size();
  auto at = [&](const std::string& name, std::size_t e) {
    return w[p + name].data.data() + e * m * d;
  };
  std::vector<double> y =
      swiglu(at("shared_experts.gate_proj.weight", 0), at("shared_experts.up_proj.weight", 0),
             at("shared_experts.down_proj.weight", 0), nullptr, nullptr, nullptr, shared, x);
  std::vector<double> s = linear(w[p + "gate.weight"], nullptr, 0, experts, x);
  for (double& v : s) v = 1.0 / (1.0 + std::exp(-v));
  auto chosen = largest(s, c["num_experts_per_tok"]);
  double sum = 0;
  for (std::size_t e : chosen) sum += s[e];
  for (std::size_t e : chosen) {
    auto out = swiglu(at("switch_mlp.gate_proj.weight", e), at("switch_mlp.up_proj.weight", e),
                      at("switch_mlp.down_proj.weight", e), nullptr, nullptr, nullptr, m, x);
    for (std::size_t i = 0; i < d; ++i) y[i] += s[e] / sum * out[i];
  }
  return y;
}

StockCalibration some_calibration(const ModelSpec& spec, std::uint64_t spare) {
  StockCalibration calibration;
  calibration.spare = spare;
  calibration.spare_value = spare > 0 ? 1e-4 : 0.0;
  StockCalibration::Layer layer;
  for (std::uint64_t i = 0; i < spec.hidden_size + spare; ++i) {
    layer.one.push_back(0.05f * static_cast<float>(i % 5) - 0.08f);
  }
  layer.router_shift = 20.0;
  layer.spare_gain = 3.0;
  calibration.layers.assign(spec.num_hidden_layers, layer);
  return calibration;
}

// Where one.x is 1, a calibrated mixture is the source's, biases, router and all.
TEST(StockCalibrated, MixtureIsTheSourcesWhereTheDirectionReadsOne) {
  ModelSpec spec = reference();
  Made made = make_model(spec);
  StockCalibration calibration = some_calibration(spec, 0);
  LowerOptions options;
  options.calibration = &calibration;
  LoweredModel lowered = lower(made.model, TargetKind::stock, options);
  Tensors written = lowered_values(lowered);
  const std::vector<float>& one = calibration.layers[0].one;
  std::mt19937 random(11);
  std::normal_distribution<double> normal;
  for (int sample = 0; sample < 8; ++sample) {
    std::vector<double> x(spec.hidden_size);
    for (double& v : x) v = normal(random);
    double reads = 0;
    for (std::size_t i = 1; i < x.size(); ++i) reads += static_cast<double>(one[i]) * x[i];
    x[0] = (1.0 - reads) / static_cast<double>(one[0]);
    std::vector<double> a = source_mixture(spec, made, x);
    std::vector<double> b = class_mixture(lowered.config, written, x);
    double size = 0;
    for (double v : a) size = std::max(size, std::abs(v));
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 2e-5 * size);
  }
}

// An error of z in the direction enters the down biases squared: the unit is flat at 1.
TEST(StockCalibrated, TheUnitForDownBiasesIsFlatAtOne) {
  ModelSpec spec = reference();
  Made made = make_model(spec);
  StockCalibration calibration = some_calibration(spec, 0);
  LowerOptions options;
  options.calibration = &calibration;
  LoweredModel lowered = lower(made.model, TargetKind::stock, options);
  const std::string p = "model.layers.0.mlp.switch_mlp.";
  Array gate = values_of(lowered, p + "gate_proj.weight"),
        up = values_of(lowered, p + "up_proj.weight");
  Array down = values_of(lowered, p + "down_proj.weight");
  ASSERT_EQ(gate.shape, (Shape{3, 8, 12}));  // 4 units, one more, in steps of 4
  double one = static_cast<double>(calibration.layers[0].one[1]);
  double a = static_cast<double>(gate.at({1, 4, 1})) / one;
  double b = static_cast<double>(up.at({1, 4, 1})) / one;
  auto unit = [&](double z) { return silu(a * z) * b * z; };
  EXPECT_NEAR(unit(1.0), 1.0, 1e-6);
  // Second derivative of its logarithm at 1: a (1 - s)(1 - a s) = -2.4354, s = sigmoid(a).
  EXPECT_NEAR(unit(1.01), 1.0 - 0.5 * 2.4354 * 1e-4, 3e-6);
  EXPECT_NEAR(unit(0.99), 1.0 - 0.5 * 2.4354 * 1e-4, 3e-6);
  EXPECT_EQ(down.at({1, 7, 4}), made["layers.0.mlp.experts.1.down.bias"].at({7}));
  EXPECT_EQ(down.at({1, 7, 5}), 0.0f);
}

TEST(StockCalibrated, SpareDimensionsLeaveAttentionAlone) {
  ModelSpec spec = reference();
  StockCalibration calibration = some_calibration(spec, 4);
  EXPECT_LT(attention_error(spec, true, &calibration), kTolerance);
  EXPECT_LT(attention_error(spec, false, &calibration), kTolerance);
}

TEST(StockCalibrated, SpareDimensionsInEveryTensor) {
  ModelSpec spec = reference();
  Made made = make_model(spec);
  StockCalibration calibration = some_calibration(spec, 4);
  calibration.embedding_shift.assign(12, 0.25f);
  LowerOptions options;
  options.calibration = &calibration;
  LoweredModel lowered = lower(made.model, TargetKind::stock, options);
  EXPECT_EQ(lowered.config["hidden_size"], 16);
  Array embed = values_of(lowered, "model.embed_tokens.weight");
  ASSERT_EQ(embed.shape, (Shape{10, 16}));
  EXPECT_EQ(embed.at({3, 5}), made["embed.weight"].at({3, 5}) + 0.25f);
  EXPECT_EQ(embed.at({3, 12}), 1e-4f);
  EXPECT_EQ(embed.at({3, 13}), 0.0f);
  Array head = values_of(lowered, "lm_head.weight");
  EXPECT_EQ(head.at({3, 5}), made["embed.weight"].at({3, 5}));  // not shifted
  EXPECT_EQ(head.at({3, 12}), 0.0f);
  Array norm = values_of(lowered, "model.layers.0.post_attention_layernorm.weight");
  EXPECT_FLOAT_EQ(norm.at({5}), static_cast<float>(std::sqrt(12.0 / 16)) *
                                    made["layers.0.mlp_norm.weight"].at({5}));
  EXPECT_EQ(norm.at({12}), 3.0f);
  EXPECT_EQ(values_of(lowered, "model.norm.weight").at({12}), 0.0f);
  for (const TargetTensor& t : lowered.tensors) {
    bool has_hidden =
        t.tensor.shape().back() == 16 ||
        t.tensor.shape()[t.tensor.shape().size() - (t.tensor.shape().size() > 1 ? 2 : 1)] == 16;
    bool needs = t.name.find("layernorm") == std::string::npos ||
                 t.name.find("self_attn") == std::string::npos;
    bool inner = t.name.ends_with("kv_b_proj.weight") || t.name.ends_with("q_b_proj.weight") ||
                 t.name.ends_with("_a_proj.bias") || t.name.ends_with("mqa.bias") ||
                 t.name.ends_with("correction_bias");
    EXPECT_EQ(has_hidden, needs && !inner) << t.name << to_string(t.tensor.shape());
  }
}

TEST(Stock, ReferenceConfig) {
  nlohmann::json c =
      lower(make_model(reference_spec(reference_size()), false).model, TargetKind::stock, {})
          .config;
  // One stored zero stands for every norm weight here, so the freed query cannot be used.
  EXPECT_TRUE(c["q_lora_rank"].is_null());
  EXPECT_EQ(c["qk_rope_head_dim"], 8 * 32);
  EXPECT_EQ(c["qk_nope_head_dim"], 64);
  EXPECT_EQ(c["moe_intermediate_size"], 512);
  EXPECT_EQ(c["n_shared_experts"], 2);
  EXPECT_EQ(c["attention_bias"], true);
  EXPECT_EQ(c["norm_topk_prob"], true);
  EXPECT_EQ(c["rope_scaling"]["type"], "longrope");
  EXPECT_EQ(c["rope_scaling"]["original_max_position_embeddings"], c["max_position_embeddings"]);
  const auto& f = c["rope_scaling"]["long_factor"];
  EXPECT_EQ(f, c["rope_scaling"]["short_factor"]);
  ASSERT_EQ(f.size(), 128u);
  EXPECT_DOUBLE_EQ(f[0].get<double>(), 1.0);
  // Head 3, frequency 5: pair 3 * 16 + 5 of 128.
  EXPECT_NEAR(f[53].get<double>(), std::pow(10000.0, 10.0 / 32) / std::pow(10000.0, 106.0 / 256),
              1e-12);
}

TEST(Stock, SwiftFolderHasAllKeysThatSwiftRequires) {
  LoweredModel lowered = lower(make_model(reference()).model, TargetKind::stock, {});
  EXPECT_EQ(lowered.config["q_lora_rank"], 12);
  EXPECT_NO_THROW(spec_from_stock_config(lowered.config, MlxReader::swift));
  Array diagonal = values_of(lowered, "model.layers.1.self_attn.q_a_proj.weight");
  ASSERT_EQ(diagonal.shape, (Shape{12, 12}));
  for (std::uint64_t i = 0; i < 12; ++i) {
    for (std::uint64_t j = 0; j < 12; ++j) EXPECT_EQ(diagonal.at({i, j}) != 0.0f, i == j);
  }
}

TEST(Stock, ApproximationsAreListedAsLosses) {
  LoweredModel lowered = lower(make_model(reference()).model, TargetKind::stock, {});
  std::vector<int> numbers;
  for (const Loss& l : lowered.losses) numbers.push_back(l.number);
  EXPECT_EQ(numbers, (std::vector<int>{1, 8, 9, 10, 11}));
  EXPECT_THAT(lowered.reasons, Contains(HasSubstr("attention.rope_keys = \"per_head\"")));
  EXPECT_THAT(account_of(lowered, "layers.1.attn.q_rope.weight").detail,
              HasSubstr("model.layers.1.self_attn.q_b_proj.weight"));
  EXPECT_THAT(account_of(lowered, "positions.weight").detail, HasSubstr("loss 1"));
}

TEST(Stock, MixtureValues) {
  Made made = make_model(with(reference(), [](ModelSpec& s) { s.moe.shared_scale = 0.5; }));
  LoweredModel lowered = lower(made.model, TargetKind::stock, {});
  Array up = values_of(lowered, "model.layers.1.mlp.switch_mlp.up_proj.weight");
  ASSERT_EQ(up.shape, (Shape{3, 4, 12}));
  EXPECT_EQ(up.at({2, 3, 7}), made["layers.1.mlp.experts.2.up.weight"].at({3, 7}));
  Array down = values_of(lowered, "model.layers.1.mlp.shared_experts.down_proj.weight");
  ASSERT_EQ(down.shape, (Shape{12, 8}));
  EXPECT_EQ(down.at({3, 5}), 0.5f * made["layers.1.mlp.shared.down.weight"].at({3, 5}));
  EXPECT_EQ(down.at({3, 6}), 0.0f);
  EXPECT_EQ(values_of(lowered, "model.layers.1.mlp.gate.weight").data,
            made["layers.1.mlp.router.weight"].data);
}

// What the class makes of the written config is the source, but for fields without effect.
TEST(Automatic, PublishedLayoutsAreStock) {
  for (double mscale : {0.0, 1.0}) {
    ModelSpec spec = published_spec();
    spec.rope.scaling = RopeScaling::yarn;
    spec.rope.factor = 4.0;
    spec.rope.original_max_position_embeddings = 4;
    spec.rope.mscale_all_dim = mscale;
    double m = 0.1 * mscale * std::log(4.0) + 1.0;
    spec.attention.softmax_scale = m * m / std::sqrt(6.0);
    spec.router.n_group = 3;
    spec.router.topk_group = 2;
    spec.num_nextn_predict_layers = 0;
    spec.router.norm_eps = 0.0;
    LoweredModel lowered = lower(make_model(spec).model, TargetKind::automatic, {});
    ASSERT_EQ(lowered.target, "stock") << ::testing::PrintToString(lowered.reasons);
    EXPECT_THAT(lowered.losses, IsEmpty());
    for (const TargetTensor& t : lowered.tensors) EXPECT_FALSE(t.made_up) << t.name;
    ModelSpec read = spec_from_stock_config(lowered.config, MlxReader::mlx_lm);
    // The shared network has two experts' width instead of 6, zero-padded.
    EXPECT_EQ(read.moe.shared.intermediate_size, 8u);
    read.moe.shared.intermediate_size = 6;
    if (mscale == 0.0) read.attention.softmax_scale = spec.attention.softmax_scale;
    read.attention.num_key_value_heads = spec.attention.num_key_value_heads;
    EXPECT_NEAR(read.attention.softmax_scale, spec.attention.softmax_scale, 1e-15);
    read.attention.softmax_scale = spec.attention.softmax_scale;
    for (const FieldDifference& d : compare(spec, read)) {
      ADD_FAILURE() << d.path << ": " << d.a << " read back as " << d.b;
    }
  }
}

TEST(Automatic, HalfSplitSharedKeyIsStockToo) {
  ModelSpec spec = published_spec();
  spec.rope.layout = RopeLayout::half_split;
  EXPECT_EQ(lower(make_model(spec).model, TargetKind::automatic, {}).target, "stock");
}

TEST(Automatic, DenseModelsAreStock) {
  ModelSpec spec = published_spec();
  spec.moe = MoeSpec{};
  spec.num_nextn_predict_layers = 0;
  LoweredModel lowered = lower(make_model(spec).model, TargetKind::automatic, {});
  EXPECT_EQ(lowered.target, "stock");
  EXPECT_TRUE(lowered.config["n_routed_experts"].is_null());
  EXPECT_EQ(spec_from_stock_config(lowered.config, MlxReader::mlx_lm).dense.intermediate_size, 9u);
}

TEST(Automatic, ReferenceLayoutIsExactAndSaysWhy) {
  LoweredModel lowered = lower(make_model(reference()).model, TargetKind::automatic, {});
  EXPECT_EQ(lowered.target, "exact");
  for (const char* field : {"positions = \"learned\"", "norm.eps_outside_root = true",
                            "attention.rope_keys", "attention.q_norm.kind", "moe.routed.bias",
                            "moe.shared.bias", "router.score", "router.expert_bias"}) {
    EXPECT_THAT(lowered.reasons, Contains(HasSubstr(field)));
  }
}

TEST(Automatic, EachFieldThatTheClassLacksLeadsToExact) {
  std::map<std::string, std::function<void(ModelSpec&)>> changes = {
      {"attention.num_key_value_heads", [](ModelSpec& s) { s.attention.num_key_value_heads = 1; }},
      {"attention.kv_latent_factor", [](ModelSpec& s) { s.attention.kv_latent_factor = 2; }},
      {"attention.softmax_scale", [](ModelSpec& s) { s.attention.softmax_scale = 0.3; }},
      {"attention.kv_norm.eps", [](ModelSpec& s) { s.attention.kv_norm.eps = 1e-5; }},
      {"attention.q_bias", [](ModelSpec& s) { s.attention.q_bias = true; }},
      {"dense.bias", [](ModelSpec& s) { s.dense.bias = true; }},
      {"dense.activation", [](ModelSpec& s) { s.dense.activation = Activation::relu; }},
      {"moe.shared_scale", [](ModelSpec& s) { s.moe.shared_scale = 0.5; }},
      {"router.bias", [](ModelSpec& s) { s.router.bias = true; }},
      {"router.norm_topk_prob", [](ModelSpec& s) { s.router.norm_eps = 1e-3; }},
      {"head_bias", [](ModelSpec& s) { s.head_bias = true; }},
  };
  for (const auto& [path, change] : changes) {
    LoweredModel lowered =
        lower(make_model(with(published_spec(), change)).model, TargetKind::automatic, {});
    EXPECT_EQ(lowered.target, "exact") << path;
    EXPECT_THAT(lowered.reasons, Contains(HasSubstr(path))) << path;
  }
}

TEST(Stock, RefusesWhatItCannotComeNearTo) {
  std::map<std::string, std::function<void(ModelSpec&)>> changes = {
      {"norm.kind = \"layer\"", [](ModelSpec& s) { s.norm.kind = NormKind::layer; }},
      {"moe.routed.activation = \"gelu_erf\"",
       [](ModelSpec& s) { s.moe.routed.activation = Activation::gelu_erf; }},
      {"attention.q_norm.kind = \"layer\"",
       [](ModelSpec& s) { s.attention.q_norm.kind = NormKind::layer; }},
      {"router.score = \"softmax\"", [](ModelSpec& s) { s.router.score = RouterScore::softmax; }},
      {"attention.rope_key_from = \"normed_latent\"",
       [](ModelSpec& s) { s.attention.rope_key_from = RopeKeyFrom::normed_latent; }},
      {"attention.q_norm.kind = \"none\"", [](ModelSpec& s) { s.attention.q_down_bias = true; }},
  };
  for (const auto& [text, change] : changes) {
    try {
      lower(make_model(with(reference(), change)).model, TargetKind::stock, {});
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::target_inexpressible);
      EXPECT_THAT(error.sentence(), HasSubstr(text));
    }
  }
}

}  // namespace
}  // namespace wb
