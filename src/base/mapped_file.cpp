// Opening and mapping; see mapped_file.h.
#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/checked.h"
#include "base/error.h"

namespace wb {

namespace {
[[noreturn]] void fail(const std::string& path, const char* what) {
  throw Error(Code::file_open, std::string(what) + ": " + std::strerror(errno))
      .file(path)
      .advice("Check the path and its permissions.");
}
}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  // Without O_NONBLOCK a named pipe would be waited for; regular files do not know it.
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail(path, "cannot be opened");
  return adopt(fd, path);
}

std::shared_ptr<const MappedFile> MappedFile::adopt(int fd, const std::string& path) {
  return std::shared_ptr<const MappedFile>(new MappedFile(fd, path));
}

MappedFile::MappedFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {
  struct stat st {};
  if (::fstat(fd_, &st) != 0) {
    int saved = errno;
    ::close(fd_);
    errno = saved;
    fail(path_, "cannot be examined");
  }
  if (!S_ISREG(st.st_mode)) {
    ::close(fd_);
    throw Error(Code::file_open, "is not a regular file")
        .file(path_)
        .advice("Give a checkpoint file, or a folder that holds safetensors files.");
  }
  size_ = static_cast<std::uint64_t>(st.st_size);
  modified_s_ = st.st_mtim.tv_sec;
  modified_ns_ = st.st_mtim.tv_nsec;
  if (size_ == 0) return;  // mmap refuses empty files; an empty span serves
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd_, 0);
  if (address == MAP_FAILED) {
    int saved = errno;
    ::close(fd_);
    errno = saved;
    fail(path_, "cannot be mapped");
  }
  data_ = static_cast<const std::byte*>(address);
  guarded_ = GuardedRange(data_, size_, fd_, path_);
}

MappedFile::~MappedFile() {
  guarded_ = GuardedRange();  // before the addresses are anyone else's
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  ::close(fd_);
}

void MappedFile::require_unchanged() const {
  require_readable();
  struct stat st {};
  if (::fstat(fd_, &st) != 0) fail(path_, "cannot be examined");
  if (static_cast<std::uint64_t>(st.st_size) == size_ && st.st_mtim.tv_sec == modified_s_ &&
      st.st_mtim.tv_nsec == modified_ns_) {
    return;
  }
  throw Error(Code::file_open, "was changed by someone else while it was read")
      .file(path_)
      .expected(std::to_string(size_) + " bytes")
      .actual(static_cast<std::uint64_t>(st.st_size) == size_ ? "other contents"
                                                              : std::to_string(st.st_size))
      .advice("Let whoever writes the file finish, then run this again.");
}

std::span<const std::byte> MappedFile::range(std::uint64_t offset, std::uint64_t length) const {
  std::uint64_t end = checked_add(offset, length, "a byte range's end");
  if (end > size_) {
    throw Error(Code::truncated, "the file is shorter than what it promises")
        .file(path_)
        .expected(std::to_string(end) + " bytes")
        .actual(std::to_string(size_))
        .advice("The copy is incomplete; fetch the file again.");
  }
  return {data_ + offset, static_cast<std::size_t>(length)};
}

}  // namespace wb
