// System calls of the writer; see folder.h.
#include "convert/folder.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <system_error>
#include <thread>

#include "base/checked.h"
#include "base/error.h"
#include "convert/journal.h"

#ifdef __linux__
#include <linux/fs.h>
#include <sys/syscall.h>
#endif

namespace wb {

namespace fs = std::filesystem;

namespace {

constexpr const char* kPartial = ".weightbridge-partial-";

// Bytes that this user may still write on the disk of `path`; 0 when that can't be told.
std::uint64_t free_bytes(const std::string& path) {
  struct statvfs disk {};
  std::string where = path;
  while (::statvfs(where.c_str(), &disk) != 0) {
    std::size_t slash = where.rfind('/');
    if (slash == std::string::npos || slash == 0) return 0;
    where.resize(slash);
  }
  return static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
}

enum class Rename { exchange, no_replace };
// renameat2 where there is one; false with errno ENOSYS or EINVAL elsewhere.
bool rename2(const std::string& from, const std::string& to, Rename how) {
#if defined(__linux__) && defined(SYS_renameat2) && defined(RENAME_EXCHANGE)
  unsigned flags = how == Rename::exchange ? RENAME_EXCHANGE : RENAME_NOREPLACE;
  return ::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0;
#else
  static_cast<void>(from), static_cast<void>(to), static_cast<void>(how);
  errno = ENOSYS;
  return false;
#endif
}

void sync_folder(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) throw_write_error(path, errno, "cannot be opened to be synced");
  int result = ::fsync(fd);
  int error = errno;
  ::close(fd);
  // Some network file systems cannot sync a folder; its files are synced already.
  if (result != 0 && error != EINVAL) throw_write_error(path, error, "cannot be synced");
}

[[noreturn]] void refuse(const std::string& destination, const char* sentence, const char* advice) {
  throw Error(Code::output_exists, sentence).file(destination).advice(advice);
}

// The partial folders of conversions to `name` in `parent`, by whether their process is gone.
struct Partials {
  std::vector<std::string> stale, live;
};
Partials partial_folders(const std::string& parent, const std::string& name) {
  Partials found;
  std::string prefix = "." + name + kPartial;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(parent, ignored)) {
    std::string file = entry.path().filename().string();
    if (!file.starts_with(prefix)) continue;
    pid_t pid = 0;
    const char* end = file.data() + file.size();
    auto parsed = std::from_chars(file.data() + prefix.size(), end, pid);
    if (parsed.ec != std::errc() || parsed.ptr != end || pid <= 0) continue;
    // Our own number can only be an earlier process's, as in containers it often is.
    bool gone = pid == ::getpid() || (::kill(pid, 0) != 0 && errno == ESRCH);
    (gone ? found.stale : found.live).push_back(entry.path().string());
  }
  std::sort(found.stale.begin(), found.stale.end());
  return found;
}

