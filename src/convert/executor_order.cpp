// What comes next: which tile, hash or check a worker takes up, and which file or source the thread
// behind them brings to its end. All of it under the executor's lock; does none of the work, but
// that a file begins with its first tile.
#include <algorithm>

#include "convert/executor_impl.h"

namespace wb {

namespace {
constexpr std::uint64_t kHashStep = 8 << 20;   // a source is hashed in steps of this size
constexpr std::uint64_t kHashWorth = 4 << 20;  // output bytes that are worth taking up its hash
constexpr std::uint64_t kWritebackStep = 16 << 20;
}  // namespace

std::optional<Executor::Task> Executor::choose_tile() {
  while (tile_file_ < outputs_.size() && outputs_[tile_file_].over) ++tile_file_;
  if (tile_file_ == outputs_.size()) return std::nullopt;
  if (tile_offset_ == 0) begin_file(outputs_[tile_file_], tile_file_);
  std::uint64_t size = outputs_[tile_file_].layout->bytes;
  Task task{Task::tile, tile_file_, tile_offset_, std::min(size, tile_offset_ + tile_size_)};
  tile_offset_ = task.end;
  if (tile_offset_ == size) ++tile_file_, tile_offset_ = 0;
  return task;
}

std::optional<Executor::Task> Executor::choose_output_hash(std::uint64_t worth) {
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

std::optional<Executor::Task> Executor::choose_source_hash() {
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
std::optional<Executor::Task> Executor::choose() {
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

}  // namespace wb
