// Scheduling of tiles, hashes, checks and writeback; see executor.h.
#include "convert/executor.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>

#include "base/error.h"
#include "base/hash.h"
#include "base/read_guard.h"
#include "base/threads.h"
#include "convert/movement.h"
#include "convert/together.h"

namespace wb {

namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);  // signal handlers set it

constexpr std::uint64_t kMaxTile = 1 << 20;
constexpr std::uint64_t kTileBudget = 32 << 20;  // of all threads together
constexpr std::uint64_t kHashStep = 8 << 20;     // a source is hashed in steps of this size
constexpr std::uint64_t kHashWorth = 4 << 20;    // output bytes that are worth taking up its hash
constexpr std::uint64_t kWritebackStep = 16 << 20;

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

class Executor {
 public:
  Executor(const ConvertJob& job, const FolderLayout& layout, Execution& execution);
  void run();

 private:
  void work();
  // The thread behind the others: see follow().
  struct Step {
    enum Kind { writeback, file, source, end } kind;
    std::size_t index = 0;
    std::uint64_t begin = 0, end_of = 0;
  };
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

Executor::Executor(const ConvertJob& job, const FolderLayout& layout, Execution& execution)
    : job_(job),
      execution_(execution),
      threads_(job.threads == 0 ? default_threads() : job.threads),
      tile_size_(
          std::clamp<std::uint64_t>(std::bit_floor(kTileBudget / threads_), 64 << 10, kMaxTile)) {
  for (std::size_t i = 0; i < layout.files.size(); ++i) {
    Output& output = outputs_.emplace_back();
    output.layout = &layout.files[i];
    output.over = execution.skip_files.at(i);
    if (!output.over) tensor_bytes_ += output.layout->bytes - output.layout->header.size();
  }
  for (std::size_t i = 0; i < job.sources.size(); ++i) {
    HashStream& stream = sources_.emplace_back();
    stream.bytes = job.sources[i]->bytes();
    if (job.sha256) stream.sha256 = make_sha256();
    source_over_.push_back(execution.skip_sources.at(i));
    if (source_over_[i]) stream.done = stream.bytes.size();
  }
}

void Executor::begin_file(Output& output, std::size_t index) {
  output.file = execution_.create(index);
  for (const PlacedTensor& placed : output.layout->tensors) {
    output.readers.emplace_back(placed.tensor->tensor);
  }
  output.together = Together(output.layout->tensors);
  output.tile_waits = output.together.writers(output.layout->bytes, tile_size_);
  output.hash.bytes = output.file->view();
  if (job_.sha256) output.hash.sha256 = make_sha256();
}

// Header and tensors of bytes [begin, end) of the file. Short pieces are gathered in
// the buffer, which stands for the tile; long runs go from the source's pages to the
// file's in one step; zeros stay unwritten.
void Executor::write_tile(const Output& output, std::uint64_t begin, std::uint64_t end,
                          std::vector<std::byte>& buffer) const {
  std::uint64_t pending = begin, at = begin;  // [pending, at) is in the buffer
  auto flush = [&](std::uint64_t next) {
    output.file->write(pending, std::span(buffer).subspan(pending - begin, at - pending));
    pending = at = next;
  };
  const std::string& header = output.layout->header;
  if (begin < header.size()) {
    at = std::min<std::uint64_t>(end, header.size());
    std::transform(header.begin() + static_cast<std::ptrdiff_t>(begin),
                   header.begin() + static_cast<std::ptrdiff_t>(at), buffer.begin(),
                   [](char c) { return static_cast<std::byte>(c); });
  }
  const std::vector<PlacedTensor>& tensors = output.layout->tensors;
  auto first = std::partition_point(tensors.begin(), tensors.end(), [&](const PlacedTensor& t) {
    return t.offset + t.bytes <= begin;
  });
  for (auto it = first; it != tensors.end() && it->offset < end; ++it) {
    if (it->bytes == 0) continue;
    const TileSource& reader = output.readers[static_cast<std::size_t>(it - tensors.begin())];
    std::uint64_t size = item_size(it->tensor->tensor.dtype());
    std::uint64_t from = std::max(begin, it->offset), to = std::min(end, it->offset + it->bytes);
    std::uint64_t e0 = (from - it->offset) / size, e1 = (to - it->offset) / size;
    const auto index = static_cast<std::size_t>(it - tensors.begin());
    if (output.together.follows(index)) {
      flush(to);  // written by the tiles of the tensor that it is made with
    } else if (output.together.leads(index)) {
      output.together.make(index, from, to, std::span(buffer).subspan(from - begin, to - from),
                           [&](std::uint64_t offset, std::span<const std::byte> bytes) {
                             output.file->write(offset, bytes);
                           });
      at = to;
    } else if (reader.long_runs()) {
      flush(to);
      reader.for_each_run(e0, e1, [&](std::uint64_t offset, std::span<const std::byte> bytes) {
        output.file->write(it->offset + offset, bytes);
      });
    } else {
      reader.gather(e0, e1, std::span(buffer).subspan(from - begin, to - from));
      at = to;
    }
  }
  flush(end);
}

std::optional<Task> Executor::choose_tile() {
  while (tile_file_ < outputs_.size() && outputs_[tile_file_].over) ++tile_file_;
  if (tile_file_ == outputs_.size()) return std::nullopt;
  if (tile_offset_ == 0) begin_file(outputs_[tile_file_], tile_file_);
  std::uint64_t size = outputs_[tile_file_].layout->bytes;
  Task task{Task::tile, tile_file_, tile_offset_, std::min(size, tile_offset_ + tile_size_)};
  tile_offset_ = task.end;
  if (tile_offset_ == size) ++tile_file_, tile_offset_ = 0;
  return task;
}

std::optional<Task> Executor::choose_output_hash(std::uint64_t worth) {
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    const Output& output = outputs_[i];
    std::uint64_t ready = output.written - output.hash.done;
    if (output.hash.busy || ready == 0) continue;
    if (ready >= worth || output.written == output.layout->bytes) {
      return Task{Task::hash_output, i, output.hash.done, output.written};
    }
  }
  return std::nullopt;
}

