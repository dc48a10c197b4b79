// Layout: which file of the folder holds which tensor, and where. Pure arithmetic on
// names, dtypes and shapes; touches no tensor byte and no disk. Refuses what MLX cannot
// load: dtypes without a place there, dimensions past 2^31 - 1, headers of 100 MB.
//
// Inside a file tensors stand by dtype, widest alignment first, then by name, as the
// safetensors library writes them (so that every tensor is naturally aligned for mmap
// readers). Over files they are dealt out greedily in name order: a file is closed when
// the next tensor would take it past the shard size; a tensor is never split.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "target/target.h"

namespace wb {

struct PlacedTensor {
  const TargetTensor* tensor;
  std::uint64_t offset;  // in the file
  std::uint64_t bytes;
};

struct TensorFile {
  std::string name;
  std::string header;                 // length word, JSON and padding: the file's first bytes
  std::vector<PlacedTensor> tensors;  // by offset, without gaps
  std::uint64_t bytes = 0;            // of the whole file
};

struct FolderLayout {
  std::vector<TensorFile> files;   // model*.safetensors, then mtp.safetensors if there are extras
  std::string index;               // text of model.safetensors.index.json
  std::uint64_t tensor_bytes = 0;  // of all files, extras included
  std::uint64_t parameters = 0;    // as the index states them
};

// Throws dtype_unsupported, limit_exceeded, tensor_name.
FolderLayout lay_out(const LoweredModel& model, std::uint64_t shard_size);

// As mlx-lm counts: elements, except that a packed U32 weight counts the weights in it
// and its scales and biases do not count. Of `model.tensors` only.
std::uint64_t count_parameters(const LoweredModel& model);

}  // namespace wb
