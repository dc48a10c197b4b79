// MLX folders, read back as the programs that load them read them: config.json picks
// the class, the weight files are found as the loader finds them, and loading is
// strict: a tensor that is missing, left over or of another shape is an error that
// names it. Gives a canonical model; knows nothing of how the folder was written.
#pragma once

#include <string>

#include "model/canonical.h"
#include "model/mlx_config.h"

namespace wb {

struct LoadOptions {
  // Whose reading: mlx_lm globs model*.safetensors; Swift follows the index when every file it
  // names is there. It also decides what the stock classes compute (mlx_config.h).
  MlxReader reader = MlxReader::mlx_lm;
};

// Whether `path` is a folder with a config.json that load_model takes: model_type
// weightbridge_mla, deepseek_v3 or deepseek_v2, and at least one weight file.
bool is_mlx_folder(const std::string& path);

// Throws Code::config_invalid, tensor_missing, source_uncovered (left-over tensors),
// shape_mismatch, tensor_name (one name in two files), no_tensors, and whatever opening a
// safetensors file throws; every error names the folder or file. Quantised layers are decoded
// when their values are first read.
CanonicalModel load_model(const std::string& path, const LoadOptions& options = {});
// The same of a folder that is not written: its config.json and the tensors of its weight files.
CanonicalModel load_model(const nlohmann::json& config,
                          const std::vector<std::pair<std::string, Tensor>>& tensors,
                          const LoadOptions& options = {});

}  // namespace wb
