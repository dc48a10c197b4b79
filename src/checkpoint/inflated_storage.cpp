// Streaming inflation; see inflated_storage.h.
#include "checkpoint/inflated_storage.h"

#include <fcntl.h>
#include <libdeflate.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/once.h"

namespace wb {

namespace {
constexpr std::size_t kPiece = 256 << 10;

const char* temporary_folder() {
  const char* folder = std::getenv("TMPDIR");
  return folder != nullptr && *folder != '\0' ? folder : "/tmp";
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

void write_fully(int fd, const std::byte* data, std::size_t length) {
  while (length > 0) {
    const ssize_t written = ::write(fd, data, length);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw temporary_file_error(errno, "cannot be written");
    data += written;
    length -= static_cast<std::size_t>(written);
  }
}

// zlib's raw inflate over one contiguous input, output taken piece by piece.
class Inflater {
 public:
  explicit Inflater(std::span<const std::byte> input) : rest_(input) {
    if (inflateInit2(&stream_, -MAX_WBITS) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // Fills up to `out.size()` bytes; returns how many. `done()` afterwards tells the end.
  std::size_t read(std::span<std::byte> out) {
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    while (stream_.avail_out > 0 && state_ == Z_OK) {
      if (stream_.avail_in == 0) {
        const std::size_t take = std::min<std::size_t>(rest_.size(), 1u << 30);
        stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(rest_.data()));
        stream_.avail_in = static_cast<uInt>(take);
        rest_ = rest_.subspan(take);
      }
      state_ = ::inflate(&stream_, Z_NO_FLUSH);
      if (state_ == Z_MEM_ERROR) throw std::bad_alloc();
    }
    return out.size() - stream_.avail_out;
  }
  bool done() const { return state_ == Z_STREAM_END; }
  bool damaged() const { return state_ != Z_OK && state_ != Z_STREAM_END; }
  std::uint64_t unread() const { return rest_.size() + stream_.avail_in; }

 private:
  std::span<const std::byte> rest_;
  z_stream stream_{};
  int state_ = Z_OK;
};

class InflatedStorage final : public Storage {
 public:
  explicit InflatedStorage(DeflatedRun run) : run_(std::move(run)) {}
  std::uint64_t size() const override { return run_.size; }
  std::span<const std::byte> bytes() const override {
    once_.run([this] { inflated_ = inflate(); });
    return inflated_->bytes();
  }

 private:
  [[noreturn]] void fail(const std::string& what, std::uint64_t found) const {
    throw Error(Code::zip_structure, "the record " + run_.record + " " + what)
        .file(run_.file->path())
        .expected(std::to_string(run_.size) + " bytes")
        .actual(std::to_string(found))
        .advice("The archive is damaged or hostile; get it again from its author.");
  }

  std::shared_ptr<const MappedFile> inflate() const {
    Descriptor out(unlinked_temporary_file());
    Inflater inflater(run_.file->range(run_.offset, run_.compressed_size));
    std::vector<std::byte> piece(kPiece);
    std::uint64_t total = 0;
    std::uint32_t crc = 0;
    while (!inflater.done()) {
      const std::size_t got = inflater.read(piece);
      total += got;
      // Checked before the write: nothing beyond the declared size reaches the disk.
      if (total > run_.size) fail("inflates to more than its directory entry declares", total);
      if (inflater.damaged()) fail("is not a whole deflate stream", total);
      write_fully(out.get(), piece.data(), got);
      if (run_.crc32) crc = crc32_of({piece.data(), got}, crc);
    }
    if (total != run_.size) fail("inflates to less than its directory entry declares", total);
    if (inflater.unread() != 0) fail("has bytes after the end of its deflate stream", total);
    check_crc(crc);
    return MappedFile::adopt(out.release(), run_.file->path() + " (" + run_.record + ", inflated)");
  }

  void check_crc(std::uint32_t crc) const {
    if (!run_.crc32 || crc == *run_.crc32) return;
    throw Error(Code::zip_crc, "the record " + run_.record + " does not match its CRC-32")
        .file(run_.file->path())
        .expected(crc_text(*run_.crc32))
        .actual(crc_text(crc))
        .advice("The archive is damaged; fetch it again.");
  }

  DeflatedRun run_;
  mutable Once once_;
  mutable std::shared_ptr<const MappedFile> inflated_;
};
}  // namespace

std::shared_ptr<const Storage> inflated_storage(DeflatedRun run) {
  return std::make_shared<InflatedStorage>(std::move(run));
}

Error temporary_file_error(int number, const char* what) {
  const bool full = number == ENOSPC || number == EDQUOT;
  Error error(
      full ? Code::no_space : Code::file_write,
      std::string("a temporary file for inflated records ") + what + ": " + std::strerror(number));
  error.file(temporary_folder()).advice("Set TMPDIR to a folder on a disk with enough room.");
  return error;
}

int unlinked_temporary_file() {
#ifdef O_TMPFILE
  const int anonymous = ::open(temporary_folder(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (anonymous >= 0) return anonymous;
#endif
  // Filesystems without O_TMPFILE: create, then remove the name at once.
  std::string path = std::string(temporary_folder()) + "/weightbridge-XXXXXX";
  const int fd = ::mkostemp(path.data(), O_CLOEXEC);
  if (fd < 0) throw temporary_file_error(errno, "cannot be created");
  ::unlink(path.c_str());
  return fd;
}

std::uint32_t crc32_of(std::span<const std::byte> bytes, std::uint32_t crc) {
  return libdeflate_crc32(crc, bytes.data(), bytes.size());
}

std::string crc_text(std::uint32_t crc) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%08x", crc);
  return text;
}

}  // namespace wb
