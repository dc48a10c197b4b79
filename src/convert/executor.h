// The executor: makes the bytes of all tensor files and fingerprints them and the
// sources, on all cores. Files are cut into tiles; a tile is made (from the mapped
// source, or computed) and written, in file order; behind the writing, each file's
// hash follows over the pages just written, and its way to disk is begun. Memory is
// one tile per thread, whatever the model's size.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "convert/convert.h"
#include "convert/folder.h"
#include "convert/layout.h"

namespace wb {

struct Fingerprint {
  std::string xxh3_128, sha256;  // sha256 empty unless asked for
};
Fingerprint fingerprint(std::span<const std::byte> bytes, bool sha256);

// What is to be done of a layout, and whom it tells. The callbacks come from one thread, one
// after the other; what they throw ends the work.
struct Execution {
  std::vector<bool> skip_files;    // by layout.files: written already, or elsewhere
  std::vector<bool> skip_sources;  // by job.sources: not fingerprinted here
  std::vector<bool> skip_checks;   // by job.checks
  // A new file of the size that the layout says, all zeros; asked for when its first tile is due,
  // so that the disk holds no more than what is written.
  std::function<std::unique_ptr<OutputFile>(std::size_t file)> create;
  // The file is written and fingerprinted and, with job.sync, on disk; it has been closed.
  std::function<void(std::size_t file, const Fingerprint&)> file_done;
  std::function<void(std::size_t source, const Fingerprint&)> source_done;
  std::vector<std::unique_ptr<OutputFile>> small;  // written already; synced with job.sync
};

// Does it, and job.checks. Throws no_space, file_write, interrupted, and what checks, callbacks
// and reading throw.
void execute(const ConvertJob& job, const FolderLayout& layout, Execution& execution);

}  // namespace wb
