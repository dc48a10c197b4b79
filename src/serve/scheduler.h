// Who speaks when: one thread that gives every text in the making a turn after another, a token
// (or a piece of a prompt) each, however long it is and whatever model makes it. Owns that thread,
// the bounds on texts in the making and on those that wait, deadlines, and the small buffer of each
// job, which stops a job whose reader is slow and no other. Refuses work beyond its bounds and
// after close(). Knows neither sockets nor models: a Maker makes one text.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/scores.h"

namespace wb::serve {

using SteadyTime = std::chrono::steady_clock::time_point;

// Why a text ended. `time_limit` and `shutdown` are the server's doing.
enum class Finish { none, stop, length, time_limit, shutdown };

struct MadeToken {
  std::optional<std::uint32_t> token;  // none in an end that the server made
  std::string text;                    // the characters that it completes
  Finish finish = Finish::none;        // anything else: the text's last
  std::optional<engine::TokenScores> scores;
};

// Makes one text. Called by the scheduler's thread alone, and destroyed there.
class Maker {
 public:
  virtual ~Maker() = default;
  // One turn of work: nothing while a prompt is being read, else the next token. May throw.
  virtual std::optional<MadeToken> turn() = 0;
};
// Called when the text's time comes, so that what waits holds no model memory.
using MakerFactory = std::function<std::unique_ptr<Maker>()>;

struct JobEvent {
  std::size_t choice = 0;
  MadeToken made;
};

class Scheduler;

// The texts of one request, and what is made of them until it is fetched. The scheduler and one
// reader share it.
class Job {
 public:
  enum class State { event, ended, failed, waiting };
  // The next event, waiting for it at most so long. `ended`: all texts have; `failed`: see
  // failure(); `waiting`: the time is over.
  State next(JobEvent& event, std::chrono::milliseconds most);
  // What a Maker threw. Ends the whole job.
  std::exception_ptr failure() const;
  // Nobody reads any more: nothing more is made of it, and its memory goes within one turn.
  void cancel();

 private:
  friend class Scheduler;
  explicit Job(Scheduler& owner) : owner_(owner) {}
  Scheduler& owner_;
  // All under the scheduler's mutex.
  std::deque<JobEvent> events_;
  std::size_t open_ = 0;   // texts that have not ended
  std::size_t bound_ = 0;  // events that are kept before its texts pause
  bool cancelled_ = false;
  std::exception_ptr failure_;
  std::condition_variable made_;
};

struct SchedulerOptions {
  std::size_t most_active = 8;    // texts in the making
  std::size_t most_waiting = 64;  // texts that wait for one of these places
  std::size_t buffer = 16;        // tokens of a text that are kept for a slow reader
  std::chrono::milliseconds time_limit{300'000};  // of a job, from when it was taken
};

struct SchedulerCounts {
  std::size_t active = 0, waiting = 0;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);
  ~Scheduler();  // cut() and the end of the thread
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Nothing where the bounds do not let all of `texts` wait, or after close().
  std::shared_ptr<Job> submit(std::vector<MakerFactory> texts);
  SchedulerCounts counts() const;
  const SchedulerOptions& options() const { return options_; }

  void close();  // takes nothing new; what was taken goes on
  void cut();    // ends every text at its next turn, with Finish::shutdown; implies close()

 private:
  friend class Job;
  struct Text {
    std::shared_ptr<Job> job;
    std::size_t choice = 0;
    SteadyTime deadline;
    MakerFactory factory;
    std::unique_ptr<Maker> maker;
  };
  using Texts = std::list<Text>;

  void work();
  bool tidy(std::unique_lock<std::mutex>& lock);
  void drop(Texts& from, Texts::iterator text, Finish finish, Texts& dropped);
  void give_turn(std::unique_lock<std::mutex>& lock, Texts::iterator text);
  void end(Text& text, Finish finish);
  Texts::iterator choose();
  SteadyTime next_deadline() const;

  const SchedulerOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;  // something to do for the thread
  Texts waiting_, active_;           // active_ in the order of turns: the front is next
  bool closed_ = false, cut_ = false, stop_ = false;
  std::thread thread_;
};

}  // namespace wb::serve
