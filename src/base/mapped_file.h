// A whole file mapped read-only. Owns the descriptor and the mapping; shared by
// every tensor that views it. Refuses directories, devices and pipes.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/read_guard.h"

namespace wb {

class MappedFile {
 public:
  // Throws Code::file_open. `path` is kept as given, for messages.
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  // Takes over `fd` (e.g. an unlinked temporary file) and maps it; `path` is only its name in
  // messages.
  static std::shared_ptr<const MappedFile> adopt(int fd, const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }
  int fd() const { return fd_; }
  std::span<const std::byte> bytes() const { return {data_, static_cast<std::size_t>(size_)}; }
  // Whether anything but a header was asked for since the file was opened: what a plan has read,
  // a later run of the same plan will read again.
  bool touched() const { return touched_.load(std::memory_order_relaxed); }
  void touch() const { touched_.store(true, std::memory_order_relaxed); }
  // Throws Code::file_open when the file is not what it was when it was opened: lost pages
  // (base/read_guard.h), another size, or written to since.
  void require_unchanged() const;
  // Bytes [offset, offset + length); throws Code::truncated when the file ends before.
  std::span<const std::byte> range(std::uint64_t offset, std::uint64_t length) const;

 private:
  MappedFile(int fd, std::string path);
  int fd_ = -1;
  std::string path_;
  const std::byte* data_ = nullptr;
  std::uint64_t size_ = 0;
  std::int64_t modified_s_ = 0, modified_ns_ = 0;  // when it was opened
  GuardedRange guarded_;                           // data_; refers to fd_ and path_
  mutable std::atomic<bool> touched_{false};
};

}  // namespace wb
