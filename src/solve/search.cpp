// See search.h.
#include "solve/search.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/threads.h"

namespace wb {

namespace {

using nlohmann::json;

constexpr std::size_t kNone = SIZE_MAX;
// What one look costs at least: making a decoder and a few small products.
constexpr double kLeastWork = 1e6;
// An assignment is better when its mean log10 error is lower by this.
constexpr double kBetter = 1e-3;
// Beyond so many standard deviations a difference is no chance, even among the hundreds that are
// looked at and with rounding that is not quite independent from number to number.
constexpr double kCertain = 6.0;
constexpr double kLikely = 2.0;
constexpr int kMostRounds = 40;
constexpr std::size_t kMostNear = 48;

Assignment with(Assignment at, std::size_t field, const json& value) {
  at[field] = value;
  return at;
}

}  // namespace

Search::Search(const Space& space, const View& view, std::vector<Field>& fields, unsigned threads,
               double work)
    : space_(space), view_(view), fields_(fields), threads_(threads), work_(work) {}

void Search::look_at_all(const std::vector<Assignment>& assignments) {
  std::vector<const Assignment*> fresh;
  std::map<std::string, std::size_t> keys;
  for (const Assignment& a : assignments) {
    std::string key = key_of(a);
    if (seen_.count(key) != 0 || !keys.emplace(std::move(key), fresh.size()).second) continue;
    fresh.push_back(&a);
  }
  std::vector<Look> looks(fresh.size());
  parallel_for(fresh.size(), threads_, [&](std::size_t i, unsigned) {
    const Reading reading = space_.read(*fresh[i]);
    if (reading.decoder == nullptr) {
      looks[i].impossible = reading.impossible;
      looks[i].fit.score = looks[i].fit.relative = looks[i].fit.sum_squares = INFINITY;
    } else {
      looks[i].fit = view_.fit(view_.predict(*reading.decoder, 1));
    }
  });
  for (const auto& [key, i] : keys) seen_[key] = looks[i];
  looks_ += fresh.size();
  work_ -= static_cast<double>(fresh.size()) * std::max(kLeastWork, view_.work());
}

const Search::Look& Search::look(const Assignment& assignment) {
  look_at_all({assignment});
  return seen_.at(key_of(assignment));
}

std::vector<json> Search::values(std::size_t field, const Assignment& at) const {
  const Field& f = fields_[field];
  if (f.left) return *f.left;
  const Reading reading = space_.read(at);
  std::vector<json> out;
  if (reading.decoder != nullptr) out = values_to_try(f.unknown, reading.decoder->spec());
  for (const json& value : f.found) {
    if (std::find(out.begin(), out.end(), value) == out.end()) out.push_back(value);
  }
  if (std::find(out.begin(), out.end(), at[field]) == out.end()) out.push_back(at[field]);
  return out;
}

bool Search::better(const Assignment& a, const Assignment& than) {
  const Fit x = look(a).fit, y = look(than).fit;
  if (std::isinf(y.score)) return !std::isinf(x.score);
  return x.score < y.score - kBetter;
}

// Each open field in turn takes its best value; `held` stays. Whether anything changed.
bool Search::sweep(Assignment& at, const std::vector<std::size_t>& open, std::size_t held) {
  bool changed = false;
  for (std::size_t field : open) {
    if (field == held || fields_[field].decided() || spent()) continue;
    std::vector<Assignment> tries;
    for (const json& value : values(field, at)) tries.push_back(with(at, field, value));
    look_at_all(tries);
    const Assignment* best = &at;
    for (const Assignment& a : tries) {
      if (better(a, *best)) best = &a;
    }
    if (best == &at) continue;
    at = Assignment(*best);
    changed = true;
  }
  return changed;
}

bool Search::sweeps(Assignment& at, const std::vector<std::size_t>& open, std::size_t held) {
  bool changed = false;
  for (int round = 0; round < kMostRounds && !look(at).fit.solved && sweep(at, open, held);
       ++round) {
    changed = true;
  }
  return changed;
}

// One field is set to another value and all others follow; the nearest kick that pays is taken.
bool Search::kick(Assignment& at, const std::vector<std::size_t>& open) {
  std::vector<std::pair<std::size_t, Assignment>> kicks;
  std::vector<Assignment> looks;
  for (std::size_t field : open) {
    if (fields_[field].decided()) continue;
    for (const json& value : values(field, at)) {
      if (value == at[field]) continue;
      kicks.emplace_back(field, with(at, field, value));
      looks.push_back(kicks.back().second);
    }
  }
  look_at_all(looks);
  std::stable_sort(kicks.begin(), kicks.end(), [&](const auto& a, const auto& b) {
    return seen_.at(key_of(a.second)).fit.score < seen_.at(key_of(b.second)).fit.score;
  });
  for (auto& [field, start] : kicks) {
    if (spent()) return false;
    if (std::isinf(look(start).fit.score)) continue;
    sweeps(start, open, field);
    sweeps(start, open, kNone);
    if (better(start, at)) {
      at = start;
      return true;
    }
  }
  return false;
}

// The value of a real field, or the nearest to it, at which the score is least: a scan by equal
// factors, then golden section between the neighbours of the best.
double Search::minimum(Assignment at, std::size_t field) {
  constexpr int kScan = 41;
  const double low = std::log(fields_[field].unknown.least);
  const double high = std::log(fields_[field].unknown.most);
  auto score = [&](double x) { return look(with(at, field, std::exp(x))).fit.score; };
  std::vector<Assignment> scan;
  for (int i = 0; i < kScan; ++i) {
    scan.push_back(with(at, field, std::exp(low + (high - low) * i / (kScan - 1))));
  }
  look_at_all(scan);
  int best = 0;
  for (int i = 1; i < kScan; ++i) {
    if (look(scan[static_cast<std::size_t>(i)]).fit.score <
        look(scan[static_cast<std::size_t>(best)]).fit.score) {
      best = i;
    }
  }
  const double step = (high - low) / (kScan - 1), golden = (std::sqrt(5.0) - 1) / 2;
  double a = low + step * (best - 1), b = low + step * (best + 1);
  double x1 = b - golden * (b - a), x2 = a + golden * (b - a);
  double f1 = score(x1), f2 = score(x2);
  for (int i = 0; i < 42 && !spent(); ++i) {
    if (f1 < f2) {
      b = x2;
      x2 = x1;
      f2 = f1;
      f1 = score(x1 = b - golden * (b - a));
    } else {
      a = x1;
      x1 = x2;
      f1 = f2;
      f2 = score(x2 = a + golden * (b - a));
    }
  }
  return std::exp((a + b) / 2);
}

bool Search::refine(Assignment& at, std::size_t field) {
  if (fields_[field].decided()) return false;
  const double number = minimum(at, field);
  Assignment found = with(at, field, number);
  if (!better(found, at)) return false;
  // The number itself has the error of the fit; a simple form that fits as well is what is meant.
  const Reading reading = space_.read(found);
  const Fit fit = look(found).fit;
  for (double distance : {1e-6, 1e-4, 1e-2}) {
    for (const NamedNumber& form : simple_forms(number, distance, reading.decoder->spec())) {
      const Assignment named = with(at, field, form.value);
      if (look(named).fit.score > fit.score + kBetter) continue;
      fields_[field].found.push_back(form.value);
      at = named;
      return true;
    }
  }
  fields_[field].found.push_back(number);
  at = found;
  return true;
}

Assignment Search::descend(Assignment start, const std::vector<std::size_t>& open) {
  Assignment at = std::move(start);
  sweeps(at, open, kNone);
  for (int round = 0; round < kMostRounds && !look(at).fit.solved && !spent(); ++round) {
    if (kick(at, open)) {
      sweeps(at, open, kNone);
      continue;
    }
    bool refined = false;
    for (std::size_t field : open) {
      if (fields_[field].unknown.real && !spent()) refined |= refine(at, field);
    }
    if (!refined) break;
    sweeps(at, open, kNone);
  }
  return at;
}

// Below what rounding explains there is still a nearest: two epsilons that are wrong together hide
// each other from moves of one. Tries every pair of values that rounding does not rule out.
void Search::polish(Assignment& at, const std::vector<std::size_t>& open) {
  for (int round = 0; round < kMostRounds && !spent(); ++round) {
    std::vector<std::pair<std::size_t, json>> near;
    for (std::size_t field : open) {
      if (fields_[field].decided()) continue;
      for (const json& value : values(field, at)) {
        const Look& seen = look(with(at, field, value));
        const bool same = seen.fit.score == look(at).fit.score;
        if (seen.fit.solved && !same) near.emplace_back(field, value);
      }
    }
    std::vector<Assignment> pairs;
    for (std::size_t i = 0; i < near.size() && i < kMostNear; ++i) {
      for (std::size_t j = i + 1; j < near.size() && j < kMostNear; ++j) {
        if (near[i].first == near[j].first) continue;
        pairs.push_back(
            with(with(at, near[i].first, near[i].second), near[j].first, near[j].second));
      }
    }
    look_at_all(pairs);
    const Assignment* best = &at;
    for (const Assignment& pair : pairs) {
      if (better(pair, *best)) best = &pair;
    }
    // A pair may come nearer by chance: only one that is nearer beyond doubt is taken.
    if (best == &at || view_.separation(predict(at), predict(*best)) > -kCertain) return;
    at = Assignment(*best);
  }
}

std::vector<float> Search::predict(const Assignment& at) const {
  return view_.predict(*space_.read(at).decoder, threads_);
}

Assignment Search::decide(Assignment at, const std::vector<std::size_t>& open,
                          std::vector<std::vector<Tried>>& tried) {
  polish(at, open);
  // Then to values that are nearer, as long as there are any: an epsilon far below the error of
  // one number still shows in all of them together.
  for (int round = 0; round < kMostRounds; ++round) {
    bool moved = false;
    for (std::size_t field : open) {
      if (fields_[field].decided()) continue;
      const std::vector<json> list = values(field, at);
      std::vector<float> base = predict(at);
      std::size_t place =
          static_cast<std::size_t>(std::find(list.begin(), list.end(), at[field]) - list.begin());
      for (std::size_t i = 0; i < list.size(); ++i) {
        const Assignment other = with(at, field, list[i]);
        if (list[i] == at[field] || !look(other).impossible.empty() || !look(other).fit.solved) {
          continue;
        }
        std::vector<float> prediction = predict(other);
        const double z = view_.separation(base, prediction);
        const bool nearer = z < -kLikely;
        const bool usual = std::fabs(z) <= kLikely && i < place;
        if (!nearer && !usual) continue;
        moved |= nearer;
        at = other;
        base = std::move(prediction);
        place = i;
      }
    }
    if (!moved) break;
  }
  tried = table(at, open);
  for (std::size_t i = 0; i < open.size(); ++i) {
    Field& field = fields_[open[i]];
    std::vector<json> left;
    for (const Tried& t : tried[i]) {
      if (t.as == TriedAs::chosen || t.as == TriedAs::same) left.push_back(t.value);
    }
    field.left = std::move(left);
  }
  return at;
}

std::vector<std::vector<Tried>> Search::table(const Assignment& at,
                                              const std::vector<std::size_t>& open) {
  std::vector<std::vector<Tried>> out;
  const bool solved = look(at).fit.solved;
  const std::vector<float> base = predict(at);
  for (std::size_t field : open) {
    std::vector<Tried> rows;
    std::vector<Assignment> tries;
    const std::vector<json> list = values(field, at);
    for (const json& value : list) tries.push_back(with(at, field, value));
    look_at_all(tries);
    for (std::size_t i = 0; i < list.size(); ++i) {
      const Look& seen = look(tries[i]);
      Tried row{list[i], TriedAs::ruled_out, seen.fit.relative, seen.impossible};
      if (list[i] == at[field]) {
        row.as = TriedAs::chosen;
      } else if (!seen.impossible.empty()) {
        row.as = TriedAs::impossible;
      } else if (solved && seen.fit.solved &&
                 view_.separation(base, predict(tries[i])) <= kCertain) {
        row.as = TriedAs::same;
      } else if (!solved && predict(tries[i]) == base) {
        row.as = TriedAs::same;
      }
      rows.push_back(std::move(row));
    }
    out.push_back(std::move(rows));
  }
  return out;
}

}  // namespace wb
