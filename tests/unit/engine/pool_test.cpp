// The pool: every index once, on threads that keep to a core each; also where the process may use
// few cores.
#include "engine/pool.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

namespace wb::engine {
namespace {

// The cores that the running thread may use.
std::vector<int> cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> out;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return out;
  for (int c = 0; c < CPU_SETSIZE; ++c) {
    if (CPU_ISSET(c, &set)) out.push_back(c);
  }
  return out;
}

// The cores of each thread of `pool`, the caller's first. A section of one index for each waits
// until all threads have one.
std::vector<std::vector<int>> cores_of(Pool& pool) {
  std::vector<std::vector<int>> out(pool.size());
  std::atomic<unsigned> here{0};
  pool.run(pool.size(), [&](std::size_t, unsigned worker) {
    out[worker] = cores();
    ++here;
    while (here < pool.size()) std::this_thread::yield();
  });
  return out;
}

// Lets the calling thread, and threads that it makes, use only `some`.
void restrict_to(const std::vector<int>& some) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int c : some) CPU_SET(c, &set);
  ASSERT_EQ(sched_setaffinity(0, sizeof set, &set), 0);
}

TEST(Pool, EveryIndexRunsOnceInEverySection) {
  for (unsigned threads : {1u, 2u, 5u}) {
    Pool pool(threads);
    ASSERT_EQ(pool.size(), threads);
    for (std::size_t count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> times(count);
      pool.run(count, [&](std::size_t i, unsigned worker) {
        EXPECT_LT(worker, threads);
        ++times[i];
      });
      EXPECT_TRUE(std::all_of(times.begin(), times.end(), [](auto& t) { return t == 1; }));
    }
  }
}

TEST(Pool, EachWorkerBeginsWithItsOwnShareAndWhoIsDoneHelpsFromBehind) {
  Pool pool(2);
  ASSERT_EQ(pool.size(), 2u);
  using Indices = std::vector<std::size_t>;
  // Shares, and what worker 0 takes while worker 1 stays with its first index.
  const std::vector<std::pair<Indices, Indices>> cases = {
      {{}, {0, 1, 2, 3, 7, 6, 5}},  // equal ones
      {{0, 3, 8}, {0, 1, 2, 7, 6, 5, 4}},
      {{0, 8, 8}, {0, 1, 2, 3, 4, 5, 6}},
      {{0, 0, 8}, {7, 6, 5, 4, 3, 2, 1}}};
  for (const auto& [shares, expected] : cases) {
    std::atomic<bool> here[2] = {false, false};
    std::atomic<std::size_t> done{0};
    Indices order;
    pool.run(
        8,
        [&, &all = expected](std::size_t i, unsigned worker) {
          here[worker] = true;
          while (!here[1 - worker]) std::this_thread::yield();
          if (worker == 1) {
            while (done < all.size()) std::this_thread::yield();
            return;
          }
          order.push_back(i);
          ++done;
        },
        shares);
    EXPECT_EQ(order, expected);
  }
}

TEST(Pool, WhatIsAskedForAheadMayBeAnythingAndIsForgottenAfterItsSection) {
  Pool pool(3);
  const std::vector<std::byte> some(100'000);
  for (int turn = 0; turn < 200; ++turn) {
    for (std::vector<Stretch>& ahead : pool.coming()) {
      EXPECT_TRUE(ahead.empty());
      ahead.push_back({some.data(), some.size()});
      ahead.push_back({nullptr, 100});  // no address of ours
      ahead.push_back({some.data(), 0});
    }
    std::atomic<int> ran{0};
    pool.run(5, [&](std::size_t, unsigned) { ++ran; });
    EXPECT_EQ(ran, 5);
    pool.run(1, [&](std::size_t, unsigned) { ++ran; });  // no section: nobody else is woken
    EXPECT_EQ(ran, 6);
    if (turn % 3 == 0) pool.run(4, [&](std::size_t, unsigned) { ++ran; });
  }
}

TEST(Pool, ThreadsKeepToACoreEach) {
  const std::vector<int> all = cores();
  if (all.size() < 2) GTEST_SKIP() << "SKIPPED: there is one core";
  Pool pool(0);
  ASSERT_EQ(pool.size(), all.size());
  const auto each = cores_of(pool);
  EXPECT_EQ(each[0], all);  // the caller's thread is its own
  std::set<int> taken;
  for (std::size_t w = 1; w < each.size(); ++w) {
    ASSERT_EQ(each[w].size(), 1u) << "thread " << w;
    taken.insert(each[w][0]);
  }
  EXPECT_EQ(taken.size(), each.size() - 1);
}

TEST(Pool, AProcessThatMayUseOneCoreGetsOneThreadAndMoreAreNotPinned) {
  const std::vector<int> all = cores();
  const std::vector<int> last = {all.back()};
  restrict_to(last);
  {
    Pool own(0);
    EXPECT_EQ(own.size(), 1u);
    // More threads than cores, as asked for: they share what the process has, and finish.
    Pool more(3);
    EXPECT_EQ(cores_of(more), std::vector<std::vector<int>>(3, last));
  }
  restrict_to(all);
}

TEST(Pool, PinsWithinTheCoresOfTheProcess) {
  const std::vector<int> all = cores();
  if (all.size() < 3) GTEST_SKIP() << "SKIPPED: there are fewer than three cores";
  const std::vector<int> some(all.begin() + 1, all.end());
  restrict_to(some);
  {
    Pool pool(0);
    ASSERT_EQ(pool.size(), some.size());
    const auto each = cores_of(pool);
    for (std::size_t w = 1; w < each.size(); ++w) {
      EXPECT_EQ(each[w], std::vector<int>{some[w]});
    }
  }
  restrict_to(all);
}

TEST(Pool, TheFirstFailureIsTheCallersAndTheNextSectionRuns) {
  Pool pool(2);
  EXPECT_THROW(pool.run(100,
                        [](std::size_t i, unsigned) {
                          if (i == 40) throw std::runtime_error("forty");
                        }),
               std::runtime_error);
  std::atomic<int> ran{0};
  pool.run(10, [&](std::size_t, unsigned) { ++ran; });
  EXPECT_EQ(ran, 10);
}

}  // namespace
}  // namespace wb::engine
