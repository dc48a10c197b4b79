// A checkpoint, whatever its container: names, lazy tensors, and the scalar facts
// found beside them. Opening reads structure only (directories, pickles, headers)
// and validates all of it; tensor bytes stay in the mapped files. Nothing in a file
// is ever executed or resolved (docs/security.md).
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace wb {

enum class Container { torch_zip, torch_legacy, safetensors, safetensors_sharded };
std::string_view name(Container container);

struct SourceTensor {
  std::string name;  // full path in the file, dict keys joined by '.'
  Tensor tensor;
  std::string_view file;             // path of the one of Checkpoint::files that holds its bytes
  std::uint64_t storage_id;          // equal for tensors that view one storage
  std::uint64_t storage_bytes = 0;   // size of that whole storage
  std::uint64_t storage_offset = 0;  // elements
  bool contiguous = true;
};

// A run of file bytes whose CRC-32 the container states (a zip record's content).
struct StoredCrc {
  std::string record;
  std::shared_ptr<const MappedFile> file;
  std::uint64_t offset, length;  // of the uncompressed bytes in the file
  std::uint32_t crc32;
};

struct Checkpoint {
  std::string path;
  Container container = Container::torch_zip;
  std::vector<SourceTensor> tensors;  // sorted by name, names unique
  // Numbers, strings, booleans and lists of them found beside the tensors, nested as
  // in the file ({"config": {"n_head": 8}}; keys as strings); what a pickle keeps as
  // opaque objects is not here. A safetensors file's own strings are under "__metadata__".
  nlohmann::json facts = nlohmann::json::object();
  // config.json beside safetensors files, if there is one; it must be a JSON object.
  std::optional<nlohmann::json> config;
  // Every file that was read, for fingerprints, in a fixed order.
  std::vector<std::shared_ptr<const MappedFile>> files;
  // Checked by verify_crc, or by the executor while it reads the bytes anyway. Compressed
  // records are not here: their CRC is checked when they are inflated.
  std::vector<StoredCrc> crcs;
  std::vector<std::string> notes;  // opaque objects kept inert, CRCs absent, ...

  const SourceTensor* find(std::string_view name) const;  // nullptr when absent
  std::uint64_t total_bytes() const;                      // sum of the entries
  std::uint64_t stored_bytes() const;                     // shared storage counted once
};

struct OpenOptions {
  // Files that --consume has cut to their headers are taken in their place; reading their data
  // throws Code::source_consumed. Without it such a file is an error at once.
  bool allow_consumed = false;
  bool check_crc = true;  // of data.pkl and compressed records; stored records: verify_crc
  // docs/security.md lists these; limit_rows() names them.
  std::uint64_t max_pickle_bytes = 256u << 20;
  std::uint64_t max_pickle_objects = 1u << 22;  // about 80 bytes of memory each
  std::uint64_t max_pickle_memo = 1u << 22;
  std::uint64_t max_pickle_stack = 1u << 21;  // picklers write lists and dicts by the thousand
  std::uint64_t max_tensors = 4u << 20;
  std::uint64_t max_header_bytes = 100'000'000;  // safetensors header or index
  // Of all tensors, as they would be written: a small file may claim any shape.
  std::uint64_t max_total_bytes = std::uint64_t{16} << 40;
  // Of all compressed records together, or 64 times the file where that is more: weights do not
  // compress, and this leaves room for masks and zeros.
  std::uint64_t max_inflated_bytes = 1u << 30;
};

// A limit by the name that `--limit NAME=VALUE` takes.
struct LimitRow {
  std::string_view name, help;
  std::uint64_t OpenOptions::*value;
};
std::span<const LimitRow> limit_rows();
// How a person who trusts the file raises the limit: "If you trust the file, ... --limit NAME=...".
std::string raise_limit(std::string_view name);

// `path`: a file, or a folder with safetensors files (with or without an index) or
// exactly one PyTorch file. Throws wb::Error with the file's name.
Checkpoint open_checkpoint(const std::string& path, const OpenOptions& options = {});

// Throws Code::zip_crc, naming the record and both values, when the bytes do not match.
void verify_crc(const StoredCrc& stored);

}  // namespace wb
