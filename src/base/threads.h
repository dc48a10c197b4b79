// A fixed set of worker threads and one operation on it. Work is given out in
// index order; which thread runs which index never changes a result.
#pragma once

#include <cstddef>
#include <functional>

namespace wb {

// Threads that parallel work uses: the cores this process may run on, at least 1.
unsigned default_threads();

// Runs body(index, worker) for every index in [0, count) on `threads` threads (the
// caller is one of them; 0 = default_threads()). `worker` < threads identifies the
// running thread, for per-thread buffers. Indices are handed out in rising order.
// The first exception stops the handing out and is rethrown here.
void parallel_for(std::size_t count, unsigned threads,
                  const std::function<void(std::size_t index, unsigned worker)>& body);

}  // namespace wb
