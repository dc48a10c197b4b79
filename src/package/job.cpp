// See job.h.
#include "package/job.h"

#include <filesystem>
#include <map>
#include <optional>

#include "base/error.h"
#include "package/sums.h"
#include "weightbridge/version.h"

namespace wb {

RecipePtr recipe_from(const std::string& name_or_file) {
  if (name_or_file.empty()) return nullptr;
  for (const RecipePtr& shipped : shipped_recipes()) {
    if (summary(*shipped).name == name_or_file) return shipped;
  }
  return load_recipe(name_or_file);
}

std::optional<DType> output_dtype(const std::string& name) {
  static const std::map<std::string, std::optional<DType>> dtypes = {
      {"source", std::nullopt}, {"f32", DType::F32}, {"f16", DType::F16}, {"bf16", DType::BF16}};
  const auto dtype = dtypes.find(name);
  if (dtype == dtypes.end()) {
    throw Error(Code::usage, "--dtype names no element type of the output")
        .expected("f32, f16, bf16 or source")
        .actual("\"" + name + "\"")
        .advice("Leave --dtype out to keep each tensor's own type.");
  }
  return dtype->second;
}

nlohmann::ordered_json folder_manifest(const Asked& asked, const Checkpoint& checkpoint,
                                       const CanonicalModel& model, const LoweredModel& lowered) {
  return {{"tool", "weightbridge"},
          {"version", WEIGHTBRIDGE_VERSION},
          {"container", name(checkpoint.container)},
          {"recipe", model.recipe},
          {"prefix", model.prefix},
          {"target", lowered.target},
          {"dtype", asked.dtype},
          {"mtp", asked.mtp},
          {"expert_widths", asked.expert_widths},
          {"calibrate_steps", asked.calibrate_steps},
          {"shard_size", asked.shard_size},
          {"quantization", lowered.config.value("quantization", nlohmann::ordered_json(nullptr))},
          {"settings", settings_json(model)},
          {"dims", dims_json(model)},
          {"spec", to_json(model.spec)},
          {"sums", sums_json(sums_of(lowered))},
          {"losses", losses_json(lowered)}};
}

std::vector<SourceCheck> crc_checks(const Checkpoint& checkpoint) {
  std::vector<SourceCheck> checks;
  for (const StoredCrc& crc : checkpoint.crcs) {
    checks.push_back({crc.file, crc.offset, crc.length, [crc] { verify_crc(crc); }});
  }
  return checks;
}

std::string source_name(const std::string& path) {
  const std::filesystem::path source(path);
  return source.has_filename() ? source.filename().string()
                               : source.parent_path().filename().string();
}

}  // namespace wb
