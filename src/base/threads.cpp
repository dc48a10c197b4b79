// parallel_for over std::thread; see threads.h.
#include "base/threads.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <utility>

namespace wb {

unsigned default_threads() {
#ifdef __linux__
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    return static_cast<unsigned>(std::max(1, CPU_COUNT(&set)));
  }
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

bool Crew::start(std::function<void()> body) {
  threads_.reserve(threads_.size() + 1);  // so that a thread that was started has its place
  try {
    threads_.emplace_back(std::move(body));
  } catch (const std::system_error&) {
    return false;
  }
  return true;
}

void Crew::join() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void parallel_for(std::size_t count, unsigned threads,
                  const std::function<void(std::size_t, unsigned)>& body) {
  if (threads == 0) threads = default_threads();
  threads = static_cast<unsigned>(std::min<std::size_t>(threads, count));
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  auto work = [&](unsigned worker) {
    try {
      for (std::size_t i = next++; i < count; i = next++) body(i, worker);
    } catch (...) {
      next = count;
      std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  Crew crew;
  for (unsigned t = 1; t < threads; ++t) {
    if (!crew.start([&work, t] { work(t); })) break;
  }
  if (count > 0) work(0);
  crew.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace wb
