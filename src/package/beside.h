// The files of an MLX folder that are not weights: tokenizer files (copied as they
// are, never written anew), the class file, and the README model card. Owns how
// they are found; refuses to guess at a tokenizer that it was not given.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "convert/convert.h"
#include "model/canonical.h"
#include "target/target.h"

namespace wb {

struct FolderFiles {
  std::vector<ExtraFile> files;
  std::vector<std::string> remarks;  // what was found, made or missed, one sentence each
};

// `given`: --tokenizer, a file or a folder; empty = look beside `checkpoint_path`.
// Throws Code::usage when what was given holds no tokenizer, Code::file_open when it is not there.
FolderFiles tokenizer_files(const std::string& given, const std::string& checkpoint_path,
                            std::uint64_t vocab_size);

// Puts the class file into the folder and names it in config.json, for a model whose
// model_type is the exact class.
void add_class_file(LoweredModel& model, FolderFiles& folder);

// README.md from share/model-card.md. `source` is the checkpoint's name, without its folders.
ExtraFile model_card(const std::string& source, const CanonicalModel& canonical,
                     const LoweredModel& model);

}  // namespace wb
