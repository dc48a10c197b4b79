// See scores.h.
#include "engine/scores.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace wb::engine {

TokenScores score(std::span<const float> logits, std::uint32_t token, std::size_t top) {
  const double most = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double sum = 0;
  for (const float v : logits) sum += std::exp(static_cast<double>(v) - most);
  const double norm = most + std::log(sum);
  TokenScores out;
  out.logprob = static_cast<double>(logits[token]) - norm;
  if (top == 0) return out;
  std::vector<std::uint32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0u);
  top = std::min(top, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(top), order.end(),
                    [&](std::uint32_t a, std::uint32_t b) {
                      return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
                    });
  for (std::size_t i = 0; i < top; ++i) {
    out.top.push_back({order[i], static_cast<double>(logits[order[i]]) - norm});
  }
  return out;
}

}  // namespace wb::engine
