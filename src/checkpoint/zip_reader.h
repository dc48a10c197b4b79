// ZIP archives as torch.save writes them, and re-zipped ones. Owns the directory:
// every entry's place, size and CRC come from the central directory alone, and the
// whole of it is checked before anything is read. Refuses encryption, several
// disks, methods other than stored and deflate, and any directory that contradicts
// itself or the file (formats.md E2, E14). Names are keys, never paths.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mapped_file.h"
#include "tensor/storage.h"

namespace wb {

struct ZipEntry {
  std::string name;
  bool deflated = false;
  std::uint32_t crc32 = 0;
  std::uint64_t header_offset = 0;
  std::uint64_t data_offset = 0;  // of the first (compressed) byte in the file
  std::uint64_t compressed_size = 0;
  std::uint64_t size = 0;  // uncompressed
};

class ZipReader {
 public:
  // Reads and checks the directory. `max_inflated`: see OpenOptions. Throws zip_structure,
  // zip_unsupported, limit_exceeded.
  explicit ZipReader(std::shared_ptr<const MappedFile> file,
                     std::uint64_t max_inflated = std::uint64_t{1} << 30);
  ZipReader(ZipReader&&) = default;
  ZipReader(const ZipReader&) = delete;  // by_name_ points into entries_
  ZipReader& operator=(const ZipReader&) = delete;

  // Files only (an empty directory entry is dropped), in directory order.
  const std::vector<ZipEntry>& entries() const { return entries_; }
  const ZipEntry* find(std::string_view name) const;  // exact spelling; nullptr when absent
  const std::shared_ptr<const MappedFile>& file() const { return file_; }

  // The entry's content: a view of the mapped file, or a storage that inflates on
  // first use and then checks the CRC (unless check_crc is false). Shares the file.
  std::shared_ptr<const Storage> content(const ZipEntry& entry, bool check_crc) const;

 private:
  std::shared_ptr<const MappedFile> file_;
  std::vector<ZipEntry> entries_;
  std::unordered_map<std::string_view, std::size_t> by_name_;
};

}  // namespace wb