// What can be gone on with, or swept away. A process that was told to end may take a moment
// (the other ranks of one that died): to go on with its work, wait for it.
std::vector<std::string> stale_folders(const std::string& parent, const std::string& name,
                                       const Continuation& continuation) {
  constexpr int kTries = 100;
  for (int tries = 0;; ++tries) {
    Partials found = partial_folders(parent, name);
    const auto same =
        std::find_if(found.live.begin(), found.live.end(),
                     [&](const std::string& path) { return has_journal(path, continuation.job); });
    if (!continuation.adopt || same == found.live.end()) return found.stale;
    if (tries == kTries) {
      throw Error(Code::unfinished, "another process is at work on this very conversion")
          .file(*same)
          .advice("Wait for it, or end it and run this again.");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

// Takes `path` over from what is stale: true when a folder of this job was there and is now at
// `path`. The others go, but for one that alone holds what its sources held.
bool adopt(const std::vector<std::string>& stale, const std::string& path,
           const Continuation& continuation) {
  bool adopted = false;
  for (const std::string& old : stale) {
    if (continuation.adopt && !adopted && has_journal(old, continuation.job)) {
      if (old != path && ::rename(old.c_str(), path.c_str()) != 0) {
        throw_write_error(old, errno, "cannot be taken over");
      }
      adopted = true;
    } else if (has_consumed(old)) {
      throw Error(Code::unfinished,
                  continuation.adopt
                      ? "an unfinished conversion that has consumed source files was begun with "
                        "other options, or from another source"
                      : "an unfinished conversion has consumed source files, which now exist only "
                        "there")
          .file(old)
          .advice("Go on with it: give the options that it was begun with, and --resume.");
    }
  }
  std::error_code ignored;
  for (const std::string& old : stale) {
    if (old != path) fs::remove_all(old, ignored);
  }
  if (!adopted) fs::remove_all(path, ignored);
  return adopted;
}

}  // namespace

void throw_write_error(const std::string& path, int error, const char* what, std::uint64_t needed) {
  if (error == ENOSPC || error == EDQUOT) {
    std::string free = std::to_string(free_bytes(path)) + " bytes free";
    throw Error(Code::no_space, "the disk is full")
        .file(path)
        .expected(needed > 0 ? std::to_string(needed) + " bytes" : "room to write")
        .actual(free)
        .advice("Free some space, or write to another disk.");
  }
  throw Error(Code::file_write, std::string(what) + ": " + std::strerror(error))
      .file(path)
      .advice("Check the path and its permissions, and that the disk is sound.");
}

void write_fully(int fd, const std::string& path, std::uint64_t offset,
                 std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EFAULT) {  // bytes of a mapped file that has lost them
      touch_pages(bytes.data(), bytes.size());
      require_readable();
      errno = EFAULT;
    }
    if (n < 0) throw_write_error(path, errno, "cannot be written", bytes.size());
    offset += static_cast<std::uint64_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

OutputFile::OutputFile(const std::string& path, std::uint64_t size) : path_(path), size_(size) {
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ < 0) throw_write_error(path, errno, "cannot be created");
  int result = -1;
  errno = EOPNOTSUPP;
#ifdef __linux__
  if (size > 0) {
    do result = ::fallocate(fd_, 0, 0, static_cast<off_t>(size));
    while (result != 0 && errno == EINTR);
  }
#endif
  if (result != 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
    result = ::ftruncate(fd_, static_cast<off_t>(size));
  }
  if (result != 0) {
    int error = errno;
    ::close(fd_);
    throw_write_error(path, error, "cannot be given its size", size);
  }
}

OutputFile::~OutputFile() {
  guarded_ = GuardedRange();
  if (view_ != nullptr) ::munmap(const_cast<std::byte*>(view_), size_);
  ::close(fd_);
}

void OutputFile::write(std::uint64_t offset, std::span<const std::byte> bytes) const {
  write_fully(fd_, path_, offset, bytes);
}

std::span<const std::byte> OutputFile::view() {
  if (view_ == nullptr && size_ > 0) {
    void* address = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd_, 0);
    if (address == MAP_FAILED) throw_write_error(path_, errno, "cannot be mapped");
    view_ = static_cast<const std::byte*>(address);
    guarded_ = GuardedRange(view_, size_, fd_, path_);
  }
  return {view_, static_cast<std::size_t>(size_)};
}

void OutputFile::start_writeback(std::uint64_t offset, std::uint64_t length) const {
#ifdef __linux__
  // A hint: what it cannot do, sync() does.
  static_cast<void>(::sync_file_range(fd_, static_cast<off_t>(offset), static_cast<off_t>(length),
                                      SYNC_FILE_RANGE_WRITE));
#else
  static_cast<void>(offset), static_cast<void>(length);
#endif
}

void OutputFile::sync() const {
  if (::fsync(fd_) != 0) throw_write_error(path_, errno, "cannot be synced");
}

