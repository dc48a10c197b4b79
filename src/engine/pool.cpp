// See pool.h.
#include "engine/pool.h"

#include <pthread.h>
#include <sched.h>

#include <utility>

#include "base/threads.h"

namespace wb::engine {

namespace {

constexpr int kSpins = 4000;  // some 50 us: longer than the serial parts between sections

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Pins `thread` to the n-th core that this process may use.
void pin(std::thread& thread, unsigned n) {
#ifdef __linux__
  cpu_set_t all, one;
  CPU_ZERO(&all);
  CPU_ZERO(&one);
  if (sched_getaffinity(0, sizeof all, &all) != 0) return;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &all) || n-- != 0) continue;
    CPU_SET(cpu, &one);
    pthread_setaffinity_np(thread.native_handle(), sizeof one, &one);
    return;
  }
#else
  static_cast<void>(thread);
  static_cast<void>(n);
#endif
}

}  // namespace

Pool::Pool(unsigned threads) {
  const unsigned cores = default_threads();
  if (threads == 0) threads = cores;
  for (unsigned w = 1; w < threads; ++w) {
    if (!crew_.start([this, w] { work(w); })) break;
    ++workers_;
    // The caller's own thread stays free: it is not ours to pin.
    if (threads <= cores) pin(crew_.threads().back(), w);
  }
}

Pool::~Pool() {
  stop_ = true;
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  crew_.join();
}

void Pool::take(unsigned worker) {
  try {
    for (std::size_t i = next_.fetch_add(1); i < count_; i = next_.fetch_add(1)) {
      call_(body_, i, worker);
    }
  } catch (...) {
    next_ = count_;
    std::lock_guard lock(failure_mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

void Pool::work(unsigned worker) {
  std::uint32_t seen = 0;
  while (true) {
    int spins = 0;
    while (epoch_.load(std::memory_order_acquire) == seen) {
      if (++spins < kSpins) {
        relax();
      } else {
        epoch_.wait(seen, std::memory_order_acquire);
      }
    }
    ++seen;
    if (stop_) return;
    take(worker);
    running_.fetch_sub(1, std::memory_order_release);
  }
}

void Pool::run_erased(std::size_t count, void* body, Call call) {
  if (workers_ == 0 || count <= 1) {
    for (std::size_t i = 0; i < count; ++i) call(body, i, 0);
    return;
  }
  count_ = count;
  body_ = body;
  call_ = call;
  next_.store(0, std::memory_order_relaxed);
  running_.store(workers_, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  take(0);
  int spins = 0;
  while (running_.load(std::memory_order_acquire) != 0) {
    if (++spins < kSpins) {
      relax();
    } else {
      std::this_thread::yield();  // a worker was put off its core
    }
  }
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

}  // namespace wb::engine
