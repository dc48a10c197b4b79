// Execution: a lowered model becomes an MLX folder. The folder is written beside
// its destination, synced, and renamed; it appears whole or not at all. Bytes are
// the same whatever the thread count.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "target/target.h"

namespace wb {

struct Progress {
  std::uint64_t done, total;  // bytes of tensor data written
};

struct ExtraFile {
  std::string name;    // plain basename in the folder
  std::string source;  // path to copy verbatim; or, when empty, `content`
  std::string content;
};

// CRC-32 to hold a run of source bytes to, while they are read for the fingerprint.
struct SourceCheck {
  std::shared_ptr<const MappedFile> file;
  std::uint64_t offset, length;
  std::function<void()> verify;  // throws when the bytes are wrong
};

struct ConvertJob {
  const LoweredModel* model = nullptr;
  std::string destination;                                 // the folder
  std::vector<std::shared_ptr<const MappedFile>> sources;  // fingerprinted, in this order
  std::vector<SourceCheck> checks;
  std::vector<ExtraFile> files;     // tokenizer, model card, class files
  nlohmann::ordered_json manifest;  // weightbridge.json so far: tool, recipe, target, parameters
  std::uint64_t shard_size = std::uint64_t{5} << 30;
  bool sync = true, sha256 = false, force = false;
  unsigned threads = 0;                           // 0 = default_threads()
  std::function<void(const Progress&)> progress;  // called from one thread at a time
};

struct WrittenFile {
  std::string name;
  std::uint64_t bytes;
  std::string xxh3_128, sha256;
};
struct ConvertResult {
  std::vector<WrittenFile> files;  // every file of the folder
  std::uint64_t tensor_bytes = 0;
  std::uint64_t parameters = 0;
};
// Throws output_exists, file_write, no_space, interrupted, and, for a model that no MLX
// program could load, dtype_unsupported, limit_exceeded or tensor_name; what `checks` and
// reading throw passes through. Leaves nothing behind then.
ConvertResult convert(const ConvertJob& job);

// Makes a running convert() stop with Code::interrupted at its next tile. May be called
// from a signal handler. Stays set until clear_interrupt().
void request_interrupt() noexcept;
void clear_interrupt() noexcept;
bool interrupt_requested() noexcept;

}  // namespace wb
