// Where source bytes are: one run of bytes, mapped from a file or made from one.
// A storage is immutable and shared; it knows its file range when its bytes stand
// in a file as they are, so that a writer can copy them file to file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"

namespace wb {

class Storage {
 public:
  virtual ~Storage() = default;
  virtual std::uint64_t size() const = 0;  // bytes; known without touching them
  // All bytes. May do work on the first call (inflate into an unlinked temporary
  // file) and throw then; safe from many threads.
  virtual std::span<const std::byte> bytes() const = 0;

  struct FileRange {
    std::shared_ptr<const MappedFile> file;
    std::uint64_t offset;  // of the storage's first byte
  };
  // Set when the bytes stand in a file uncompressed.
  virtual std::optional<FileRange> file_range() const { return std::nullopt; }
};

// Bytes [offset, offset + length) of a mapped file. Throws Code::truncated.
std::shared_ptr<const Storage> mapped_storage(std::shared_ptr<const MappedFile> file,
                                              std::uint64_t offset, std::uint64_t length);
// What is added to the name of a source file whose data a conversion deleted after use
// (convert --consume); its header is still there, with a hole behind it.
inline constexpr std::string_view kConsumedEnd = ".consumed";
// A range of such a file: its place is known, its bytes are gone. bytes() throws
// Code::source_consumed.
std::shared_ptr<const Storage> consumed_storage(std::shared_ptr<const MappedFile> file,
                                                std::uint64_t offset, std::uint64_t length);
// Bytes owned in memory; for small tables and tests.
std::shared_ptr<const Storage> memory_storage(std::vector<std::byte> bytes);

}  // namespace wb
