// Threads that stay: one short parallel section after another, some microseconds each, as
// decoding a token needs. Workers spin a little between sections and then sleep, so that an idle
// engine costs nothing. While they wait they may ask memory for what the next section reads: a
// token is bound by memory, and its serial parts would leave memory idle. Owns its threads, pinned
// one to a core where it has a core for each. One section at a time; who calls run() works too.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <span>
#include <type_traits>
#include <vector>

#include "base/threads.h"

namespace wb::engine {

// Bytes that will be read; only ever asked for, so that they may be anything.
struct Stretch {
  const std::byte* at;
  std::size_t bytes;
};

class Pool {
 public:
  explicit Pool(unsigned threads);  // 0 = all cores; fewer where the system has none to give
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  unsigned size() const { return workers_ + 1; }
  // body(index, worker) for every index in [0, count); worker < size() names the running thread.
  // Each worker has a share of its own, a run of indices that it takes in rising order: an equal
  // one, or [shares[worker], shares[worker + 1]). Who is done helps the others from behind.
  // Allocates nothing. The first exception is rethrown here.
  template <class Body>
  void run(std::size_t count, Body&& body, std::span<const std::size_t> shares = {}) {
    using Plain = std::remove_reference_t<Body>;
    run_erased(count, shares, &body, [](void* b, std::size_t index, unsigned worker) {
      (*static_cast<Plain*>(b))(index, worker);
    });
  }
  // What each worker asks memory for after its part of the next section, until the one after that
  // begins. [size()], empty; to be filled before run().
  std::span<std::vector<Stretch>> coming();

 private:
  using Call = void (*)(void* body, std::size_t index, unsigned worker);
  // Indices of a worker that nobody has taken: [first, last), first in the upper half.
  struct alignas(64) Share {
    std::atomic<std::uint64_t> left{0};
    bool take_first(std::size_t& index);
    bool take_last(std::size_t& index);
  };
  using Coming = std::vector<std::vector<Stretch>>;  // [size()]
  void run_erased(std::size_t count, std::span<const std::size_t> shares, void* body, Call call);
  void work(unsigned worker);
  void take(unsigned worker);
  template <class Waiting>
  void ask_while(const std::vector<Stretch>& stretches, Waiting&& waiting);

  Crew crew_;
  // The section, written before `epoch_` rises and read after it is seen to have.
  void* body_ = nullptr;
  Call call_ = nullptr;
  const Coming* ahead_ = nullptr;
  // One that waiting workers read, and one to be filled.
  Coming coming_[2];
  unsigned free_ = 0;
  bool filled_ = false;
  std::exception_ptr failure_;
  std::mutex failure_mutex_;
  alignas(64) std::atomic<std::uint32_t> epoch_{0};
  std::vector<Share> shares_;
  alignas(64) std::atomic<unsigned> running_{0};
  bool stop_ = false;
  unsigned workers_ = 0;  // threads of crew_
};

}  // namespace wb::engine
