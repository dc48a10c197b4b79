// See formulas.h.
#include "solve/formulas.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

namespace wb {

namespace {

struct Dimension {
  const char* name;
  std::uint64_t value;
};
std::vector<Dimension> dimensions(const ModelSpec& s) {
  const AttentionSpec& a = s.attention;
  return {{"qk_nope_head_dim", a.qk_nope_head_dim},
          {"qk_rope_head_dim", a.qk_rope_head_dim},
          {"(qk_nope_head_dim + qk_rope_head_dim)", a.qk_nope_head_dim + a.qk_rope_head_dim},
          {"v_head_dim", a.v_head_dim},
          {"num_attention_heads", a.num_attention_heads},
          {"hidden_size", s.hidden_size},
          {"kv_lora_rank", a.kv_lora_rank},
          {"q_lora_rank", a.q_lora_rank},
          {"num_experts_per_tok", s.router.num_experts_per_tok},
          {"n_routed_experts", s.moe.n_routed_experts},
          {"num_hidden_layers", s.num_hidden_layers}};
}
struct Power {
  double exponent;
  const char* text;
};
constexpr Power kPowers[] = {
    {-0.5, "^-0.5"}, {0.5, "^0.5"}, {-1, "^-1"}, {1, ""}, {-0.25, "^-0.25"}};

bool near(double a, double b, double distance) {
  return std::fabs(a - b) <= distance * std::fabs(b);
}
void decimals(double value, double distance, std::vector<NamedNumber>& out) {
  for (int digits = 1; digits <= 4; ++digits) {
    const double unit = std::pow(10.0, std::floor(std::log10(value)) - digits + 1);
    const double rounded = std::stod(nlohmann::json(std::round(value / unit) * unit).dump());
    // Through text, so that 0.3 is 0.3 and not three tenths of a rounded unit.
    char text[32];
    std::snprintf(text, sizeof text, "%.*e", digits - 1, value);
    const double exact = std::strtod(text, nullptr);
    if (near(exact, value, distance) || near(rounded, value, distance)) {
      out.push_back({exact, nlohmann::json(exact).dump()});
      return;
    }
  }
}

// Softmax scales with YaRN's magnitude: (nope + rope)^-0.5 m^2, where m is 0.1 a ln(factor) + 1, or
// that for one a over that for another. There are many, so that only one that is near to what f32
// tells is meant.
constexpr double kNearest = 1e-6;
void magnitudes(double value, double distance, const ModelSpec& s, std::vector<NamedNumber>& out) {
  constexpr double kUsual[] = {0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.707, 0.8, 0.9, 1.0};
  const double width =
      static_cast<double>(s.attention.qk_nope_head_dim + s.attention.qk_rope_head_dim);
  if (s.rope.scaling != RopeScaling::yarn || !(s.rope.factor > 1) || width < 2) return;
  auto magnitude = [&](double a) { return 0.1 * a * std::log(s.rope.factor) + 1.0; };
  auto text = [&](double a) {
    return "(0.1 * " + nlohmann::json(a).dump() + " * ln " + nlohmann::json(s.rope.factor).dump() +
           " + 1)";
  };
  for (double below : kUsual) {
    for (double above : kUsual) {
      if (above == below) continue;
      const double m = magnitude(above) / magnitude(below);
      const double v = std::pow(width, -0.5) * m * m;
      if (!near(v, value, std::min(distance, kNearest))) continue;
      std::string form = "(qk_nope_head_dim + qk_rope_head_dim)^-0.5";
      if (above != 0) form += " * " + text(above) + "^2";
      if (below != 0) form += " / " + text(below) + "^2";
      out.push_back({v, std::move(form)});
    }
  }
}

}  // namespace

std::vector<NamedNumber> simple_forms(double value, double distance, const ModelSpec& spec) {
  std::vector<NamedNumber> out;
  if (!(value > 0) || !std::isfinite(value)) return out;
  for (const Dimension& d : dimensions(spec)) {
    if (d.value < 2) continue;
    for (const Power& p : kPowers) {
      const double v = std::pow(static_cast<double>(d.value), p.exponent);
      if (near(v, value, distance)) out.push_back({v, d.name + std::string(p.text)});
    }
  }
  for (int q = 1; q <= 12; ++q) {
    for (int p = 1; p <= 12; ++p) {
      const double v = static_cast<double>(p) / q;
      if (std::fabs(v - value) <= distance * value && (p == 1 || q == 1)) {
        out.push_back(
            {v, q == 1 ? std::to_string(p) : std::to_string(p) + "/" + std::to_string(q)});
      }
    }
  }
  decimals(value, distance, out);
  magnitudes(value, distance, spec, out);
  return out;
}

std::string formula_of(double value, const ModelSpec& spec) {
  if (!(value > 0)) return "";
  for (const Dimension& d : dimensions(spec)) {
    if (d.value < 2) continue;
    for (const Power& p : kPowers) {
      if (p.exponent != 1 &&
          near(std::pow(static_cast<double>(d.value), p.exponent), value, 1e-14)) {
        return d.name + std::string(p.text);
      }
    }
  }
  std::vector<NamedNumber> yarn;
  magnitudes(value, 1e-14, spec, yarn);
  return yarn.empty() ? "" : yarn.front().text;
}

}  // namespace wb
