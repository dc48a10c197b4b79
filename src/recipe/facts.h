// What stands beside the tensors in a checkpoint (numbers, words, lists), by path. Owns how a path
// finds its value: keys joined by dots, however deep the dicts nest and whatever dots the keys
// have themselves, without the `_orig_mod` segments that torch.compile leaves in names.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace wb {

class Facts {
 public:
  explicit Facts(const nlohmann::json& facts);  // keeps references into it

  // The value at `path`; nullptr when there is none, or two that disagree.
  const nlohmann::json* at(const std::string& path) const;
  // The same, or else the only value whose path ends in `path`: wrappers lie around tensors and
  // facts alike.
  const nlohmann::json* find(const std::string& path) const;
  // What stands before and after `name` in the paths of numbers that have it between dots.
  std::vector<std::pair<std::string, std::string>> around(const std::string& name) const;

 private:
  void add(const std::string& path, const nlohmann::json& value);

  std::unordered_map<std::string, const nlohmann::json*> by_path_;
};

}  // namespace wb
