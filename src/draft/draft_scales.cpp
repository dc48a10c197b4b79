// Tensors that are stored as codes with scales: tensors beside them, or numbers among the facts by
// the tensors' names; see drafter.h.
#include <fmt/format.h>

#include <algorithm>

#include "draft/drafter.h"
#include "recipe/source.h"

namespace wb::draft {

namespace {

bool is_code(DType dtype) { return byte_size(dtype, 1) == 1 && dtype != DType::Bool; }

// The number beside the tensors by which `name` is scaled, or nullptr.
const nlohmann::json* scale_of(const Source& source, const std::string& name,
                               const std::pair<std::string, std::string>& around) {
  for (const std::string& wrapped : source.wrapped(name)) {
    const nlohmann::json* found = source.facts().at(around.first + wrapped + around.second);
    if (found != nullptr) return found->is_number_float() ? found : nullptr;
  }
  return nullptr;
}

}  // namespace

// Numbers of 8 bits with a scale beside each, one or one for each row: read as their products.
void Drafter::find_scales() {
  std::map<std::string, const Group*> by_pattern;
  std::vector<std::string> alone;  // names of codes that have no tensor of scales beside them
  for (const Group& g : names_.groups) by_pattern[g.pattern] = &g;
  for (const auto& [pattern, codes] : by_pattern) {
    if (!is_code(codes->dtype)) continue;
    bool scaled = false;
    for (const char* suffix : {".scale", "_scale"}) {
      auto it = by_pattern.find(pattern + suffix);
      if (it == by_pattern.end() || !info(it->second->dtype).is_float) continue;
      const Shape& s = it->second->shape;
      const std::uint64_t scales = s.empty() ? 1 : s.size() == 1 ? s[0] : 0;
      const bool fits = scales == 1 || (!codes->shape.empty() && scales == codes->shape[0]);
      if (!fits || (s.empty() ? false : codes->shape.empty())) continue;
      settle(it->second, "scale of the numbers beside it", 0.97, "its length and name");
      const std::string line = fmt::format("{{any}}.dequantise({{any}}{})", suffix);
      if (encoded_.empty() || encoded_.back().value != toml_string(line))
        encoded_.push_back({toml_string("{any}"), toml_string(line), "codes and scales", false});
      scaled = true;
      break;
    }
    if (scaled) continue;
    for (std::size_t i : codes->tensors)
      alone.push_back(plain_name(checkpoint_.tensors[i].name).substr(names_.prefix.size()));
  }
  if (!alone.empty()) scales_in_facts(alone);
}

// A path that leads from the name of every such tensor to a number that is called a scale.
void Drafter::scales_in_facts(const std::vector<std::string>& codes) {
  const Source source(checkpoint_, names_.prefix);
  for (const auto& around : source.facts().around(codes[0])) {
    const std::string words = around.first + around.second;
    const bool all = words.find("scale") != words.npos &&
                     std::all_of(codes.begin(), codes.end(), [&](const std::string& name) {
                       return scale_of(source, name, around) != nullptr;
                     });
    if (!all) continue;
    const std::string line = fmt::format("{{any}}.dequantise(full(fact({}), 1))",
                                         quoted(around.first + "{any}" + around.second));
    encoded_.push_back({toml_string("{any}"), toml_string(line), "codes and scales", false});
    for (const std::string& name : codes)
      scales_[source.find(name)] = scale_of(source, name, around)->get<double>();
    return;
  }
}

Tensor Drafter::first_tensor(const Group& group) const {
  const Tensor& stored = checkpoint_.tensors[group.tensors.at(0)].tensor;
  auto it = scales_.find(group.tensors.at(0));
  if (it == scales_.end()) return stored;
  Shape blocks = stored.shape();
  for (std::uint64_t& b : blocks) b = std::max<std::uint64_t>(b, 1);
  const Tensor scale = Tensor::fill(DType::F32, Shape(blocks.size(), 1), it->second);
  return Tensor::times(stored, scale, std::move(blocks), DType::F32);
}

}  // namespace wb::draft
