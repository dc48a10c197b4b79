// See pool.h.
#include "engine/pool.h"

#include <pthread.h>
#include <sched.h>

#include <utility>

#include "base/error.h"
#include "base/threads.h"

namespace wb::engine {

namespace {

constexpr int kSpins = 4000;  // some 50 us: longer than the serial parts between sections

constexpr std::uint64_t kOne = std::uint64_t{1} << 32, kLow = kOne - 1;  // of Share::left
constexpr std::size_t kLine = 64, kLinesAtOnce = 4;

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

bool Pool::Share::take_first(std::size_t& index) {
  std::uint64_t was = left.load(std::memory_order_relaxed);
  while ((was >> 32) < (was & kLow)) {
    if (!left.compare_exchange_weak(was, was + kOne, std::memory_order_relaxed)) continue;
    index = static_cast<std::size_t>(was >> 32);
    return true;
  }
  return false;
}

bool Pool::Share::take_last(std::size_t& index) {
  std::uint64_t was = left.load(std::memory_order_relaxed);
  while ((was >> 32) < (was & kLow)) {
    if (!left.compare_exchange_weak(was, was - 1, std::memory_order_relaxed)) continue;
    index = static_cast<std::size_t>(was & kLow) - 1;
    return true;
  }
  return false;
}

// Asks for the stretches, a few lines at a time, as long as there is nothing else to do.
template <class Waiting>
void Pool::ask_while(const std::vector<Stretch>& stretches, Waiting&& waiting) {
  for (const Stretch& s : stretches) {
    for (std::size_t i = 0; i < s.bytes; i += kLinesAtOnce * kLine) {
      if (!waiting()) return;
      for (std::size_t j = 0; j < kLinesAtOnce; ++j) __builtin_prefetch(s.at + i + j * kLine, 0, 2);
    }
  }
}

Pool::Pool(unsigned threads) {
  const unsigned cores = default_threads();
  if (threads == 0) threads = cores;
  shares_ = std::vector<Share>(threads);
  for (unsigned w = 1; w < threads; ++w) {
    if (!crew_.start([this, w] { work(w); })) break;
    ++workers_;
    // The caller's own thread stays free: it is not ours to pin.
    if (threads <= cores) pin(crew_.threads().back(), w);
  }
  for (Coming& c : coming_) c.resize(size());
}

Pool::~Pool() {
  stop_ = true;
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  crew_.join();
}

void Pool::take(unsigned worker) {
  try {
    std::size_t i = 0;
    while (shares_[worker].take_first(i)) call_(body_, i, worker);
    for (unsigned other = 1; other < size(); ++other) {
      while (shares_[(worker + other) % size()].take_last(i)) call_(body_, i, worker);
    }
  } catch (...) {
    for (Share& s : shares_) s.left = 0;
    std::lock_guard lock(failure_mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

void Pool::work(unsigned worker) {
  std::uint32_t seen = 0;
  const auto waiting = [&] { return epoch_.load(std::memory_order_acquire) == seen; };
  while (true) {
    int spins = 0;
    while (waiting()) {
      if (++spins < kSpins) {
        relax();
      } else {
        epoch_.wait(seen, std::memory_order_acquire);
      }
    }
    ++seen;
    if (stop_) return;
    const std::vector<Stretch>& ahead = (*ahead_)[worker];
    take(worker);
    running_.fetch_sub(1, std::memory_order_release);
    ask_while(ahead, waiting);
  }
}

std::span<std::vector<Stretch>> Pool::coming() {
  for (std::vector<Stretch>& c : coming_[free_]) c.clear();
  filled_ = true;
  return coming_[free_];
}

void Pool::run_erased(std::size_t count, std::span<const std::size_t> shares, void* body,
                      Call call) {
  if (workers_ == 0 || count <= 1) {
    for (std::size_t i = 0; i < count; ++i) call(body, i, 0);
    return;
  }
  WB_CHECK(count <= kLow && (shares.empty() || shares.size() == size() + 1));
  for (std::size_t w = 0; w < size(); ++w) {
    const std::uint64_t first = shares.empty() ? count * w / size() : shares[w];
    const std::uint64_t last = shares.empty() ? count * (w + 1) / size() : shares[w + 1];
    shares_[w].left.store(first << 32 | last, std::memory_order_relaxed);
  }
  body_ = body;
  call_ = call;
  if (!filled_) coming();
  filled_ = false;
  // Workers may be reading the other one until they see the section begin.
  ahead_ = &coming_[free_];
  free_ ^= 1;
  running_.store(workers_, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  take(0);
  const auto waiting = [&] { return running_.load(std::memory_order_acquire) != 0; };
  ask_while((*ahead_)[0], waiting);
  int spins = 0;
  while (waiting()) {
    if (++spins < kSpins) {
      relax();
    } else {
      std::this_thread::yield();  // a worker was put off its core
    }
  }
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

}  // namespace wb::engine
