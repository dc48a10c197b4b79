// A compressed run of file bytes as a Storage. It inflates on first use, in
// pieces, into a temporary file without a name ($TMPDIR or /tmp) that is then
// mapped, so that anonymous memory stays small however large the record is.
// Refuses to write one byte more than the size that the directory declares.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/error.h"
#include "base/mapped_file.h"
#include "tensor/storage.h"

namespace wb {

struct DeflatedRun {
  std::shared_ptr<const MappedFile> file;
  std::string record;  // for messages
  std::uint64_t offset = 0, compressed_size = 0, size = 0;
  std::optional<std::uint32_t> crc32;  // checked when set
};

// bytes() throws zip_structure (damaged stream, other size than declared), zip_crc,
// no_space or file_write. Safe from many threads.
std::shared_ptr<const Storage> inflated_storage(DeflatedRun run);

// A new empty file, open for reading and writing, that has no name any more.
// Returns the descriptor, owned by the caller. Throws Code::file_write.
int unlinked_temporary_file();

// The error for errno value `number` met while doing `what` ("cannot be written") to
// such a file: no_space when the disk or quota is full, else file_write.
Error temporary_file_error(int number, const char* what);

// CRC-32 of bytes, continuing from `crc` (0 at the start).
std::uint32_t crc32_of(std::span<const std::byte> bytes, std::uint32_t crc = 0);
// "0x0badf00d"
std::string crc_text(std::uint32_t crc);

}  // namespace wb
