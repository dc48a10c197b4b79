// Any bytes as a zip directory: an entry that is accepted is found under its name, once, and its
// content is a run of the file, or inflates to the size that is declared or to an error.
#include "checkpoint/zip_reader.h"

#include "base/error.h"
#include "input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::uint64_t kInflate = 1u << 16;
  const wb::fuzz::MemoryFile input(std::as_bytes(std::span(data, size)));
  try {
    const wb::ZipReader zip(input.file());
    for (const wb::ZipEntry& entry : zip.entries()) {
      WB_CHECK(zip.find(entry.name) == &entry);
      WB_CHECK(entry.header_offset < entry.data_offset && entry.data_offset <= size);
      WB_CHECK(entry.compressed_size <= size - entry.data_offset);
      WB_CHECK(entry.deflated || entry.compressed_size == entry.size);
    }
    for (const wb::ZipEntry& entry : zip.entries()) {
      if (entry.size > kInflate) continue;
      try {
        WB_CHECK(zip.content(entry, true)->bytes().size() == entry.size);
      } catch (const wb::Error&) {
      }
    }
  } catch (const wb::Error&) {
  }
  return 0;
}
