// The state of one execution, shared by its two parts: executor.cpp makes bytes and tells of them,
// executor_order.cpp says what comes next. Internal to convert/.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/hash.h"
#include "convert/executor.h"
#include "convert/movement.h"
#include "convert/together.h"

namespace wb {

// A file that is hashed front to back, by one thread at a time.
struct HashStream {
  std::span<const std::byte> bytes;
  std::unique_ptr<Hasher> xxh3 = make_xxh3_128(), sha256;
  std::uint64_t done = 0;
  bool busy = false;

  void update(std::uint64_t end) {
    auto part = bytes.subspan(done, end - done);
    xxh3->update(part);
    if (sha256) sha256->update(part);
  }
  Fingerprint result() const { return {xxh3->hex(), sha256 ? sha256->hex() : std::string()}; }
};

class Executor {
 public:
  Executor(const ConvertJob& job, const FolderLayout& layout, Execution& execution);
  void run();

 private:
  struct Output {
    const TensorFile* layout = nullptr;
    std::unique_ptr<OutputFile> file;  // from its first tile until it is done
    std::vector<TileSource> readers;   // of layout->tensors
    Together together;                 // tensors of this file that are made in one go
    HashStream hash;
    std::vector<std::uint32_t> tile_waits;  // tasks that still have to write into each tile
    std::uint64_t written = 0;              // the front: all bytes before it are written
    bool over = false;                      // told, or not to be written here
  };

  struct Task {
    enum Kind { tile, hash_output, hash_source, check } kind;
    std::size_t index;         // file, stream or check
    std::uint64_t begin, end;  // bytes
  };

  // Of the thread behind the others: see follow().
  struct Step {
    enum Kind { writeback, file, source, end } kind;
    std::size_t index = 0;
    std::uint64_t begin = 0, end_of = 0;
  };

  void work();
  void follow();
  Step next_step();
  std::optional<Step> step_ready();
  void begin_file(Output& output, std::size_t index);
  std::optional<Task> take();
  std::optional<Task> choose();
  std::optional<Task> choose_tile();
  std::optional<Task> choose_output_hash(std::uint64_t worth);
  std::optional<Task> choose_source_hash();
  bool sources_behind() const;
  void execute(const Task& task, std::vector<std::byte>& buffer);
  void finish(const Task& task);
  void write_tile(const Output& output, std::uint64_t begin, std::uint64_t end,
                  std::vector<std::byte>& buffer) const;
  void report(std::unique_lock<std::mutex>& lock, bool last);
  void fail(std::exception_ptr failure);
  bool finished() const;

  const ConvertJob& job_;
  Execution& execution_;
  unsigned threads_;
  std::uint64_t tile_size_;
  std::vector<Output> outputs_;
  std::vector<HashStream> sources_;

  std::mutex mutex_;  // guards what follows, and the counters of streams and outputs
  std::condition_variable changed_;
  std::size_t tile_file_ = 0;  // next tile to hand out
  std::uint64_t tile_offset_ = 0;
  std::size_t next_check_ = 0;
  std::size_t running_ = 0, writing_ = 0, hashing_sources_ = 0;
  std::exception_ptr failure_;
  std::uint64_t tensor_bytes_done_ = 0, tensor_bytes_ = 0;
  std::vector<bool> source_over_;
  std::size_t follow_file_ = 0;  // follow(): the file whose way to disk it sees to
  std::uint64_t follow_begun_ = 0;
  bool reporting_ = false;
  std::chrono::steady_clock::time_point last_report_{};
};

}  // namespace wb