// Whether the sources' hashes are behind the writing: a source goes only when both are through.
bool Executor::sources_behind() const {
  double hashed = 0, all = 0;
  for (const HashStream& stream : sources_) {
    hashed += static_cast<double>(stream.done);
    all += static_cast<double>(stream.bytes.size());
  }
  return hashed * static_cast<double>(tensor_bytes_) <
         all * static_cast<double>(tensor_bytes_done_);
}

std::optional<Task> Executor::choose_source_hash() {
  // Half of the threads at most, so that a model in many files does not wait for its hashes.
  if (hashing_sources_ >= std::max(1u, threads_ / 2)) return std::nullopt;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    const HashStream& stream = sources_[i];
    if (stream.busy || stream.done == stream.bytes.size()) continue;
    std::uint64_t end = std::min<std::uint64_t>(stream.bytes.size(), stream.done + kHashStep);
    return Task{Task::hash_source, i, stream.done, end};
  }
  return std::nullopt;
}

// The order that keeps two cores busy to the end: somebody writes; the others follow
// with the hashes, which are sequential and so must not be left for last, then with
// the checks; when those are through, everybody writes. Writers of one file wait for
// each other in the kernel, so a second one is no help while there is other work.
std::optional<Task> Executor::choose() {
  std::optional<Task> task;
  // A single thread must not leave for last what says that a file is done.
  if (threads_ == 1) task = choose_output_hash(kHashWorth);
  if (!task && job_.consume && sources_behind()) task = choose_source_hash();
  if (!task && writing_ == 0) task = choose_tile();
  if (!task) task = choose_output_hash(kHashWorth);
  if (!task) task = choose_source_hash();
  while (next_check_ < job_.checks.size() && execution_.skip_checks.at(next_check_)) ++next_check_;
  if (!task && next_check_ < job_.checks.size()) task = Task{Task::check, next_check_++, 0, 0};
  if (!task) task = choose_tile();
  if (!task) task = choose_output_hash(1);
  return task;
}

