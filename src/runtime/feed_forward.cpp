// Dense networks and mixtures of experts; see block.h. Tokens are gathered by expert,
// so that each expert is one product; each token's experts are then summed in the
// order of its choice, whatever thread ran them.
#include <algorithm>

#include "base/error.h"
#include "base/threads.h"
#include "runtime/block.h"
#include "runtime/terms.h"

namespace wb {

namespace {

constexpr std::size_t kExpertRows = 128;  // of one task; fixed, so that threads change nothing
constexpr std::size_t kThreadWork = std::size_t{1} << 20;

// y[rows, hidden] = network of x[rows, hidden].
void run_mlp(ops::Kernels kernels, unsigned threads, const BoundMlp& mlp, const float* x,
             std::size_t rows, float* y) {
  std::vector<float> up(rows * mlp.up.out);
  ops::linear(kernels, x, rows, mlp.up, up.data(), threads);
  if (mlp.gated) {
    std::vector<float> gate(rows * mlp.gate.out);
    ops::linear(kernels, x, rows, mlp.gate, gate.data(), threads);
    ops::act_mul(kernels, mlp.act, gate.data(), up.data(), up.data(), up.size());
  } else {
    ops::act_mul(kernels, mlp.act, up.data(), nullptr, up.data(), up.size());
  }
  ops::linear(kernels, up.data(), rows, mlp.down, y, threads);
}

RouterTrace choose(const BlockContext& c, const BoundBlock& b, const float* x, std::size_t n) {
  const ops::RouteArgs args = route_args(c.spec.router, b.expert_bias);
  RouterTrace trace;
  trace.k = args.k;
  trace.experts.resize(n * args.k);
  trace.weights.resize(n * args.k);
  std::vector<double> logits(b.router.out);
  for (std::size_t t = 0; t < n; ++t) {
    for (std::size_t e = 0; e < b.router.out; ++e) {
      // In f64: a choice is a discontinuity, so it should not hang on rounding of our own.
      const float* w = b.router.w + e * b.router.in;
      double sum = b.router.bias != nullptr ? static_cast<double>(b.router.bias[e]) : 0.0;
      for (std::size_t i = 0; i < b.router.in; ++i) {
        sum += static_cast<double>(w[i]) * static_cast<double>(x[t * b.router.in + i]);
      }
      logits[e] = sum;
    }
    ops::route(args, logits, trace.experts.data() + t * args.k, trace.weights.data() + t * args.k);
  }
  return trace;
}

// The rows of one task: tokens of one expert, each with its place in that token's choice.
struct Task {
  std::size_t expert;
  std::vector<std::size_t> slots;  // token * k + place
};
std::vector<Task> tasks_of(const RouterTrace& trace, std::size_t experts) {
  std::vector<std::vector<std::size_t>> by_expert(experts);
  for (std::size_t slot = 0; slot < trace.experts.size(); ++slot) {
    by_expert[trace.experts[slot]].push_back(slot);
  }
  std::vector<Task> out;
  for (std::size_t e = 0; e < experts; ++e) {
    for (std::size_t i = 0; i < by_expert[e].size(); i += kExpertRows) {
      const std::size_t end = std::min(i + kExpertRows, by_expert[e].size());
      out.push_back({e,
                     {by_expert[e].begin() + static_cast<std::ptrdiff_t>(i),
                      by_expert[e].begin() + static_cast<std::ptrdiff_t>(end)}});
    }
  }
  return out;
}

}  // namespace

void feed_forward(const BlockContext& c, const BoundBlock& b, const float* x, std::size_t n,
                  RouterTrace* trace, float* out) {
  if (!b.moe) return run_mlp(c.kernels, c.threads, b.dense, x, n, out);
  const std::size_t hidden = c.spec.hidden_size;
  RouterTrace chosen = choose(c, b, x, n);
  const std::size_t k = chosen.k;
  const std::vector<Task> tasks = tasks_of(chosen, b.experts.size());
  std::vector<float> slots(n * k * hidden);  // every chosen expert's answer
  auto body = [&](std::size_t i, unsigned) {
    const Task& task = tasks[i];
    std::vector<float> in(task.slots.size() * hidden), answer(in.size());
    for (std::size_t r = 0; r < task.slots.size(); ++r) {
      std::copy_n(x + task.slots[r] / k * hidden, hidden, in.data() + r * hidden);
    }
    run_mlp(c.kernels, 1, b.experts[task.expert], in.data(), task.slots.size(), answer.data());
    for (std::size_t r = 0; r < task.slots.size(); ++r) {
      std::copy_n(answer.data() + r * hidden, hidden, slots.data() + task.slots[r] * hidden);
    }
  };
  const std::size_t work = n * k * hidden * b.experts[0].up.out;
  parallel_for(tasks.size(), work < kThreadWork ? 1 : c.threads, body);

  std::vector<float> shared;
  if (b.shared.up.out > 0) {
    shared.resize(n * hidden);
    run_mlp(c.kernels, c.threads, b.shared, x, n, shared.data());
  }
  std::vector<double> sum(hidden);
  for (std::size_t t = 0; t < n; ++t) {
    std::fill(sum.begin(), sum.end(), 0.0);
    for (std::size_t s = t * k; s < (t + 1) * k; ++s) {
      const double weight = static_cast<double>(chosen.weights[s]);
      const float* answer = slots.data() + s * hidden;
      for (std::size_t i = 0; i < hidden; ++i) sum[i] += weight * static_cast<double>(answer[i]);
    }
    for (std::size_t i = 0; i < hidden; ++i) {
      if (!shared.empty()) {
        sum[i] += c.spec.moe.shared_scale * static_cast<double>(shared[t * hidden + i]);
      }
      out[t * hidden + i] = static_cast<float>(sum[i]);
    }
  }
  if (trace != nullptr) *trace = std::move(chosen);
}

}  // namespace wb
