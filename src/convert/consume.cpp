// See consume.h.
#include "convert/consume.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <system_error>
#include <vector>

#include "convert/folder.h"
#include "tensor/node.h"

namespace wb {

namespace {

constexpr const char* kFreshEnd = ".new";

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

 private:
  int fd_;
};

void add_files(const Tensor& tensor, std::set<const Node*>& seen,
               std::set<const MappedFile*>& files) {
  for (const auto& node : tensor.inputs()) {
    if (!seen.insert(node.get()).second) continue;
    if (node->storage) {
      if (const auto range = node->storage->file_range()) files.insert(range->file.get());
    }
    for (const Tensor& input : node->inputs) add_files(input, seen, files);
  }
}

// Frees the bytes from `begin` on, the size left as it is; false where the file system can't.
bool punch_hole(int fd, std::uint64_t begin, std::uint64_t size) {
#if defined(__linux__) && defined(FALLOC_FL_PUNCH_HOLE)
  return begin == size ||
         ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(begin),
                     static_cast<off_t>(size - begin)) == 0;
#else
  static_cast<void>(fd), static_cast<void>(begin), static_cast<void>(size);
  errno = EOPNOTSUPP;
  return false;
#endif
}

// A new file with the header and the size of `fd`'s, in its place; then `fd`'s is emptied.
void replace_by_header(int fd, const std::string& stub, std::uint64_t header, std::uint64_t size) {
  std::vector<std::byte> bytes(header);
  if (::pread(fd, bytes.data(), header, 0) != static_cast<ssize_t>(header)) {
    throw_write_error(stub, EIO, "cannot be cut to its header");
  }
  const std::string fresh = stub + kFreshEnd;
  std::error_code ignored;
  std::filesystem::remove(fresh, ignored);
  const int made = ::open(fresh.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (made < 0) throw_write_error(fresh, errno, "cannot be created");
  const Descriptor owner(made);
  write_fully(made, fresh, 0, bytes);
  if (::ftruncate(made, static_cast<off_t>(size)) != 0 || ::fsync(made) != 0 ||
      ::rename(fresh.c_str(), stub.c_str()) != 0 || ::ftruncate(fd, 0) != 0) {
    throw_write_error(stub, errno, "cannot be cut to its header");
  }
}

}  // namespace

std::set<const MappedFile*> files_read(const Tensor& tensor) {
  std::set<const Node*> seen;
  std::set<const MappedFile*> files;
  add_files(tensor, seen, files);
  return files;
}

void leave_header(const std::string& path) {
  std::string stub = path;
  if (!path.ends_with(kConsumedEnd)) {
    stub += kConsumedEnd;
    if (::rename(path.c_str(), stub.c_str()) != 0 && errno != ENOENT) {
      throw_write_error(path, errno, "cannot be renamed");
    }
  }
  const int fd = ::open(stub.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) throw_write_error(stub, errno, "cannot be opened");
  const Descriptor owner(fd);
  struct stat st {};
  unsigned char length[8] = {};
  int error = ::fstat(fd, &st) != 0 ? errno : 0;
  if (error == 0 && ::pread(fd, length, sizeof length, 0) != sizeof length) error = EIO;
  std::uint64_t header = 0;
  for (int i = 7; i >= 0; --i) header = header << 8 | length[i];
  // The header was read and found right when the checkpoint was opened.
  const auto size = static_cast<std::uint64_t>(st.st_size);
  if (error == 0 && header > size - 8) error = EIO;
  if (error != 0) throw_write_error(stub, error, "cannot be cut to its header");
  if (punch_hole(fd, 8 + header, size)) return;
  if (errno != EOPNOTSUPP && errno != ENOSYS) {
    throw_write_error(stub, errno, "cannot be cut to its header");
  }
  replace_by_header(fd, stub, 8 + header, size);
}

void remove_consumed(const std::string& path) {
  std::string plain = path;
  if (plain.ends_with(kConsumedEnd)) plain.resize(plain.size() - kConsumedEnd.size());
  const std::string stub = plain + std::string(kConsumedEnd);
  std::error_code ignored;
  for (const std::string& name : {plain, stub, stub + kFreshEnd}) {
    std::filesystem::remove(name, ignored);
  }
}

}  // namespace wb