PartialFolder::PartialFolder(const std::string& destination, bool force,
                             std::span<const std::string> sources, const Continuation& continuation)
    : force_(force), keep_(continuation.keep) {
  std::error_code error;
  fs::path full = fs::absolute(destination, error).lexically_normal();
  if (full.filename().empty()) full = full.parent_path();
  destination_ = full.string();
  parent_ = full.parent_path().string();
  std::string name = full.filename().string();
  if (destination.empty() || name.empty()) {
    throw Error(Code::file_write, "is no name for an output folder")
        .file(destination)
        .advice("Give a folder that does not exist yet.");
  }
  fs::file_status status = fs::symlink_status(full, error);
  if (fs::exists(status)) {
    if (!force) {
      refuse(destination, "the output is there already",
             "Give another folder, or --force to replace this one.");
    }
    if (!fs::is_directory(status)) {
      refuse(destination, "is not a folder, so a folder cannot replace it",
             "Give another folder, or remove it first.");
    }
    for (const std::string& source : sources) {
      std::string inside = fs::weakly_canonical(source, error).string();
      if (inside.starts_with(fs::weakly_canonical(full, error).string() + "/")) {
        refuse(destination, "holds a file that is read, which replacing it would delete",
               "Give another folder.");
      }
    }
  }
  std::string path = parent_ + "/." + name + kPartial + std::to_string(::getpid());
  const bool adopted = adopt(stale_folders(parent_, name, continuation), path, continuation);
  if (!adopted && ::mkdir(path.c_str(), 0777) != 0) {
    throw_write_error(destination, errno, "cannot be created beside its final place");
  }
  path_ = path;
  reserve_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (reserve_ < 0) {
    const int failure = errno;
    if (!adopted) ::rmdir(path_.c_str());
    throw_write_error(destination_, failure, "cannot be opened beside its final place");
  }
}

PartialFolder::~PartialFolder() {
  ::close(reserve_);
  memory_.reset();
  std::error_code ignored;
  if (!done_ && !keep_) fs::remove_all(path_, ignored);
}

void PartialFolder::require_space(std::uint64_t bytes) const {
  struct statvfs disk {};
  if (::statvfs(path_.c_str(), &disk) != 0) return;
  std::uint64_t free = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
  if (bytes > free) throw_write_error(destination_, ENOSPC, "", bytes);
}

void PartialFolder::commit(bool sync) {
  if (sync) sync_folder(path_);
  bool old_beside = false;  // path_ is now the old folder
  if (rename2(path_, destination_, Rename::no_replace)) {
    done_ = true;
  } else if (errno == EEXIST && !force_) {
    refuse(destination_, "the output appeared while it was being written",
           "Give another folder, or --force to replace this one.");
  } else if (errno == EEXIST && rename2(path_, destination_, Rename::exchange)) {
    done_ = old_beside = true;
  } else {
    // A file system without these calls: the old folder steps aside, and back if need be.
    std::string aside = path_ + "-old";
    bool moved = force_ && ::rename(destination_.c_str(), aside.c_str()) == 0;
    if (::rename(path_.c_str(), destination_.c_str()) != 0) {
      int error = errno;
      if (moved) static_cast<void>(::rename(aside.c_str(), destination_.c_str()));
      throw_write_error(destination_, error, "cannot be renamed to");
    }
    done_ = true;
    if (moved) path_ = aside, old_beside = true;
  }
  // Not before: a folder without its journal is swept, and may hold what consumed sources held.
  remove_journals(destination_);
  std::exception_ptr failure;
  try {
    if (sync) sync_folder(parent_);
  } catch (const Error&) {  // the folder is in its place; whether it is on disk nobody knows
    failure = std::current_exception();
  }
  std::error_code ignored;
  if (old_beside) fs::remove_all(path_, ignored);
  if (failure) std::rethrow_exception(failure);
}

}  // namespace wb
