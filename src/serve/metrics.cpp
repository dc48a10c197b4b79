// See metrics.h.
#include "serve/metrics.h"

#include <fmt/format.h>

#include <algorithm>

namespace wb::serve {

namespace {

std::string head(const std::string& name, const char* type, const char* help) {
  return fmt::format("# HELP {0} {2}\n# TYPE {0} {1}\n", name, type, help);
}

// As the format wants label values.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

std::string by_model(const std::string& name, const std::map<std::string, std::uint64_t>& counts) {
  std::string out;
  for (const auto& [model, n] : counts)
    out += fmt::format("{}{{model=\"{}\"}} {}\n", name, escaped(model), n);
  return out;
}

}  // namespace

void Histogram::add(double seconds) {
  const auto at = std::lower_bound(kBounds.begin(), kBounds.end(), seconds);
  ++counts_[static_cast<std::size_t>(at - kBounds.begin())];
  sum_ += seconds;
}

std::string Histogram::lines(const std::string& name) const {
  std::string out;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < kBounds.size(); ++i) {
    total += counts_[i];
    out += fmt::format("{}_bucket{{le=\"{}\"}} {}\n", name, kBounds[i], total);
  }
  total += counts_.back();
  out += fmt::format("{}_bucket{{le=\"+Inf\"}} {}\n", name, total);
  return out + fmt::format("{0}_sum {1}\n{0}_count {2}\n", name, sum_, total);
}

void Metrics::request(const std::string& path, int status) {
  std::lock_guard lock(mutex_);
  ++requests_[{path, status}];
}
void Metrics::prompt_tokens(const std::string& model, std::uint64_t n) {
  std::lock_guard lock(mutex_);
  prompt_tokens_[model] += n;
}
void Metrics::made_tokens(const std::string& model, std::uint64_t n) {
  std::lock_guard lock(mutex_);
  made_tokens_[model] += n;
}
void Metrics::first_token(double seconds) {
  std::lock_guard lock(mutex_);
  first_token_.add(seconds);
}
void Metrics::answer(double seconds) {
  std::lock_guard lock(mutex_);
  answer_.add(seconds);
}
void Metrics::client_left() {
  std::lock_guard lock(mutex_);
  ++left_;
}

std::string Metrics::page(const SchedulerCounts& now, std::size_t connections) const {
  std::lock_guard lock(mutex_);
  std::string out =
      head("weightbridge_requests_total", "counter", "Requests that were answered, by status.");
  for (const auto& [key, n] : requests_) {
    out += fmt::format("weightbridge_requests_total{{path=\"{}\",code=\"{}\"}} {}\n",
                       escaped(key.first), key.second, n);
  }
  out += head("weightbridge_prompt_tokens_total", "counter", "Tokens of prompts.");
  out += by_model("weightbridge_prompt_tokens_total", prompt_tokens_);
  out +=
      head("weightbridge_generated_tokens_total", "counter", "Tokens that were given to clients.");
  out += by_model("weightbridge_generated_tokens_total", made_tokens_);
  out += head("weightbridge_clients_left_total", "counter",
              "Answers given up because the client was gone.");
  out += fmt::format("weightbridge_clients_left_total {}\n", left_);
  out += head("weightbridge_texts_running", "gauge", "Texts in the making.");
  out += fmt::format("weightbridge_texts_running {}\n", now.active);
  out += head("weightbridge_texts_waiting", "gauge", "Texts that wait for their turn to begin.");
  out += fmt::format("weightbridge_texts_waiting {}\n", now.waiting);
  out += head("weightbridge_connections", "gauge", "Open connections.");
  out += fmt::format("weightbridge_connections {}\n", connections);
  out += head("weightbridge_time_to_first_token_seconds", "histogram",
              "From a request's arrival to its first token.");
  out += first_token_.lines("weightbridge_time_to_first_token_seconds");
  out += head("weightbridge_answer_seconds", "histogram",
              "From a request's arrival to the end of its answer.");
  return out + answer_.lines("weightbridge_answer_seconds");
}

}  // namespace wb::serve
