// See search.h. The error of a reading is near enough a sum of what each wrong setting
// adds to it, as long as it is small; so the effects of single moves, which are looked at
// anyway, foretell which pairs and chains of moves are worth a look.
#include "solve/search.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "solve/numbers.h"

namespace wb {

namespace {

using nlohmann::json;

constexpr std::size_t kMostMoves = 256;  // whose effects are combined
// Settings of one group hide each other, so that all values of some are tried together: at every
// reading that is expanded, and once in so many.
constexpr std::size_t kSmallProduct = 200, kLargeProduct = 131072, kLargeEvery = 16;
// An error that is lower by so much (log10) for each number that no list holds is no better: a
// number that is fitted makes up for what is wrong elsewhere.
constexpr double kFitted = 0.3;
constexpr std::size_t kPairs = 48, kChains = 4, kLongestChain = 6;
// Expansions without anything nearer after which a search gives up, and readings that are kept
// to be expanded.
constexpr std::size_t kPatience = 400;
// And where rounding explains the best already, but with fitted numbers.
constexpr std::size_t kSecondThoughts = 12;
constexpr std::size_t kMostKept = 4096;
// Residuals this near to one that was expanded are that one again, in settings that do not matter.
constexpr double kSameResidual = 0.01;

struct Move {
  std::vector<std::pair<std::size_t, json>> sets;
  std::vector<float> effect;    // what it takes off the residual, weighted by row
  double gain = 0, square = 0;  // effect . residual, effect . effect

  Assignment of(Assignment at) const {
    for (const auto& [field, value] : sets) at[field] = value;
    return at;
  }
  bool meets(const Move& other) const {
    for (const auto& [field, value] : sets) {
      for (const auto& [others, its] : other.sets) {
        if (field == others) return true;
      }
    }
    return false;
  }
};

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  float sum[8] = {};
  std::size_t i = 0;
  for (; i + 8 <= a.size(); i += 8) {
    for (std::size_t j = 0; j < 8; ++j) sum[j] += a[i + j] * b[i + j];
  }
  for (; i < a.size(); ++i) sum[0] += a[i] * b[i];
  return static_cast<double>(std::accumulate(sum, sum + 8, 0.0f));
}

// Whether two digits write it.
bool is_short(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1e", value);
  return std::strtod(text, nullptr) == value;
}

class Descent {
 public:
  Descent(Looks& looks, const std::vector<std::size_t>& open) : looks_(looks), open_(open) {}

  Assignment run(const Assignment& start) {
    best_ = start;
    offer(start);
    for (std::size_t idle = 0; !looks_.spent() && !queue_.empty();) {
      const bool solved = looks_.at(best_).fit.solved;
      if (solved ? fitted(best_) == 0 || idle >= kSecondThoughts : idle >= kPatience) break;
      const Assignment at = std::move(queue_.begin()->second);
      queue_.erase(queue_.begin());
      const std::vector<float> residual = looks_.sketches({at})[0];
      if (residual.empty() && looks_.at(at).impossible.empty()) continue;  // overflow
      if (known(residual)) continue;
      const Assignment was = best_;
      expand(at, residual);
      idle = best_ == was ? idle + 1 : 0;
      if (idle == 1 || idle % 64 == 63) scan(best_);
    }
    return best_;
  }

 private:
  bool done() { return looks_.spent() || (looks_.at(best_).fit.solved && fitted(best_) == 0); }

  // Of two that rounding explains, the one with fewer numbers that nobody would write.
  bool preferred(const Assignment& a, const Assignment& than) {
    const bool solved = looks_.at(a).fit.solved;
    if (solved != looks_.at(than).fit.solved) return solved;
    if (!solved) return looks_.better(a, than);
    const double x = fitted(a), y = fitted(than);
    return x != y ? x < y : looks_.better(a, than);
  }

  void offer(const Assignment& a) {
    const double score = looks_.score(a);
    if (std::isinf(score) && !(a == best_)) return;
    if (preferred(a, best_)) best_ = a;
    queue_.emplace(score + kFitted * fitted(a), a);
    if (queue_.size() > kMostKept) queue_.erase(std::prev(queue_.end()));
  }
  void offer_all(const std::vector<Assignment>& all) {
    looks_.at_all(all);
    for (const Assignment& a : all) offer(a);
  }

