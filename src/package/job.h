// What a conversion is told besides the weights, whoever asks for it, the program or the library:
// so that both write the same folder.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "convert/convert.h"
#include "model/canonical.h"
#include "recipe/recipe.h"
#include "target/target.h"

namespace wb {

// A shipped recipe by its name, else the one in the file of that name; null for "".
RecipePtr recipe_from(const std::string& name_or_file);
// "source" is nothing. Throws Code::usage.
std::optional<DType> output_dtype(const std::string& name);

struct Asked {
  std::string dtype = "source", mtp = "drop", expert_widths = "document";
  nlohmann::ordered_json calibrate_steps;  // null without a calibration
  std::uint64_t shard_size = std::uint64_t{5} << 30;
};
// What weightbridge.json says besides the fingerprints, which the writer adds. No path of
// this machine goes in: the same conversion elsewhere makes the same bytes.
nlohmann::ordered_json folder_manifest(const Asked& asked, const Checkpoint& checkpoint,
                                       const CanonicalModel& model, const LoweredModel& lowered);
// The CRC-32 sums that the container states, for ConvertJob::checks.
std::vector<SourceCheck> crc_checks(const Checkpoint& checkpoint);
// The checkpoint's name for the model card: the last part of its path.
std::string source_name(const std::string& path);

}  // namespace wb
