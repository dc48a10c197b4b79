// Rules, MLX's conditions, and the rewriting of a lowered model; see quantize.h.
#include "target/quantize.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <set>

#include "base/checked.h"
#include "base/error.h"
#include "quant/quantize.h"

namespace wb {

namespace {

constexpr std::string_view kWeight = ".weight";

std::vector<std::string_view> parts_of(std::string_view path) {
  std::vector<std::string_view> parts;
  for (std::size_t at = 0;;) {
    const std::size_t dot = path.find('.', at);
    parts.push_back(path.substr(at, dot == path.npos ? dot : dot - at));
    if (dot == path.npos) return parts;
    at = dot + 1;
  }
}

// What the classes hold as plain parameters, which nn.quantize does not see: routers, learned
// positions, norms.
bool is_plain_parameter(std::string_view path) {
  const std::string_view last = parts_of(path).back();
  return last == "gate" || last == "embed_positions" || last.ends_with("norm");
}

std::uint64_t config_number(const LoweredModel& model, const char* key) {
  auto it = model.config.find(key);
  return it != model.config.end() && it->is_number_unsigned() ? it->get<std::uint64_t>() : 0;
}

// mlx-lm's deepseek_v3 decodes a whole kv_b_proj, parts it per head and quantises the parts
// again, the keys along qk_nope_head_dim.
bool is_parted_by_the_loader(const LoweredModel& model, std::string_view path) {
  auto type = model.config.find("model_type");
  return parts_of(path).back() == "kv_b_proj" && type != model.config.end() &&
         *type == "deepseek_v3";
}

nlohmann::ordered_json entry(const QuantFormat& f) {
  return {{"group_size", f.group_size}, {"bits", f.bits}, {"mode", name(f.mode)}};
}

// "model.layers.3.mlp.down_proj": 3; 0 where there is no number.
std::uint64_t layer_of(std::string_view path) {
  for (std::string_view part : parts_of(path)) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), number);
    if (error == std::errc() && end == part.data() + part.size()) return number;
  }
  return 0;
}

}  // namespace