  // How many real fields have values that no list holds; a short decimal counts half.
  double fitted(const Assignment& at) {
    double out = 0;
    for (std::size_t field : open_) {
      const Field& f = looks_.fields()[field];
      if (!f.unknown.real || f.decided()) continue;
      if (lists_.count(field) == 0) lists_[field] = looks_.usual(field, at);
      const std::vector<json>& list = lists_[field];
      if (std::find(list.begin(), list.end(), at[field]) != list.end()) continue;
      out += is_short(at[field].get<double>()) ? 0.5 : 1;
    }
    return out;
  }

  // Every other value of each field, and of the small groups every combination.
  std::vector<Move> moves_from(const Assignment& at) {
    std::vector<Move> out;
    for (std::size_t field : open_) {
      if (looks_.fields()[field].decided()) continue;
      for (const json& value : looks_.values(field, at)) {
        if (value != at[field]) out.push_back({{{field, value}}, {}});
      }
    }
    for (Move& move : products(at, kSmallProduct)) out.push_back(std::move(move));
    return out;
  }

  void exhaust(const Assignment& at) {
    std::vector<Assignment> tries;
    for (const Move& move : products(at, kLargeProduct)) tries.push_back(move.of(at));
    offer_all(tries);
  }

  // Combinations of two or more fields of one group, each at another value: of as many fields of
  // it, those of few values first, as make no more than `most`.
  std::vector<Move> products(const Assignment& at, std::size_t most) {
    std::map<std::string, std::vector<std::pair<std::size_t, std::vector<json>>>> groups;
    for (std::size_t field : open_) {
      const Field& f = looks_.fields()[field];
      if (f.decided() || f.unknown.group.empty()) continue;
      groups[f.unknown.group].emplace_back(field, looks_.values(field, at));
    }
    std::vector<Move> out;
    for (auto& [name, fields] : groups) {
      std::stable_sort(fields.begin(), fields.end(), [](const auto& a, const auto& b) {
        return a.second.size() < b.second.size();
      });
      std::vector<Move> made{{{}, {}}};
      for (const auto& [field, list] : fields) {
        if (made.size() * list.size() > most) break;
        const std::size_t n = made.size();
        for (std::size_t i = 0; i < n; ++i) {
          for (const json& value : list) {
            if (value == at[field]) continue;
            made.push_back(made[i]);
            made.back().sets.emplace_back(field, value);
          }
        }
      }
      for (Move& move : made) {
        if (move.sets.size() > 1) out.push_back(std::move(move));
      }
    }
    return out;
  }

  // Whether a residual like this was expanded already; remembers it.
  bool known(const std::vector<float>& residual) {
    const double length = dot(residual, residual);
    for (const auto& [other, of] : expanded_) {
      if (std::fabs(of - length) > 3 * kSameResidual * length) continue;
      const double apart = length + of - 2 * dot(residual, other);
      if (apart <= kSameResidual * kSameResidual * length) return true;
    }
    expanded_.emplace_back(residual, length);
    return false;
  }

  void expand(const Assignment& at, const std::vector<float>& residual) {
    std::vector<Move> moves = moves_from(at);
    if (expanded_.size() % kLargeEvery == kLargeEvery / 2) exhaust(at);
    std::vector<Assignment> tries;
    for (const Move& move : moves) tries.push_back(move.of(at));
    std::vector<std::vector<float>> sketches = looks_.sketches(tries);
    for (const Assignment& a : tries) offer(a);
    if (done() || residual.empty()) return;
    const std::vector<float> target = weigh(residual, residual);
    for (std::size_t i = 0; i < moves.size(); ++i) {
      if (sketches[i].empty()) continue;
      for (std::size_t j = 0; j < residual.size(); ++j)
        sketches[i][j] = residual[j] - sketches[i][j];
      moves[i].effect = weigh(sketches[i], residual);
      moves[i].gain = dot(moves[i].effect, target);
      moves[i].square = dot(moves[i].effect, moves[i].effect);
    }
    std::erase_if(moves, [](const Move& m) { return m.square == 0; });
    combine(at, moves, dot(target, target));
    if (done()) return;
    if (std::optional<Assignment> fitted = fit_numbers(looks_, at, open_)) offer_fitted(*fitted);
  }

  // A fitted reading, and the one with names in place of its numbers.
  void offer_fitted(const Assignment& fitted) {
    Assignment named = fitted;
    for (std::size_t field : open_) {
      const Field& f = looks_.fields()[field];
      if (!f.unknown.real || f.decided()) continue;
      const std::vector<json> list = looks_.values(field, best_);
      const bool listed = std::find(list.begin(), list.end(), named[field]) != list.end();
      if (!listed) named = named_number(looks_, named, field);
    }
    offer(fitted);
    if (!(named == fitted)) offer(named);
  }

