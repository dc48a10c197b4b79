// Threads that stay: one short parallel section after another, some microseconds each, as
// decoding a token needs. Workers spin a little between sections and then sleep, so that an idle
// engine costs nothing. Owns its threads, pinned one to a core where it has a core for each.
// One section at a time; who calls run() works too.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <type_traits>

#include "base/threads.h"

namespace wb::engine {

class Pool {
 public:
  explicit Pool(unsigned threads);  // 0 = all cores; fewer where the system has none to give
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  unsigned size() const { return workers_ + 1; }
  // body(index, worker) for every index in [0, count), handed out in rising order; worker < size()
  // names the running thread. Allocates nothing. The first exception is rethrown here.
  template <class Body>
  void run(std::size_t count, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run_erased(count, &body, [](void* b, std::size_t index, unsigned worker) {
      (*static_cast<Plain*>(b))(index, worker);
    });
  }

 private:
  using Call = void (*)(void* body, std::size_t index, unsigned worker);
  void run_erased(std::size_t count, void* body, Call call);
  void work(unsigned worker);
  void take(unsigned worker);

  Crew crew_;
  // The section, written before `epoch_` rises and read after it is seen to have.
  std::size_t count_ = 0;
  void* body_ = nullptr;
  Call call_ = nullptr;
  std::exception_ptr failure_;
  std::mutex failure_mutex_;
  alignas(64) std::atomic<std::uint32_t> epoch_{0};
  alignas(64) std::atomic<std::size_t> next_{0};
  alignas(64) std::atomic<unsigned> running_{0};
  bool stop_ = false;
  unsigned workers_ = 0;  // threads of crew_
};

}  // namespace wb::engine
