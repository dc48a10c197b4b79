// A fuzzer's bytes as what the readers take: a text, or a file that is in memory alone. Behind the
// file's last byte, where the page that is mapped goes on with zeros, nobody may look: the rest is
// poisoned, so that AddressSanitizer sees a read beyond the file as it would in a buffer.
#pragma once

#include <sanitizer/asan_interface.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>

#include "base/mapped_file.h"

namespace wb::fuzz {

inline std::string text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}
inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class MemoryFile {
 public:
  explicit MemoryFile(std::span<const std::byte> content) {
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    // Not a finding: the machine is out of something.
    if (fd < 0 || write(fd, content.data(), content.size()) != std::ssize(content)) std::abort();
    file_ = MappedFile::adopt(fd, "fuzz.bin");
    const std::size_t page = 4096;
    rest_ = (page - content.size() % page) % page;
    __asan_poison_memory_region(file_->bytes().data() + content.size(), rest_);
  }
  ~MemoryFile() { __asan_unpoison_memory_region(file_->bytes().data() + file_->size(), rest_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  // What it is given to may not outlive this object.
  const std::shared_ptr<const MappedFile>& file() const { return file_; }

 private:
  std::shared_ptr<const MappedFile> file_;
  std::size_t rest_ = 0;
};

}  // namespace wb::fuzz
