// See feed_forward.h.
#include "draft/feed_forward.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace wb::draft {

namespace {

using N = NetRole;
constexpr double kMargin = 1.0;

double score(const Features& f, N role, std::size_t matrices) {
  bool up = f.any({"up", "fc", "in"}) && !f.any({"down"}),
       down = f.any({"down", "out", "output", "proj"}) && !f.any({"up", "gate"});
  // w1 w2 w3 as the published code has them: gate, down, up; a weak word where shapes part them
  // otherwise, for then somebody counted in another order.
  double first = f.number == 1 ? 1 : 0, second = f.number == 2 ? 1 : 0,
         third = f.number == 3 ? 1 : 0;
  bool fused = f.any({"gate"}) && f.any({"up"});
  switch (role) {
    case N::gate:
      return (f.any({"gate", "g"}) && !fused ? 2.5 : 0) - (f.any({"up", "down"}) ? 2 : 0) +
             (matrices == 3 ? 0.4 * first : 0);
    case N::up:
      return (f.any({"up"}) && !fused ? 2.5
              : up                    ? 0.5
                                      : 0) -
             (f.any({"gate", "down"}) ? 2 : 0) +
             (matrices == 3 ? 1.2 * third + 0.4 * second : 1.2 * first);
    case N::down:
      return (f.any({"down"}) ? 2.5
              : down          ? 1.5
                              : 0) -
             (f.any({"gate", "up"}) ? 2 : 0) + 1.0 * second + 0.2 * third;
    case N::gate_up:
      return (fused ? 2.5 : f.any({"gate", "up"}) ? 1 : 0) + 0.5 * first;
  }
  return 0;
}

bool fits(const NetMatrix& m, N role, bool transposed, std::uint64_t hidden, std::uint64_t& width) {
  std::uint64_t out = transposed ? m.b : m.a, in = transposed ? m.a : m.b;
  std::uint64_t own = 0;
  if (role == N::down) {
    if (out != hidden) return false;
    own = in;
  } else {
    if (in != hidden) return false;
    if (role == N::gate_up && out % 2 != 0) return false;
    own = role == N::gate_up ? out / 2 : out;
  }
  if (width != 0 && own != width) return false;
  width = own;
  return true;
}

struct Found {
  std::vector<std::size_t> chosen;
  const std::vector<N>* roles;
  bool transposed;
  std::uint64_t width;
  double score;
};

}  // namespace

const char* in_words(NetRole role) {
  switch (role) {
    case N::gate:
      return "gate";
    case N::up:
      return "up";
    case N::down:
      return "down";
    case N::gate_up:
      return "gate and up in one";
  }
  return "";
}

std::optional<NetGuess> guess_network(const std::vector<NetMatrix>& matrices,
                                      std::uint64_t hidden) {
  static const std::vector<std::vector<N>> structures = {
      {N::gate, N::up, N::down}, {N::up, N::down}, {N::gate_up, N::down}};
  std::vector<Found> found;
  const bool linear = std::any_of(matrices.begin(), matrices.end(),
                                  [](const NetMatrix& m) { return !m.stacked && !m.bare; });
  for (const std::vector<N>& roles : structures) {
    if (roles.size() != matrices.size()) continue;
    for (bool transposed : {false, true}) {
      if (transposed && linear) continue;  // nn.Linear is [out, in]
      std::vector<std::size_t> order(matrices.size());
      std::iota(order.begin(), order.end(), 0u);
      do {
        Found f{order, &roles, transposed, 0, transposed ? -0.1 : 0.0};
        bool good = true;
        for (std::size_t r = 0; r < roles.size() && good; ++r) {
          good = fits(matrices[order[r]], roles[r], transposed, hidden, f.width);
          f.score += score(matrices[order[r]].features, roles[r], matrices.size());
        }
        if (good) found.push_back(std::move(f));
      } while (std::next_permutation(order.begin(), order.end()));
    }
  }
  if (found.empty()) return std::nullopt;
  const Found best = *std::max_element(
      found.begin(), found.end(), [](const auto& a, const auto& b) { return a.score < b.score; });
  NetGuess out;
  out.roles = *best.roles;
  out.transposed = best.transposed;
  out.width = best.width;
  out.assignments.push_back(best.chosen);
  for (const Found& f : found) {
    if (f.chosen == best.chosen && f.roles == best.roles && f.transposed == best.transposed)
      continue;
    if (f.score + kMargin <= best.score) continue;
    if (f.roles == best.roles && f.transposed == best.transposed) {
      out.assignments.push_back(f.chosen);
    } else {
      out.orientation_unsure = true;
    }
  }
  for (std::size_t r = 0; r < out.roles.size(); ++r) {
    double own = score(matrices[best.chosen[r]].features, out.roles[r], matrices.size()),
           other = -1e9;
    for (const Found& f : found) {
      if (f.roles == best.roles && f.chosen[r] != best.chosen[r]) other = std::max(other, f.score);
    }
    bool alone = other < -1e8;
    double margin = alone ? 8 : best.score - other;
    double confidence = 1 - 0.5 * std::exp(-std::max(0.0, margin) / 1.5);
    if (own <= 0) confidence = std::min(confidence, alone ? 0.9 : 0.7);
    if (margin < kMargin) confidence = 1.0 / double(out.assignments.size());
    out.confidence.push_back(std::min(confidence, 0.99));
    out.why.push_back(margin < kMargin ? "shape and name fit another role as well: asked"
                      : alone          ? (own > 0 ? "name, and no other shape fits"
                                                  : "the only shape that fits; the name is silent")
                                       : "name; shapes alone would not tell");
  }
  return out;
}

}  // namespace wb::draft
