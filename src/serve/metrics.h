// What the server counts, and its page in Prometheus' text format (version 0.0.4). Owns the names.
// Safe from several threads.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "serve/scheduler.h"

namespace wb::serve {

// Cumulative buckets over seconds.
class Histogram {
 public:
  static constexpr std::array<double, 12> kBounds = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                                     0.5,   1,    2.5,   5,    10,  60};
  void add(double seconds);
  // The lines of one metric: name_bucket{le=...}, name_sum, name_count.
  std::string lines(const std::string& name) const;

 private:
  std::array<std::uint64_t, kBounds.size() + 1> counts_{};  // not cumulative; the last: above all
  double sum_ = 0;
};

class Metrics {
 public:
  void request(const std::string& path, int status);  // answered; `path` of the routes that exist
  void prompt_tokens(const std::string& model, std::uint64_t n);
  void made_tokens(const std::string& model, std::uint64_t n);
  void first_token(double seconds);  // from the request's arrival
  void answer(double seconds);       // the whole of one
  void client_left();                // its answer was given up

  std::string page(const SchedulerCounts& now, std::size_t connections) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, std::uint64_t> requests_;
  std::map<std::string, std::uint64_t> prompt_tokens_, made_tokens_;
  Histogram first_token_, answer_;
  std::uint64_t left_ = 0;
};

}  // namespace wb::serve
