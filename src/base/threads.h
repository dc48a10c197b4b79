// A fixed set of worker threads and one operation on it. Work is given out in
// index order; which thread runs which index never changes a result.
#pragma once

#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

namespace wb {

// Threads that parallel work uses: the cores this process may run on, at least 1.
unsigned default_threads();

// Threads that are joined at the end of the scope, also when it is left by an exception.
class Crew {
 public:
  Crew() = default;
  ~Crew() { join(); }
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;
  // False where the system has no thread to give (a limit on memory or processes): whoever can
  // do with fewer goes on. `body` must not throw.
  bool start(std::function<void()> body);
  void join();
  std::vector<std::thread>& threads() { return threads_; }

 private:
  std::vector<std::thread> threads_;
};

// Runs body(index, worker) for every index in [0, count) on `threads` threads (the
// caller is one of them; 0 = default_threads()), fewer where the system has none. `worker` <
// threads identifies the running thread, for per-thread buffers. Indices are handed out in rising
// order. The first exception stops the handing out and is rethrown here.
void parallel_for(std::size_t count, unsigned threads,
                  const std::function<void(std::size_t index, unsigned worker)>& body);

}  // namespace wb
