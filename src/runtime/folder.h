// The tensors of an MLX folder by the names of its class: finding files, handing out
// tensors with their shapes checked, decoding quantised layers, and in the end
// accounting for every tensor. Internal to runtime/.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

#include "model/mlx_config.h"
#include "quant/quantize.h"
#include "tensor/tensor.h"

namespace wb {

// config.json of a folder. Throws Code::file_open, Code::config_invalid.
nlohmann::json read_config(const std::string& folder);
// The weight files that `reader` loads, sorted. Throws Code::no_tensors when there are none.
std::vector<std::string> weight_files(const std::string& folder, MlxReader reader);

class Folder {
 public:
  Folder(std::string path, const nlohmann::json& config, const std::vector<std::string>& files);
  // Tensors in memory in place of files; no name twice.
  Folder(const nlohmann::json& config, const std::vector<std::pair<std::string, Tensor>>& tensors);

  bool has(const std::string& name) const { return tensors_.count(name) != 0; }
  bool has_prefix(const std::string& prefix) const;
  // The tensor `name` as stored; marks it used. Throws tensor_missing, shape_mismatch.
  Tensor take(const std::string& name, const Shape& shape);
  // `path`.weight of a module that MLX may have quantised: plain, or decoded from
  // weight, scales and biases.
  Tensor weight(const std::string& path, const Shape& shape) {
    return weight_of(path, path, shape);
  }
  // The same where the module's settings stand in config under another path (experts that are
  // stacked while loading).
  Tensor weight_of(const std::string& path, const std::string& config_path, const Shape& shape);
  // Set when `path` is stored quantised: how.
  std::optional<QuantFormat> format(const std::string& path, const std::string& config_path) const;
  DType scales_dtype(const std::string& path) const;
  // Marks every tensor whose name the predicate takes as dropped by the class.
  template <class Predicate>
  void drop(Predicate dropped) {
    for (const auto& [name, entry] : tensors_) {
      if (dropped(name)) used_.insert(name);
    }
  }
  // Throws source_uncovered when a tensor was neither taken nor dropped.
  void check_all_used() const;
  const std::string& path() const { return path_; }

 private:
  struct Entry {
    Tensor tensor;
    std::string file;
  };
  const Entry& entry(const std::string& name, const std::string& shape);

  std::string path_;
  nlohmann::json quantization_;  // null when the model is not quantised
  std::map<std::string, Entry> tensors_;
  std::set<std::string> used_;
};

}  // namespace wb
