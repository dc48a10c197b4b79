// Answers that are made of tokens: in one piece, or as they come. See routes.h.
#include <fmt/format.h>

#include <new>

#include "base/error.h"
#include "serve/routes.h"

namespace wb::serve {

namespace {

using namespace std::chrono_literals;

// How often it is looked whether the client is still there.
constexpr auto kLook = 50ms;
// Events that are written together where they are there already.
constexpr std::size_t kTogether = 32;

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// What a Maker threw, to the client.
Refusal refusal_of(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    return server_fault(error.sentence());
  } catch (const std::bad_alloc&) {
    return too_busy("There is not enough memory for this request now.");
  } catch (...) {
    return server_fault("The model could not go on.");
  }
}

}  // namespace

// One request under way: what was asked, what is made of it, and what it is counted under.
class Reply {
 public:
  Reply(const ServedModel& model, Ask ask, const std::vector<PlannedText>& texts, std::string id,
        std::shared_ptr<Job> job, Metrics& metrics)
      : model_(model),
        ask_(std::move(ask)),
        job_(std::move(job)),
        metrics_(metrics),
        answer_(model_, ask_, texts, std::move(id),
                std::chrono::duration_cast<std::chrono::seconds>(
                    std::chrono::system_clock::now().time_since_epoch())
                    .count()),
        arrived_(Connection::current()->arrived()) {
    metrics_.prompt_tokens(model_.id, answer_.prompt_tokens());
  }
  ~Reply() {
    job_->cancel();
    metrics_.made_tokens(model_.id, answer_.made_tokens());
    metrics_.answer(seconds_since(arrived_));
  }
  Reply(const Reply&) = delete;
  Reply& operator=(const Reply&) = delete;

  bool left() const { return left_; }
  // The next event; `waiting` only where the client has gone, which is looked for whether or not
  // there is anything to give it.
  Job::State next(JobEvent& event) {
    while (true) {
      const Job::State state = job_->next(event, kLook);
      if (const auto now = std::chrono::steady_clock::now(); now >= look_) {
        look_ = now + kLook;
        if (Connection::current()->gone()) return leave();
      }
      if (state == Job::State::event && event.made.token && !begun_) {
        begun_ = true;
        metrics_.first_token(seconds_since(arrived_));
      }
      if (state != Job::State::waiting) return state;
    }
  }

  // Before anything is sent. False: `res` has what is sent instead.
  bool begin(httplib::Response& res) {
    const Job::State state = next(first_);
    if (state == Job::State::waiting) {
      res.status = 499;
      return false;
    }
    const bool started = state == Job::State::event && first_.made.token;
    if (started) return true;
    Refusal refusal = state == Job::State::failed
                          ? refusal_of(job_->failure())
                          : too_busy(first_.made.finish == Finish::shutdown
                                         ? "The server is stopping."
                                         : "The request waited too long for its turn.");
    res.status = refusal.status;
    if (refusal.status == 503) res.set_header("Retry-After", "1");
    res.set_content(refusal_body(refusal), "application/json");
    return false;
  }

  void whole(httplib::Response& res) {
    answer_.add(first_);
    JobEvent event;
    Job::State state;
    while ((state = next(event)) == Job::State::event) answer_.add(event);
    if (state == Job::State::ended) {
      res.set_content(answer_.document(), "application/json");
    } else if (state == Job::State::waiting) {
      res.status = 499;
    } else {
      const Refusal refusal = refusal_of(job_->failure());
      res.status = refusal.status;
      res.set_content(refusal_body(refusal), "application/json");
    }
  }

  // A piece of the stream. False: give up.
  bool more(httplib::DataSink& sink) {
    std::string out;
    if (!opened_) {
      out = answer_.opening() + answer_.chunk(first_);
      opened_ = true;
    }
    JobEvent event;
    Job::State state = Job::State::event;
    if (out.empty()) {
      state = next(event);
      if (state == Job::State::event) out = answer_.chunk(event);
    }
    for (std::size_t i = 0; i < kTogether && state == Job::State::event; ++i) {
      state = job_->next(event, 0ms);
      if (state == Job::State::event) out += answer_.chunk(event);
    }
    if (left_) return false;
    const bool over = state == Job::State::ended || state == Job::State::failed;
    if (state == Job::State::failed) out += Answer::error_event(refusal_of(job_->failure()));
    if (over) out += answer_.closing();
    // Nothing to write is the library's word for the end.
    if (!out.empty() && !sink.write(out.data(), out.size())) {
      leave();
      return false;
    }
    if (over) sink.done();
    return true;
  }

 private:
  Job::State leave() {
    if (!left_) metrics_.client_left();
    left_ = true;
    job_->cancel();
    return Job::State::waiting;
  }

  const ServedModel& model_;
  const Ask ask_;
  const std::shared_ptr<Job> job_;
  Metrics& metrics_;
  Answer answer_;
  const SteadyTime arrived_;
  SteadyTime look_{};
  JobEvent first_;
  bool begun_ = false, opened_ = false, left_ = false;
};

void Routes::answer(const ServedModel& model, const Ask& ask, Res& res, bool chunked) {
  auto refuse = [&res](const Refusal& refusal) {
    res.status = refusal.status;
    if (refusal.status == 503) res.set_header("Retry-After", "1");
    res.set_content(refusal_body(refusal), "application/json");
  };
  const auto planned = plan_texts(model, ask, options_.voice, random());
  if (const auto* refusal = std::get_if<Refusal>(&planned)) return refuse(*refusal);
  const auto& texts = std::get<std::vector<PlannedText>>(planned);
  std::vector<MakerFactory> makers;
  for (const PlannedText& text : texts) makers.push_back(maker_of(model, ask, text));
  auto job = scheduler_.submit(std::move(makers));
  if (!job) {
    return refuse(too_busy(http_.stopping() ? "The server is stopping."
                                            : "Too many requests wait already. Try again."));
  }
  const char* prefix = ask.endpoint == Endpoint::chat ? "chatcmpl" : "cmpl";
  auto reply = std::make_shared<Reply>(
      model, ask, texts, fmt::format("{}-{:016x}", prefix, random()), std::move(job), metrics_);
  if (!reply->begin(res)) return;
  if (!ask.stream) return reply->whole(res);
  auto more = [reply](std::size_t, httplib::DataSink& sink) { return reply->more(sink); };
  if (chunked) return res.set_chunked_content_provider("text/event-stream", more);
  Connection::current()->close_after();
  res.set_header("Connection", "close");
  res.set_content_provider("text/event-stream", more);
}

}  // namespace wb::serve
