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

// Processes that write one folder together, on a file system that all of them see.
struct RankGroup {
  unsigned rank = 0, size = 1;
  // Every rank's text, in the order of ranks; returns when all have called it. Null for one rank.
  std::function<std::vector<std::string>(const std::string&)> gather;
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
  // Go on with what an earlier run of the same job left, every file of it checked first; and
  // leave what is done when this run is cut off.
  bool resume = false;
  // Delete source files once all that they feed is written, synced and fingerprinted. One that is
  // deleted while others are still read leaves NAME.consumed, its header with a hole for the data,
  // which goes when the folder is there. A file that feeds nothing stays. What is done is kept as
  // with resume; one rank only, and only with sync.
  bool consume = false;
  // By source. A file whose data the plan itself reads can go at the end only: a run that resumes
  // plans again.
  enum class Consume { never, at_end, when_used };
  std::vector<Consume> consumable;
  RankGroup ranks;
  unsigned threads = 0;                           // 0 = default_threads()
  std::function<void(const Progress&)> progress;  // called from one thread at a time
};

struct WrittenFile {
  std::string name;
  std::uint64_t bytes;
  std::string xxh3_128, sha256;
};
struct ConvertResult {
  std::vector<WrittenFile> files;  // every file of the folder; of rank 0 only
  std::size_t resumed = 0;         // files that an earlier run had written
  std::vector<std::string> consumed;
  std::uint64_t tensor_bytes = 0;
  std::uint64_t parameters = 0;
};
// Throws output_exists, unfinished, source_consumed, file_write, no_space, interrupted, and, for a
// model that no MLX program could load, dtype_unsupported, limit_exceeded or tensor_name; what
// `checks` and reading throw passes through. Leaves nothing behind then.
ConvertResult convert(const ConvertJob& job);

// Which rank writes which of the layout's files: contiguous runs of about equal bytes, so that each
// rank reads its own part of the source.
std::vector<unsigned> split_over_ranks(const std::vector<std::uint64_t>& bytes, unsigned ranks);

// Makes a running convert() stop with Code::interrupted at its next tile. May be called
// from a signal handler. Stays set until clear_interrupt().
void request_interrupt() noexcept;
void clear_interrupt() noexcept;
bool interrupt_requested() noexcept;

}  // namespace wb
