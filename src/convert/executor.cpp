// Tiles, hashes, checks and writeback: the threads that make them and tell of them; see executor.h.
// Which of them comes next is in executor_order.cpp.
#include "convert/executor.h"

#include <algorithm>
#include <atomic>
#include <bit>

#include "base/error.h"
#include "base/read_guard.h"
#include "base/threads.h"
#include "convert/executor_impl.h"

namespace wb {

namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);  // signal handlers set it

constexpr std::uint64_t kMaxTile = 1 << 20;
constexpr std::uint64_t kTileBudget = 32 << 20;  // of all threads together

}  // namespace

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

// Waits for something to do; nothing when all is done or has failed.
std::optional<Executor::Task> Executor::take() {
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