// Waits for something to do; nothing when all is done or has failed.
std::optional<Task> Executor::take() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (failure_) return std::nullopt;
    if (interrupted) {
      throw Error(Code::interrupted, "the conversion was interrupted")
          .file(job_.destination)
          .advice(job_.resume || job_.consume || job_.ranks.size > 1
                      ? "What is done is kept: run it again with --resume."
                      : "Nothing was left behind; run it again.");
    }
    std::optional<Task> task = choose();
    if (task) {
      ++running_;
      if (task->kind == Task::tile) ++writing_;
      if (task->kind == Task::hash_source) ++hashing_sources_;
      if (task->kind == Task::hash_source) sources_[task->index].busy = true;
      if (task->kind == Task::hash_output) outputs_[task->index].hash.busy = true;
      return task;
    }
    if (running_ == 0) return std::nullopt;                   // nobody could bring anything new
    changed_.wait_for(lock, std::chrono::milliseconds(100));  // a signal does not notify
  }
}

void Executor::execute(const Task& task, std::vector<std::byte>& buffer) {
  switch (task.kind) {
    case Task::tile:
      if (buffer.empty()) buffer.resize(tile_size_);
      return write_tile(outputs_[task.index], task.begin, task.end, buffer);
    case Task::hash_output:
      return outputs_[task.index].hash.update(task.end);
    case Task::hash_source:
      return sources_[task.index].update(task.end);
    case Task::check:
      return job_.checks[task.index].verify();
  }
}

void Executor::finish(const Task& task) {
  std::unique_lock lock(mutex_);
  --running_;
  if (task.kind == Task::hash_output) {
    outputs_[task.index].hash.done = task.end;
    outputs_[task.index].hash.busy = false;
  } else if (task.kind == Task::hash_source) {
    --hashing_sources_;
    sources_[task.index].done = task.end;
    sources_[task.index].busy = false;
  } else if (task.kind == Task::tile) {
    --writing_;
    Output& output = outputs_[task.index];
    for (const std::uint64_t tile :
         output.together.tiles_written(task.begin, task.end, tile_size_)) {
      --output.tile_waits[tile];
    }
    while (output.written < output.layout->bytes &&
           output.tile_waits[output.written / tile_size_] == 0) {
      output.written = std::min(output.layout->bytes, output.written + tile_size_);
    }
    std::uint64_t header = output.layout->header.size();
    tensor_bytes_done_ += std::max(task.end, header) - std::max(task.begin, header);
    report(lock, false);
  }
  changed_.notify_all();
}

// Calls job.progress at most ten times a second, from one thread at a time.
void Executor::report(std::unique_lock<std::mutex>& lock, bool last) {
  if (!job_.progress || reporting_) return;
  auto now = std::chrono::steady_clock::now();
  if (!last && now - last_report_ < std::chrono::milliseconds(100)) return;
  last_report_ = now;
  reporting_ = true;
  Progress progress{tensor_bytes_done_, tensor_bytes_};
  lock.unlock();
  try {
    job_.progress(progress);
  } catch (...) {
    lock.lock();
    reporting_ = false;
    throw;
  }
  lock.lock();
  reporting_ = false;
}

void Executor::fail(std::exception_ptr failure) {
  std::lock_guard lock(mutex_);
  if (!failure_) failure_ = failure;
  changed_.notify_all();
}

void Executor::work() {
  try {
    std::vector<std::byte> buffer;
    while (std::optional<Task> task = take()) {
      execute(*task, buffer);
      require_readable();  // else zeros in place of lost pages would be taken for weights
      finish(*task);
    }
  } catch (...) {
    fail(std::current_exception());
  }
}