bool matches(std::string_view pattern, std::string_view path) {
  // Greedy with one place to come back to: linear in practice, never exponential.
  std::size_t p = 0, s = 0, star = pattern.npos, from = 0;
  while (s < path.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      from = s;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == path[s])) {
      ++p;
      ++s;
    } else if (star != pattern.npos) {
      p = star + 1;
      s = ++from;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::vector<QuantizableLayer> quantizable_layers(const LoweredModel& model) {
  std::vector<QuantizableLayer> layers;
  for (std::size_t i = 0; i < model.tensors.size(); ++i) {
    const TargetTensor& t = model.tensors[i];
    const Shape& shape = t.tensor.shape();
    if (!t.name.ends_with(kWeight) || shape.size() < 2 || !is_quantizable(t.tensor.dtype())) {
      continue;
    }
    std::string path = t.name.substr(0, t.name.size() - kWeight.size());
    if (!is_plain_parameter(path)) layers.push_back({std::move(path), i, shape.back()});
  }
  return layers;
}

std::string cannot_take(const LoweredModel& model, const QuantizableLayer& layer,
                        const QuantFormat& f) {
  const auto divides = [&](std::uint64_t width) { return width > 0 && width % f.group_size == 0; };
  const auto rows = [&](const std::string& what, std::uint64_t width) {
    return what + std::to_string(width) + " do not divide into groups of " +
           std::to_string(f.group_size);
  };
  if (!divides(layer.width)) return rows("rows of ", layer.width);
  if (!is_parted_by_the_loader(model, layer.path)) return "";
  if (f.mode != QuantMode::affine) return "mlx-lm parts it while loading, for mode affine only";
  const std::uint64_t nope = config_number(model, "qk_nope_head_dim");
  return divides(nope) ? ""
                       : rows("mlx-lm quantises its keys along qk_nope_head_dim; rows of ", nope);
}

QuantPlan mixed_plan(std::string_view name, std::uint64_t group_size, const LoweredModel& model) {
  static const std::map<std::string_view, std::pair<unsigned, unsigned>> mixes = {
      {"mixed_2_6", {2, 6}}, {"mixed_3_4", {3, 4}}, {"mixed_3_6", {3, 6}}, {"mixed_4_6", {4, 6}}};
  const auto mix = mixes.find(name);
  if (mix == mixes.end()) {
    throw Error(Code::usage, "there is no mix of this name")
        .expected("mixed_2_6, mixed_3_4, mixed_3_6 or mixed_4_6")
        .actual("\"" + std::string(name) + "\"")
        .advice("Write other mixes as a file for --quant-rules.");
  }
  const QuantFormat low{QuantMode::affine, mix->second.first, group_size};
  const QuantFormat high{QuantMode::affine, mix->second.second, group_size};
  const std::uint64_t layers = config_number(model, "num_hidden_layers"), eighth = layers / 8;
  QuantPlan plan{{}, low};
  for (const QuantizableLayer& l : quantizable_layers(model)) {
    const auto holds = [&](std::string_view part) { return l.path.find(part) != l.path.npos; };
    const std::uint64_t at = layer_of(l.path);
    const bool more = at < eighth || at >= 7 * layers / 8 || (at - eighth) % 3 == 2;
    const bool value = holds("v_proj") || holds("v_a_proj") || holds("v_b_proj");
    if (holds("lm_head") || (more && (value || holds("down_proj")))) {
      plan.rules.push_back({l.path, high});
    }
  }
  return plan;
}

QuantSummary quantize_model(LoweredModel& model, const QuantPlan& plan) {
  QuantSummary summary;
  std::vector<bool> used(plan.rules.size());
  std::map<std::size_t, QuantFormat> chosen;  // by tensor
  for (const QuantizableLayer& layer : quantizable_layers(model)) {
    std::optional<QuantFormat> format = plan.base;
    std::string reason = format ? "" : "no rule names it";
    for (std::size_t r = 0; r < plan.rules.size(); ++r) {
      if (!matches(plan.rules[r].pattern, layer.path)) continue;
      used[r] = true;
      format = plan.rules[r].format;
      if (!format) reason = "the rule \"" + plan.rules[r].pattern + "\" leaves it";
      break;
    }
    if (format) reason = cannot_take(model, layer, *format);
    if (format && reason.empty()) chosen.emplace(layer.tensor, *format);
    if (!reason.empty()) format.reset();
    summary.layers.push_back(
        {layer.path, format, reason, model.tensors[layer.tensor].tensor.numel(), 0});
  }
  for (std::size_t r = 0; r < used.size(); ++r) {
    if (!used[r]) summary.unused.push_back(plan.rules[r].pattern);
  }

  const QuantFormat base = plan.base         ? *plan.base
                           : !chosen.empty() ? chosen.begin()->second
                                             : QuantFormat{};
  nlohmann::ordered_json block = entry(base);
  std::vector<TargetTensor> tensors;
  std::uint64_t parameters = 0;
  auto layer = summary.layers.begin();
  for (std::size_t i = 0; i < model.tensors.size(); ++i) {
    TargetTensor& t = model.tensors[i];
    parameters = checked_add(parameters, t.tensor.numel(), "the model's parameter count");
    const std::string path =
        t.name.substr(0, t.name.size() - std::min(t.name.size(), kWeight.size()));
    const bool listed =
        layer != summary.layers.end() && layer->path + std::string(kWeight) == t.name;
    const auto format = chosen.find(i);
    if (format == chosen.end()) {
      if (listed) layer++->bytes = t.tensor.nbytes();
      tensors.push_back(t);
      continue;
    }
    const QuantFormat& f = format->second;
    QuantizedTensors made = quantize(path, t.tensor, f);
    TargetTensor part = t;
    part.exact = false;
    part.note = (t.note.empty() ? "" : t.note + "; ") + "quantised: " + std::string(name(f.mode)) +
                ", " + std::to_string(f.bits) + " bits, groups of " + std::to_string(f.group_size);
    part.tensor = made.weight;
    layer->bytes = made.weight.nbytes() + made.scales.nbytes();
    tensors.push_back(part);
    part.entries = 0;
    part.name = path + ".scales";
    part.tensor = made.scales;
    tensors.push_back(part);
    if (made.biases) {
      layer->bytes += made.biases->nbytes();
      part.name = path + ".biases";
      part.tensor = *made.biases;
      tensors.push_back(part);
    }
    ++layer;
    const bool parted = is_parted_by_the_loader(model, path);
    if (f != base || parted) block[path] = entry(f);
    if (parted) {  // under the names that mlx-lm's class gives the parts
      const std::string stem = path.substr(0, path.rfind('.') + 1);
      block[stem + "embed_q"] = block[stem + "unembed_out"] = entry(f);
    }
  }
  model.tensors = std::move(tensors);
  for (const TargetTensor& t : model.tensors) {
    summary.bytes = checked_add(summary.bytes, t.tensor.nbytes(), "the model's size");
  }
  summary.bits_per_weight =
      parameters == 0 ? 0
                      : 8.0 * static_cast<double>(summary.bytes) / static_cast<double>(parameters);
  if (!chosen.empty()) {
    model.config["quantization"] = block;
    model.config["quantization_config"] = block;
  }
  return summary;
}

}  // namespace wb
