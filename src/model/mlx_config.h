// The stock classes of mlx-lm and mlx-swift-lm, read from config.json: what
// deepseek_v3 and deepseek_v2 compute for a given config, as a ModelSpec. Facts of
// the classes (defaults, fixed epsilons, which keys are ignored) are here and
// nowhere else. Refuses other model types and values that the class refuses
// (Code::config_invalid, naming the key).
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "model/spec.h"

namespace wb {

enum class MlxReader { mlx_lm, swift };

// Whether `model_type` is one that spec_from_stock_config knows.
bool is_stock_model_type(std::string_view model_type);

// What the class that `config.model_type` selects computes. Keys that it ignores are ignored.
// Under MlxReader::swift, keys without which Swift does not load are required, and the
// differences of its deepseek_v3 are in the spec.
ModelSpec spec_from_stock_config(const nlohmann::json& config, MlxReader reader);

}  // namespace wb
