// See replace_file.h.
#include "cli/replace_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "convert/folder.h"

namespace wb::cli {

void replace_file(const std::string& path, std::string_view content) {
  std::string partial = path + ".XXXXXX";
  const int fd = ::mkstemp(partial.data());  // mode 0600
  if (fd < 0) throw_write_error(path, errno, "cannot be written");
  try {
    write_fully(fd, path, 0, std::as_bytes(std::span(content)));
    if (::fsync(fd) != 0) throw_write_error(path, errno, "cannot be written");
    if (::rename(partial.c_str(), path.c_str()) != 0) {
      throw_write_error(path, errno, "cannot be replaced");
    }
  } catch (...) {
    ::close(fd);
    ::unlink(partial.c_str());
    throw;
  }
  ::close(fd);
}

}  // namespace wb::cli
