// The two plain kinds of storage; see storage.h.
#include "tensor/storage.h"

#include "base/error.h"

namespace wb {

namespace {
class MappedStorage final : public Storage {
 public:
  MappedStorage(std::shared_ptr<const MappedFile> file, std::uint64_t offset, std::uint64_t length)
      : file_(std::move(file)), offset_(offset), bytes_(file_->range(offset, length)) {}
  std::uint64_t size() const override { return bytes_.size(); }
  std::span<const std::byte> bytes() const override {
    file_->touch();
    return bytes_;
  }
  std::optional<FileRange> file_range() const override { return FileRange{file_, offset_}; }

 private:
  std::shared_ptr<const MappedFile> file_;
  std::uint64_t offset_;
  std::span<const std::byte> bytes_;
};

class MemoryStorage final : public Storage {
 public:
  explicit MemoryStorage(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  std::uint64_t size() const override { return bytes_.size(); }
  std::span<const std::byte> bytes() const override { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};
class ConsumedStorage final : public Storage {
 public:
  ConsumedStorage(std::shared_ptr<const MappedFile> file, std::uint64_t offset,
                  std::uint64_t length)
      : file_(std::move(file)), offset_(offset), length_(length) {}
  std::uint64_t size() const override { return length_; }
  std::span<const std::byte> bytes() const override {
    throw Error(Code::source_consumed, "the data was deleted once it had been converted")
        .file(file_->path())
        .advice(
            "Go on with that conversion: its own options, and --resume. For anything else, "
            "fetch the file again.");
  }
  std::optional<FileRange> file_range() const override { return FileRange{file_, offset_}; }

 private:
  std::shared_ptr<const MappedFile> file_;
  std::uint64_t offset_, length_;
};
}  // namespace

std::shared_ptr<const Storage> mapped_storage(std::shared_ptr<const MappedFile> file,
                                              std::uint64_t offset, std::uint64_t length) {
  return std::make_shared<MappedStorage>(std::move(file), offset, length);
}
std::shared_ptr<const Storage> consumed_storage(std::shared_ptr<const MappedFile> file,
                                                std::uint64_t offset, std::uint64_t length) {
  static_cast<void>(file->range(offset, length));
  return std::make_shared<ConsumedStorage>(std::move(file), offset, length);
}

std::shared_ptr<const Storage> memory_storage(std::vector<std::byte> bytes) {
  return std::make_shared<MemoryStorage>(std::move(bytes));
}

}  // namespace wb
