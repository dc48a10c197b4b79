// What is made when it is first asked for, by whichever thread asks first.
//
// std::call_once runs its function inside a C frame of the system's library. An exception that
// passes there makes glibc load its unwinder by name, which aborts the process where memory is
// short - the very case in which such a function throws. Once holds a mutex instead: an exception
// passes through our own frames, and the next caller tries again.
#pragma once

#include <atomic>
#include <mutex>

namespace wb {

class Once {
 public:
  // Runs make() unless a run of it has ended without an exception. Callers that come meanwhile
  // wait. make() must not come back to the same Once.
  template <class Make>
  void run(Make&& make) {
    if (done_.load(std::memory_order_acquire)) return;
    const std::lock_guard lock(mutex_);
    if (done_.load(std::memory_order_relaxed)) return;
    make();
    done_.store(true, std::memory_order_release);
  }

 private:
  std::mutex mutex_;
  std::atomic<bool> done_{false};
};

}  // namespace wb