  // Each row by its own error, so that tokens whose router chose otherwise do not drown the rest.
  std::vector<float> weigh(const std::vector<float>& sketch, const std::vector<float>& residual) {
    const std::size_t width = looks_.view().sketch_width();
    std::vector<double> rows;
    for (std::size_t at = 0; at < residual.size(); at += width) {
      double sum = 0;
      for (std::size_t i = at; i < at + width; ++i) {
        sum += static_cast<double>(residual[i]) * static_cast<double>(residual[i]);
      }
      rows.push_back(sum);
    }
    std::vector<double> sorted = rows;
    std::nth_element(sorted.begin(),
                     sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2), sorted.end());
    const double usual = std::max(sorted[sorted.size() / 2], 1e-30);
    std::vector<float> out(sketch.size());
    for (std::size_t i = 0; i < sketch.size(); ++i) {
      out[i] =
          static_cast<float>(static_cast<double>(sketch[i]) / std::sqrt(rows[i / width] + usual));
    }
    return out;
  }

  // Looks at the pairs, and at the chains, whose effects together leave least.
  void combine(const Assignment& at, std::vector<Move>& moves, double whole) {
    std::stable_sort(moves.begin(), moves.end(), [](const Move& a, const Move& b) {
      return a.square - 2 * a.gain < b.square - 2 * b.gain;
    });
    if (moves.size() > kMostMoves) moves.resize(kMostMoves);
    const std::size_t n = moves.size();
    std::vector<double> cross(n * n, 0.0);
    struct Pair {
      double left;
      std::size_t a, b;
    };
    std::vector<Pair> pairs;
    auto alone = [&](std::size_t i) { return whole + moves[i].square - 2 * moves[i].gain; };
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = i + 1; j < n; ++j) {
        cross[i * n + j] = cross[j * n + i] = dot(moves[i].effect, moves[j].effect);
        if (moves[i].meets(moves[j])) continue;
        const double left = alone(i) + alone(j) - whole + 2 * cross[i * n + j];
        if (left < 0.9 * std::min({alone(i), alone(j), whole})) pairs.push_back({left, i, j});
      }
    }
    std::stable_sort(pairs.begin(), pairs.end(),
                     [](const Pair& a, const Pair& b) { return a.left < b.left; });
    if (pairs.size() > kPairs) pairs.resize(kPairs);
    std::vector<Assignment> tries;
    for (const Pair& p : pairs) {
      tries.push_back(moves[p.b].of(moves[p.a].of(at)));
    }
    for (std::size_t c = 0; c < std::min(kChains, pairs.size()); ++c) {
      chain(at, moves, cross, {pairs[c].a, pairs[c].b}, pairs[c].left, tries);
    }
    offer_all(tries);
  }

  // The pair with more moves, one after the other, each that which leaves least.
  void chain(const Assignment& at, const std::vector<Move>& moves, const std::vector<double>& cross,
             std::vector<std::size_t> links, double left, std::vector<Assignment>& tries) {
    const std::size_t n = moves.size();
    Assignment made = at;
    for (std::size_t l : links) made = moves[l].of(made);
    while (links.size() < kLongestChain) {
      std::size_t best = n;
      double least = 0.95 * left;
      for (std::size_t i = 0; i < n; ++i) {
        double after = left + moves[i].square - 2 * moves[i].gain;
        bool free = true;
        for (std::size_t l : links) {
          after += 2 * cross[i * n + l];
          free = free && !moves[l].meets(moves[i]);
        }
        if (!free || after >= least) continue;
        least = after;
        best = i;
      }
      if (best == n) return;
      left = least;
      links.push_back(best);
      made = moves[best].of(made);
      tries.push_back(made);
    }
  }

  // Numbers in the whole of their range, one at a time: slopes lead nowhere from far away.
  void scan(const Assignment& at) {
    for (std::size_t field : open_) {
      if (!looks_.fields()[field].unknown.real || looks_.fields()[field].decided() || done()) {
        continue;
      }
      if (std::optional<Assignment> found = scan_number(looks_, at, field)) offer_fitted(*found);
    }
  }

  Looks& looks_;
  const std::vector<std::size_t>& open_;
  Assignment best_;
  std::multimap<double, Assignment> queue_;                      // by score
  std::map<std::size_t, std::vector<json>> lists_;               // of real fields
  std::vector<std::pair<std::vector<float>, double>> expanded_;  // residuals and their squares
};

}  // namespace

Assignment descend(Looks& looks, const Assignment& start, const std::vector<std::size_t>& open) {
  return Descent(looks, open).run(start);
}

}  // namespace wb
