// Turns, bounds, slow readers, cancelled jobs and deadlines, with makers that count instead of
// models that think.
#include "serve/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <thread>

namespace wb::serve {
namespace {

using namespace std::chrono_literals;
using ::testing::Each;

// What all makers of a test did, in order. A maker waits at the gate until the test opens it, so
// that everybody has asked when the first turn ends.
struct Log {
  std::mutex mutex;
  std::vector<int> turns;  // under the mutex
  std::vector<int> all() {
    std::lock_guard lock(mutex);
    return turns;
  }
  std::atomic<int> alive{0};
  std::atomic<bool> open{true};
};

class Counting : public Maker {
 public:
  Counting(Log& log, int name, std::size_t tokens, std::size_t quiet, int fails_at = -1)
      : log_(log), name_(name), tokens_(tokens), quiet_(quiet), fails_at_(fails_at) {
    ++log_.alive;
  }
  ~Counting() override { --log_.alive; }
  std::optional<MadeToken> turn() override {
    while (!log_.open) std::this_thread::sleep_for(1ms);
    {
      std::lock_guard lock(log_.mutex);
      log_.turns.push_back(name_);
    }
    if (quiet_ > 0) {
      --quiet_;
      return std::nullopt;
    }
    if (static_cast<int>(made_) == fails_at_) throw std::runtime_error("broken");
    MadeToken out;
    out.token = static_cast<std::uint32_t>(made_++);
    out.text = std::to_string(name_);
    if (made_ == tokens_) out.finish = Finish::length;
    return out;
  }

