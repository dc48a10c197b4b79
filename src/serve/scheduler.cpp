// See scheduler.h.
#include "serve/scheduler.h"

#include <algorithm>

namespace wb::serve {

// --- jobs ---

Job::State Job::next(JobEvent& event, std::chrono::milliseconds most) {
  std::unique_lock lock(owner_.mutex_);
  auto ready = [this] { return failure_ || !events_.empty() || open_ == 0; };
  if (!made_.wait_for(lock, most, ready)) return State::waiting;
  // What was made before a failure is given out first.
  if (!events_.empty()) {
    event = std::move(events_.front());
    events_.pop_front();
    owner_.changed_.notify_one();  // there is room again
    return State::event;
  }
  return failure_ ? State::failed : State::ended;
}

std::exception_ptr Job::failure() const {
  std::lock_guard lock(owner_.mutex_);
  return failure_;
}

void Job::cancel() {
  std::lock_guard lock(owner_.mutex_);
  cancelled_ = true;
  owner_.changed_.notify_one();
}

// --- the scheduler ---

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options), thread_([this] { work(); }) {}

Scheduler::~Scheduler() {
  {
    std::lock_guard lock(mutex_);
    closed_ = cut_ = stop_ = true;
    changed_.notify_one();
  }
  thread_.join();
}

std::shared_ptr<Job> Scheduler::submit(std::vector<MakerFactory> texts) {
  std::lock_guard lock(mutex_);
  const std::size_t free =
      active_.size() < options_.most_active ? options_.most_active - active_.size() : 0;
  if (closed_ || waiting_.size() + texts.size() > free + options_.most_waiting) return nullptr;
  std::shared_ptr<Job> job(new Job(*this));
  job->open_ = texts.size();
  job->bound_ = texts.size() * options_.buffer;
  const SteadyTime deadline = std::chrono::steady_clock::now() + options_.time_limit;
  for (std::size_t i = 0; i < texts.size(); ++i)
    waiting_.push_back({job, i, deadline, std::move(texts[i]), nullptr});
  changed_.notify_one();
  return job;
}

SchedulerCounts Scheduler::counts() const {
  std::lock_guard lock(mutex_);
  return {active_.size(), waiting_.size()};
}

void Scheduler::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
}

void Scheduler::cut() {
  std::lock_guard lock(mutex_);
  closed_ = cut_ = true;
  changed_.notify_one();
}

void Scheduler::end(Text& text, Finish finish) {
  Job& job = *text.job;
  if (finish != Finish::none) job.events_.push_back({text.choice, {{}, {}, finish, {}}});
  --job.open_;
  job.made_.notify_all();
}

void Scheduler::drop(Texts& from, Texts::iterator text, Finish finish, Texts& dropped) {
  end(*text, finish);
  dropped.splice(dropped.end(), from, text);
}

// Takes away what is cancelled, late or cut, and lets others in. Makers are made and destroyed
// with the mutex open: both touch the memory of models. True: look again, something may have come
// meanwhile.
bool Scheduler::tidy(std::unique_lock<std::mutex>& lock) {
  const SteadyTime now = std::chrono::steady_clock::now();
  Texts dropped;
  for (Texts* list : {&active_, &waiting_}) {
    for (auto it = list->begin(); it != list->end();) {
      const auto text = it++;
      if (text->job->cancelled_ || text->job->failure_) {
        drop(*list, text, Finish::none, dropped);
      } else if (cut_) {
        drop(*list, text, Finish::shutdown, dropped);
      } else if (text->deadline <= now) {
        drop(*list, text, Finish::time_limit, dropped);
      }
    }
  }
  // New texts come last in the order of turns.
  while (!waiting_.empty() && active_.size() < options_.most_active)
    active_.splice(active_.end(), waiting_, waiting_.begin());
  if (dropped.empty()) return false;
  lock.unlock();
  dropped.clear();
  lock.lock();
  return true;
}

// The first in the order of turns whose reader has room for a token.
Scheduler::Texts::iterator Scheduler::choose() {
  return std::find_if(active_.begin(), active_.end(), [](const Text& t) {
    return !t.job->cancelled_ && t.job->events_.size() < t.job->bound_;
  });
}

SteadyTime Scheduler::next_deadline() const {
  SteadyTime first = SteadyTime::max();
  for (const Texts* list : {&active_, &waiting_}) {
    for (const Text& t : *list) first = std::min(first, t.deadline);
  }
  return first;
}

void Scheduler::give_turn(std::unique_lock<std::mutex>& lock, Texts::iterator text) {
  // Only this thread takes texts from the lists, so that the iterator lasts.
  active_.splice(active_.end(), active_, text);
  std::optional<MadeToken> made;
  std::exception_ptr failure;
  lock.unlock();
  try {
    if (!text->maker) text->maker = text->factory();
    made = text->maker->turn();
  } catch (...) {
    failure = std::current_exception();
  }
  const bool ended = failure || (made && made->finish != Finish::none);
  if (ended) text->maker.reset();
  lock.lock();
  Job& job = *text->job;
  if (failure) job.failure_ = failure;
  if (made && !job.cancelled_) job.events_.push_back({text->choice, *std::move(made)});
  if (!ended) {
    job.made_.notify_all();
    return;
  }
  end(*text, Finish::none);
  active_.erase(text);
}

void Scheduler::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    if (tidy(lock)) continue;
    if (stop_ && active_.empty() && waiting_.empty()) return;
    const auto text = choose();
    if (text != active_.end()) {
      give_turn(lock, text);
      continue;
    }
    if (stop_) continue;
    const SteadyTime deadline = next_deadline();
    if (deadline == SteadyTime::max()) {
      changed_.wait(lock);
    } else {
      changed_.wait_until(lock, deadline);
    }
  }
}

}  // namespace wb::serve