// What the following thread can do now, under the lock; nothing while it must wait.
std::optional<Executor::Step> Executor::step_ready() {
  if (failure_) return Step{Step::end};
  bool waiting = false;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    if (source_over_[i]) continue;
    waiting = true;
    if (sources_[i].done < sources_[i].bytes.size() || sources_[i].busy) continue;
    source_over_[i] = true;
    return Step{Step::source, i};
  }
  while (follow_file_ < outputs_.size() && outputs_[follow_file_].over) {
    ++follow_file_;
    follow_begun_ = 0;
  }
  if (follow_file_ == outputs_.size()) {
    return waiting ? std::nullopt : std::optional(Step{Step::end});
  }
  Output& output = outputs_[follow_file_];
  const std::uint64_t size = output.layout->bytes;
  if (output.file && output.hash.done == size) {
    output.over = true;
    return Step{Step::file, follow_file_};
  }
  const bool due = output.written == size ? follow_begun_ < size
                                          : output.written >= follow_begun_ + kWritebackStep;
  if (!job_.sync || !due) return std::nullopt;
  Step step{Step::writeback, follow_file_, follow_begun_, output.written};
  follow_begun_ = output.written;
  return step;
}

Executor::Step Executor::next_step() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (std::optional<Step> step = step_ready()) return *step;
    changed_.wait(lock);
  }
}

// Follows the writing: brings it to disk from the first tile on, waits for the disk at the end of
// each file while others write on, and tells of what is done.
void Executor::follow() {
  try {
    if (job_.sync) {
      for (const auto& file : execution_.small) file->sync();
    }
    for (;;) {
      const Step step = next_step();
      if (step.kind == Step::end) return;
      if (step.kind == Step::source) {
        execution_.source_done(step.index, sources_[step.index].result());
        continue;
      }
      Output& output = outputs_[step.index];
      if (step.kind == Step::writeback) {
        output.file->start_writeback(step.begin, step.end_of - step.begin);
        continue;
      }
      if (job_.sync) output.file->sync();
      output.file.reset();
      output.readers.clear();
      execution_.file_done(step.index, output.hash.result());
    }
  } catch (...) {
    fail(std::current_exception());
  }
}

bool Executor::finished() const {
  return next_check_ == job_.checks.size() &&
         std::all_of(source_over_.begin(), source_over_.end(), [](bool over) { return over; }) &&
         std::all_of(outputs_.begin(), outputs_.end(), [](const Output& o) { return o.over; });
}

void Executor::run() {
  Crew crew;
  if (!crew.start([this] { follow(); })) {
    throw Error(Code::out_of_memory, "the system has no thread to give")
        .file(job_.destination)
        .advice("Raise the limits on memory and processes (ulimit -v, -u), or close programs.");
  }
  try {
    for (unsigned t = 1; t < threads_; ++t) {
      if (!crew.start([this] { work(); })) break;  // it takes longer
    }
  } catch (...) {
    fail(std::current_exception());
  }
  work();
  crew.join();
  if (failure_) std::rethrow_exception(failure_);
  WB_CHECK(finished());
  std::unique_lock lock(mutex_);
  report(lock, true);
}

}  // namespace

void request_interrupt() noexcept { interrupted = true; }
void clear_interrupt() noexcept { interrupted = false; }
bool interrupt_requested() noexcept { return interrupted; }

Fingerprint fingerprint(std::span<const std::byte> bytes, bool sha256) {
  HashStream stream;
  stream.bytes = bytes;
  if (sha256) stream.sha256 = make_sha256();
  stream.update(bytes.size());
  return stream.result();
}

void execute(const ConvertJob& job, const FolderLayout& layout, Execution& execution) {
  Executor(job, layout, execution).run();
}

}  // namespace wb