 private:
  Log& log_;
  int name_;
  std::size_t tokens_, quiet_, made_ = 0;
  int fails_at_;
};

MakerFactory counting(Log& log, int name, std::size_t tokens, std::size_t quiet = 0,
                      int fails_at = -1) {
  return [=, &log] { return std::make_unique<Counting>(log, name, tokens, quiet, fails_at); };
}

// All events until the end.
struct Heard {
  std::vector<JobEvent> events;
  Job::State end = Job::State::waiting;
};
Heard hear(Job& job, std::chrono::milliseconds most = 5s) {
  Heard out;
  JobEvent event;
  while ((out.end = job.next(event, most)) == Job::State::event) out.events.push_back(event);
  return out;
}

bool eventually(const std::function<bool()>& holds) {
  for (int i = 0; i < 5000 && !holds(); ++i) std::this_thread::sleep_for(1ms);
  return holds();
}

TEST(Scheduler, GivesEverybodyATokenInTurn) {
  Log log;
  log.open = false;
  Scheduler scheduler({.most_active = 4, .buffer = 1000});
  std::vector<std::shared_ptr<Job>> jobs;
  for (int i = 0; i < 4; ++i) jobs.push_back(scheduler.submit({counting(log, i, 50)}));
  log.open = true;
  for (auto& job : jobs) {
    const Heard heard = hear(*job);
    EXPECT_EQ(heard.end, Job::State::ended);
    ASSERT_EQ(heard.events.size(), 50u);
    for (std::size_t i = 0; i < 50; ++i) EXPECT_EQ(heard.events[i].made.token, i);
    EXPECT_EQ(heard.events.back().made.finish, Finish::length);
  }
  // Measured in tokens: from when all have begun nobody is ever more than one ahead of anybody.
  std::vector<int> all(4, 0), turns(4, 0);
  for (const int name : log.all()) {
    const auto place = static_cast<std::size_t>(name);
    const bool begun = std::count(all.begin(), all.end(), 0) == 0;
    if (++all[place] == 50 || !begun) continue;  // the last of its text ends the race
    ++turns[place];
    const auto [least, most] = std::minmax_element(turns.begin(), turns.end());
    EXPECT_LE(*most - *least, 1);
  }
  EXPECT_THAT(all, Each(50));
  EXPECT_GT(turns[0], 40);
}

TEST(Scheduler, ALongPromptIsReadBetweenTheTokensOfOthers) {
  Log log;
  log.open = false;
  Scheduler scheduler({.most_active = 2, .buffer = 1000});
  auto talking = scheduler.submit({counting(log, 0, 20)});
  auto reading = scheduler.submit({counting(log, 1, 1, /*quiet=*/10)});
  log.open = true;
  hear(*talking);
  hear(*reading);
  const std::vector<int> turns = log.all();
  const auto begin = std::find(turns.begin(), turns.end(), 1);
  ASSERT_GE(turns.end() - begin, 18);
  EXPECT_EQ(std::count(begin, begin + 18, 0), 9);
  EXPECT_EQ(std::count(begin, begin + 18, 1), 9);
}

TEST(Scheduler, BoundsWhatIsMadeAndWhatWaits) {
  Log log;
  log.open = false;
  Scheduler scheduler({.most_active = 2, .most_waiting = 3});
  std::vector<std::shared_ptr<Job>> jobs;
  for (int i = 0; i < 5; ++i) {
    jobs.push_back(scheduler.submit({counting(log, i, 3)}));
    EXPECT_NE(jobs.back(), nullptr) << i;
  }
  const SchedulerCounts counts = scheduler.counts();
  EXPECT_EQ(counts.active + counts.waiting, 5u);
  EXPECT_EQ(scheduler.submit({counting(log, 9, 3)}), nullptr) << "the queue is full";
  EXPECT_LE(log.alive, 2) << "what waits has no maker yet";
  log.open = true;
  for (auto& job : jobs) EXPECT_EQ(hear(*job).events.size(), 3u);
  EXPECT_NE(scheduler.submit({counting(log, 9, 3)}), nullptr) << "there is room again";
}

TEST(Scheduler, ASlowReaderPausesOnlyItself) {
  Log log;
  Scheduler scheduler({.most_active = 2, .buffer = 4});
  auto slow = scheduler.submit({counting(log, 0, 100)});
  auto quick = scheduler.submit({counting(log, 1, 100)});
  EXPECT_EQ(hear(*quick).events.size(), 100u);
  const std::vector<int> turns = log.all();
  EXPECT_EQ(std::count(turns.begin(), turns.end(), 0), 4) << "one buffer and no more";
  EXPECT_EQ(hear(*slow).events.size(), 100u) << "and all is there in the end";
}

TEST(Scheduler, ACancelledJobStopsAndItsMakerGoes) {
  Log log;
  Scheduler scheduler({.most_active = 2, .buffer = 10});
  auto gone = scheduler.submit({counting(log, 0, 1'000'000), counting(log, 1, 1'000'000)});
  auto waiting = scheduler.submit({counting(log, 2, 1)});
  JobEvent event;
  ASSERT_EQ(gone->next(event, 5s), Job::State::event);
  gone->cancel();
  EXPECT_EQ(hear(*waiting).events.size(), 1u) << "its places are free";
  EXPECT_TRUE(eventually([&] { return log.alive == 0; }));
  EXPECT_LT(log.all().size(), 50u);
}

TEST(Scheduler, ACancelledJobThatPausesGoesToo) {
  Log log;
  Scheduler scheduler({.most_active = 1, .buffer = 2});
  auto gone = scheduler.submit({counting(log, 0, 100)});
  ASSERT_TRUE(eventually([&] { return log.all().size() == 2; }));
  std::this_thread::sleep_for(20ms);  // the thread sleeps now
  gone->cancel();
  EXPECT_TRUE(eventually([&] { return log.alive == 0 && scheduler.counts().active == 0; }));
}

TEST(Scheduler, SeveralTextsOfOneJobComeInTurnsToo) {
  Log log;
  Scheduler scheduler({.most_active = 4});
  auto job = scheduler.submit({counting(log, 7, 2), counting(log, 8, 3)});
  const Heard heard = hear(*job);
  EXPECT_EQ(heard.end, Job::State::ended);
  std::vector<std::string> texts(2);
  for (const JobEvent& e : heard.events) texts[e.choice] += e.made.text;
  EXPECT_EQ(texts[0], "77");
  EXPECT_EQ(texts[1], "888");
}

TEST(Scheduler, LateTextsEndWhereverTheyAre) {
  Log log;
  Scheduler scheduler({.most_active = 1, .most_waiting = 1, .buffer = 2, .time_limit = 60ms});
  auto paused = scheduler.submit({counting(log, 0, 100)});
  auto waiting = scheduler.submit({counting(log, 1, 100)});
  EXPECT_TRUE(eventually([&] { return log.all().size() >= 2; }));
  const Heard never = hear(*waiting);
  ASSERT_EQ(never.events.size(), 1u);
  EXPECT_EQ(never.events[0].made.finish, Finish::time_limit);
  EXPECT_EQ(never.events[0].made.token, std::nullopt);
  const Heard cut = hear(*paused);
  ASSERT_EQ(cut.events.size(), 3u);
  EXPECT_EQ(cut.events[2].made.finish, Finish::time_limit);
  EXPECT_EQ(cut.end, Job::State::ended);
}

TEST(Scheduler, AFailureEndsItsJobAlone) {
  Log log;
  Scheduler scheduler({.most_active = 3});
  auto broken = scheduler.submit({counting(log, 0, 10, 0, /*fails_at=*/2), counting(log, 1, 100)});
  auto whole = scheduler.submit({counting(log, 2, 30)});
  const Heard heard = hear(*broken);
  EXPECT_EQ(heard.end, Job::State::failed);
  EXPECT_THROW(std::rethrow_exception(broken->failure()), std::runtime_error);
  EXPECT_EQ(hear(*whole).events.size(), 30u);
  EXPECT_TRUE(eventually([&] { return log.alive == 0; }));
}

TEST(Scheduler, ClosesAndCuts) {
  Log log;
  Scheduler scheduler({.most_active = 1, .buffer = 3});
  auto running = scheduler.submit({counting(log, 0, 1'000'000)});
  auto waiting = scheduler.submit({counting(log, 1, 1)});
  scheduler.close();
  EXPECT_EQ(scheduler.submit({counting(log, 2, 1)}), nullptr);
  JobEvent event;
  EXPECT_EQ(running->next(event, 5s), Job::State::event) << "what was taken goes on";
  scheduler.cut();
  const Heard last = hear(*running);
  ASSERT_FALSE(last.events.empty());
  EXPECT_EQ(last.events.back().made.finish, Finish::shutdown);
  EXPECT_EQ(last.end, Job::State::ended);
  EXPECT_EQ(hear(*waiting).events.back().made.finish, Finish::shutdown);
  EXPECT_TRUE(eventually([&] { return log.alive == 0; }));
}

TEST(Scheduler, EndsWhileJobsAreOpen) {
  Log log;
  {
    Scheduler scheduler({.most_active = 1});
    scheduler.submit({counting(log, 0, 1'000'000)});
    scheduler.submit({counting(log, 1, 1'000'000)});
  }
  EXPECT_EQ(log.alive, 0);
}

}  // namespace
}  // namespace wb::serve
