// The folder on disk: written under a temporary name beside its destination, and
// renamed when it is whole. Owns every system call that creates, writes, syncs or
// renames; refuses to replace what it was not told to, or what it would lose.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/read_guard.h"

namespace wb {

// A new file of a size that is known. Reads as zeros until it is written.
class OutputFile {
 public:
  // Creates `path` and sets the space aside. Throws file_write, no_space.
  OutputFile(const std::string& path, std::uint64_t size);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }
  // Thread-safe. Throws file_write, no_space.
  void write(std::uint64_t offset, std::span<const std::byte> bytes) const;
  // What a reader of the file sees: a mapping of the whole of it. First call not thread-safe.
  std::span<const std::byte> view();
  // Asks the system to start bringing a range to disk, without waiting.
  void start_writeback(std::uint64_t offset, std::uint64_t length) const;
  void sync() const;  // throws file_write, no_space

 private:
  int fd_ = -1;
  std::string path_;
  std::uint64_t size_ = 0;
  const std::byte* view_ = nullptr;
  GuardedRange guarded_;
};

// Throws what `error` (an errno) means for writing `path`: no_space with what is free on its
// disk for ENOSPC and EDQUOT, else file_write. `what` is e.g. "cannot be written".
[[noreturn]] void throw_write_error(const std::string& path, int error, const char* what,
                                    std::uint64_t needed = 0);
// All of `bytes` at `offset` of `fd`; `path` for messages.
void write_fully(int fd, const std::string& path, std::uint64_t offset,
                 std::span<const std::byte> bytes);

// What an unfinished conversion leaves, and who may go on with it.
struct Continuation {
  bool keep = false;   // leave the partial folder when this run ends early
  bool adopt = false;  // go on with a partial folder whose journal is of `job`
  std::string job;
};

class PartialFolder {
 public:
  // Checks that `destination` may be written (it must not exist; with `force` it may be a
  // folder, unless one of `sources` lies in it) and makes the temporary folder beside it.
  // Removes temporary folders for the same destination whose process is gone.
  // One that has consumed its sources is never removed: only its own job adopts it.
  // Throws output_exists, unfinished, file_write.
  PartialFolder(const std::string& destination, bool force, std::span<const std::string> sources,
                const Continuation& continuation = {});
  ~PartialFolder();  // removes the temporary folder unless commit() was reached or it is kept
  PartialFolder(const PartialFolder&) = delete;
  PartialFolder& operator=(const PartialFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string path_of(const std::string& name) const { return path_ + "/" + name; }
  // Throws no_space when the disk has not that many bytes free.
  void require_space(std::uint64_t bytes) const;
  // Renames to the destination; with `sync`, folder and parent are brought to disk around it.
  // An old folder is exchanged in one step where the system can, and removed then.
  void commit(bool sync);

 private:
  std::string destination_, parent_, path_;
  // Given up to remove the folder where the process may open no more files, or has no more memory:
  // walking a folder takes both. Never written to, so that it is address space alone.
  static constexpr std::size_t kReserveBytes = std::size_t{256} << 10;
  int reserve_ = -1;
  std::unique_ptr<std::byte[]> memory_{new std::byte[kReserveBytes]};
  bool force_, keep_, done_ = false;
};

}  // namespace wb
