// See consume.h.
#include "convert/consume.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "convert/folder.h"
#include "tensor/node.h"

namespace wb {

namespace {

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
  struct stat st {};
  unsigned char length[8] = {};
  int error = ::fstat(fd, &st) != 0 ? errno : 0;
  if (error == 0 && ::pread(fd, length, sizeof length, 0) != sizeof length) error = EIO;
  std::uint64_t header = 0;
  for (int i = 7; i >= 0; --i) header = header << 8 | length[i];
  // The header was read and found right when the checkpoint was opened.
  if (error == 0 && header > static_cast<std::uint64_t>(st.st_size) - 8) error = EIO;
  if (error == 0 && ::ftruncate(fd, static_cast<off_t>(8 + header)) != 0) error = errno;
  if (error == 0 && ::ftruncate(fd, st.st_size) != 0) error = errno;
  ::close(fd);
  if (error != 0) throw_write_error(stub, error, "cannot be cut to its header");
}

}  // namespace wb
