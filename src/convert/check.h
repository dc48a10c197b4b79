// Files held to what is recorded of them: the hashes in a folder's weightbridge.json, and those
// that Hugging Face's downloader keeps of what it fetched (.cache/huggingface/download). Owns
// where records are looked for and what they mean; changes no file. A record that does not parse
// is no record; a file that is recorded and missing is an error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace wb {

struct RecordedFile {
  std::string path, name;  // name: in the folder
  std::string record;      // the file that says it, in the folder
  std::optional<std::uint64_t> bytes;
  std::string xxh3_128, sha256;  // lower-case hex; empty when not recorded
};
// In the order of their names.
std::vector<RecordedFile> recorded_files(const std::string& folder);
// Reads the whole file. Throws hash_mismatch, naming what was recorded and what is there, and
// file_open.
void check_recorded(const RecordedFile& file);

}  // namespace wb
