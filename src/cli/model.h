// What the commands that run a model share: a checkpoint or an MLX folder as a
// canonical model, its tokenizer, and tokens from wherever the user has them.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/source.h"
#include "model/mlx_config.h"
#include "package/texts.h"
#include "tokenizer/tokenizer.h"

namespace wb::cli {

struct LoadedModel {
  CanonicalModel model;
  bool is_folder = false;   // an MLX folder, not a source checkpoint
  nlohmann::json manifest;  // weightbridge.json of a folder; null without one
  std::vector<std::shared_ptr<const MappedFile>> files;  // keeps a source's mapping alive
};
// `flags.path` as a folder when it is one and flags.recipe says nothing else, else through its
// recipe.
LoadedModel load_any(const SourceFlags& flags, MlxReader reader = MlxReader::mlx_lm);
// A source that a recipe reads, where one recognises it, even when its config.json names a
// class; else as load_any().
LoadedModel load_source(const SourceFlags& flags, MlxReader reader = MlxReader::mlx_lm);

// Settings that a folder was converted with, from its manifest, into the flags of its source where
// the user gives none; says so in `remarks`.
void settings_from_manifest(SourceFlags& flags, const nlohmann::json& manifest,
                            std::vector<std::string>& remarks);

// "mlx-lm" or "swift".
MlxReader reader_from_name(const std::string& name);

// `given`, else tokenizer.json in or beside the model; nothing when there is none.
std::optional<Tokenizer> tokenizer_for(const std::string& given, const std::string& model_path);
// The same, but its absence is an error that says what to do.
Tokenizer require_tokenizer(const std::string& given, const std::string& model_path);

// "1,2,3", or a file: raw little-endian ids (.u16, .u32), or safetensors with "tokens".
// Throws Code::usage for anything else and for ids that `vocab_size` does not have.
std::vector<std::uint32_t> parse_tokens(const std::string& text, std::uint64_t vocab_size);

}  // namespace wb::cli
