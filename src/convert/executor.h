// The executor: makes the bytes of all tensor files and fingerprints them and the
// sources, on all cores. Files are cut into tiles; a tile is made (from the mapped
// source, or computed) and written, in file order; behind the writing, each file's
// hash follows over the pages just written, and its way to disk is begun. Memory is
// one tile per thread, whatever the model's size.
#pragma once

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

struct Executed {
  std::vector<Fingerprint> files;    // of layout.files
  std::vector<Fingerprint> sources;  // of job.sources
};

// `outputs`: one new file per layout.files, of its size, all zeros; written in full here.
// With job.sync they and `small` (already written) are on disk afterwards. Runs job.checks.
// Throws no_space, file_write, interrupted, and what checks and reading throw.
Executed execute(const ConvertJob& job, const FolderLayout& layout,
                 const std::vector<std::unique_ptr<OutputFile>>& outputs,
                 const std::vector<std::unique_ptr<OutputFile>>& small);

}  // namespace wb
