// Mapped files that lose pages while they are read: a file that another process cuts short, a disk
// that fails. The system answers such a read with SIGBUS. The guard puts zeros in place of the
// pages, so that the reader goes on, and remembers the loss; whoever is about to rely on what was
// read asks require_readable(), which turns the loss into an Error. Nothing unwinds out of a signal
// handler, so it holds on any thread and in any library. Refuses to touch faults anywhere else:
// those pass to the handler that was there before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace wb {

// Installs the handler of SIGBUS, once for the process. Without it a lost page ends the process.
void install_read_guard();

// Throws Code::file_open, naming the first mapped file that lost pages, when any has since the
// process began: from then on nothing that was read is to be relied on. Costs one load else.
void require_readable();
// Forgets the loss, for a process that has closed the file and goes on with others.
void forget_lost_pages();

// While it lives, `size` bytes from `begin` are known to the guard as the pages of `path`.
class GuardedRange {
 public:
  GuardedRange() = default;
  // `fd` stays open and `path` stays where it is for as long as this lives.
  GuardedRange(const void* begin, std::size_t size, int fd, const std::string& path);
  ~GuardedRange();
  GuardedRange(GuardedRange&& other) noexcept;
  GuardedRange& operator=(GuardedRange&& other) noexcept;

  struct Slot;

 private:
  Slot* slot_ = nullptr;
};

// Reads one byte of each page: a system call that was handed lost pages only says EFAULT, and
// this makes the guard see them.
void touch_pages(const void* begin, std::size_t size);

}  // namespace wb
