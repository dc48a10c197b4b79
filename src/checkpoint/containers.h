// The openers, one per container, and what they share. Internal to checkpoint/:
// the outside calls open_checkpoint.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "base/mapped_file.h"
#include "checkpoint/bytes.h"
#include "checkpoint/checkpoint.h"

namespace wb {

using FilePtr = std::shared_ptr<const MappedFile>;

// Each appends to a Checkpoint whose path is set; tensors unsorted, `files` filled.
// Errors carry the file's name.
void open_torch_zip(const FilePtr& file, const OpenOptions& options, Checkpoint& out);
void open_torch_legacy(const FilePtr& file, const OpenOptions& options, Checkpoint& out);
void open_safetensors(const FilePtr& file, const OpenOptions& options, Checkpoint& out);
// A folder: shards with or without an index.
void open_safetensors_folder(const std::filesystem::path& folder, const OpenOptions& options,
                             Checkpoint& out);
// True when `folder` holds safetensors files or an index of them.
bool has_safetensors(const std::filesystem::path& folder);

// Whether the bytes open a legacy file: a pickle of PyTorch's magic number.
bool is_torch_legacy(Bytes bytes);
// Whether the bytes can be meant as a safetensors file, right or wrong.
bool is_safetensors(Bytes bytes);

// By name, those of one name in the order that they had.
void order_by_name(std::vector<SourceTensor>& tensors);
// The same. Throws Code::tensor_name when a name occurs twice, naming both files.
void sort_tensors(Checkpoint& checkpoint);

}  // namespace wb
