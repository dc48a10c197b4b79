// --check, as inspect and convert take it: a checkpoint's bytes held to everything that says what
// they should be: CRC-32 sums in the container, and recorded hashes beside the files.
#pragma once

#include <string>

#include "checkpoint/checkpoint.h"
#include "cli/output.h"

namespace wb::cli {

struct IntegrityFindings {
  std::size_t crcs = 0;       // of stored records
  std::size_t recorded = 0;   // files with a hash or size on record
  std::size_t unchecked = 0;  // files of the checkpoint that nothing speaks of
};
// Reads all that is checked. Throws zip_crc, hash_mismatch. The first that is wrong, in the order
// of the container and then of names, whatever the threads.
IntegrityFindings check_integrity(const Checkpoint& checkpoint, unsigned threads);

std::string integrity_text(const IntegrityFindings& found);
Json integrity_json(const IntegrityFindings& found);

}  // namespace wb::cli
