// See facts.h.
#include "recipe/facts.h"

#include <algorithm>

#include "recipe/source.h"

namespace wb {

Facts::Facts(const nlohmann::json& facts) {
  for (const auto& [key, value] : facts.items()) add(key, value);
}

// The reader of checkpoints bounds how deep facts nest.
void Facts::add(const std::string& path, const nlohmann::json& value) {
  if (value.is_object()) {
    for (const auto& [key, inner] : value.items()) add(path + "." + key, inner);
    return;
  }
  auto [it, added] = by_path_.try_emplace(plain_name(path), &value);
  if (!added && (it->second == nullptr || *it->second != value)) it->second = nullptr;
}

const nlohmann::json* Facts::at(const std::string& path) const {
  auto it = by_path_.find(path);
  return it != by_path_.end() ? it->second : nullptr;
}

const nlohmann::json* Facts::find(const std::string& path) const {
  if (auto it = by_path_.find(path); it != by_path_.end()) return it->second;
  const nlohmann::json* found = nullptr;
  const std::string end = "." + path;
  for (const auto& [whole, value] : by_path_) {
    if (!whole.ends_with(end)) continue;
    if (value == nullptr || (found != nullptr && *found != *value)) return nullptr;
    found = value;
  }
  return found;
}

std::vector<std::pair<std::string, std::string>> Facts::around(const std::string& name) const {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& [path, value] : by_path_) {
    if (value == nullptr || !value->is_number()) continue;
    const std::size_t at = path.find(name);
    if (at == path.npos) continue;
    const std::size_t end = at + name.size();
    if ((at > 0 && path[at - 1] != '.') || (end < path.size() && path[end] != '.')) continue;
    out.emplace_back(path.substr(0, at), path.substr(end));
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace wb
