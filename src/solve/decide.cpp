// See decide.h.
#include "solve/decide.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "solve/numbers.h"

namespace wb {

namespace {

using nlohmann::json;

// Beyond so many standard deviations a difference is no chance, even among the hundreds that are
// looked at and with rounding that is not quite independent from number to number.
constexpr double kCertain = 6.0;
constexpr double kLikely = 2.0;
constexpr int kMostRounds = 40;
constexpr std::size_t kMostNear = 48;
constexpr std::size_t kMostPlainer = 2048;

std::size_t place_of(const std::vector<json>& list, const json& value) {
  return static_cast<std::size_t>(std::find(list.begin(), list.end(), value) - list.begin());
}

// Below what rounding explains there is still a nearest: two epsilons that are wrong together hide
// each other from moves of one. Tries every pair of values that rounding does not rule out.
void polish(Looks& looks, Assignment& at, const std::vector<std::size_t>& open) {
  for (int round = 0; round < kMostRounds && !looks.spent(); ++round) {
    std::vector<std::pair<std::size_t, json>> near;
    for (std::size_t field : open) {
      if (looks.fields()[field].decided()) continue;
      for (const json& value : looks.values(field, at)) {
        const Look& seen = looks.at(with(at, field, value));
        const bool same = seen.fit.score == looks.score(at);
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
    looks.at_all(pairs);
    const Assignment* best = &at;
    for (const Assignment& pair : pairs) {
      if (looks.better(pair, *best)) best = &pair;
    }
    // A pair may come nearer by chance: only one that is nearer beyond doubt is taken.
    if (best == &at || looks.view().separation(looks.predict(at), looks.predict(*best)) > -kCertain)
      return;
    at = Assignment(*best);
  }
}

// Moves to values of one field that are nearer, or as near and more usual, as long as there are
// any: an epsilon far below the error of one number still shows in all of them together.
void settle(Looks& looks, Assignment& at, const std::vector<std::size_t>& open) {
  for (int round = 0; round < kMostRounds; ++round) {
    bool moved = false;
    for (std::size_t field : open) {
      if (looks.fields()[field].decided()) continue;
      const std::vector<json> list = looks.values(field, at);
      std::vector<float> base = looks.predict(at);
      std::size_t place = place_of(list, at[field]);
      for (std::size_t i = 0; i < list.size(); ++i) {
        const Assignment other = with(at, field, list[i]);
        if (list[i] == at[field] || !looks.at(other).fit.solved) continue;
        std::vector<float> prediction = looks.predict(other);
        const double z = looks.view().separation(base, prediction);
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
}

// Two unusual values may be two usual ones in other words: a factor here that is taken back there.
// Of pairs that cannot be told apart, the one of more usual values. Whether there was one.
bool plainer(Looks& looks, Assignment& at, const std::vector<std::size_t>& open) {
  struct Option {
    std::size_t field, place;
    std::vector<json> list;
  };
  std::vector<Option> options;
  for (std::size_t field : open) {
    if (looks.fields()[field].decided()) continue;
    std::vector<json> list = looks.values(field, at);
    const std::size_t place = place_of(list, at[field]);
    options.push_back({field, place, std::move(list)});
  }
  struct Pair {
    std::size_t places;
    Assignment made;
  };
  std::vector<Pair> pairs;
  for (const Option& a : options) {
    if (a.place == 0) continue;
    for (const Option& b : options) {
      if (b.field == a.field) continue;
      for (std::size_t i = 0; i < a.place; ++i) {
        for (std::size_t j = 0; j < b.list.size(); ++j) {
          if (j == b.place || i + j >= a.place + b.place) continue;
          pairs.push_back({i + j, with(with(at, a.field, a.list[i]), b.field, b.list[j])});
        }
      }
    }
  }
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const Pair& a, const Pair& b) { return a.places < b.places; });
  if (pairs.size() > kMostPlainer) pairs.resize(kMostPlainer);
  std::vector<Assignment> tries;
  for (const Pair& p : pairs) tries.push_back(p.made);
  looks.at_all(tries);
  const std::vector<float> base = looks.predict(at);
  for (const Assignment& a : tries) {
    if (!looks.at(a).fit.solved) continue;
    if (std::fabs(looks.view().separation(base, looks.predict(a))) > kLikely) continue;
    at = a;
    return true;
  }
  return false;
}

// A number that a list has one value of is not told by a view that has nothing against it: another
// number that the view does not tell from it, if there is one.
std::optional<json> as_good(Looks& looks, const Assignment& at, std::size_t field) {
  const Unknown& unknown = looks.fields()[field].unknown;
  if (!unknown.real || at[field] == 0.0) return std::nullopt;
  const double number = at[field].get<double>();
  const double other = 2 * number <= unknown.most ? 2 * number : number / 2;
  const Assignment next = with(at, field, other);
  if (!looks.at(next).fit.solved) return std::nullopt;
  const double apart = looks.view().separation(looks.predict(at), looks.predict(next));
  return apart <= kCertain ? std::optional<json>(other) : std::nullopt;
}

}  // namespace

Assignment decide(Looks& looks, Assignment at, const std::vector<std::size_t>& open,
                  std::vector<std::vector<Tried>>& tried) {
  at = plain_numbers(looks, std::move(at), open);
  polish(looks, at, open);
  settle(looks, at, open);
  for (int round = 0; round < kMostRounds && plainer(looks, at, open); ++round) {
    settle(looks, at, open);
  }
  tried = table(looks, at, open);
  for (std::size_t i = 0; i < open.size(); ++i) {
    std::vector<json> left;
    bool against = false;
    for (const Tried& t : tried[i]) {
      if (t.as == TriedAs::chosen || t.as == TriedAs::same) left.push_back(t.value);
      against |= t.as == TriedAs::ruled_out;
    }
    if (left.size() == 1 && !against) {
      if (std::optional<json> other = as_good(looks, at, open[i])) left.push_back(*other);
    }
    looks.fields()[open[i]].left = std::move(left);
  }
  return at;
}

std::vector<std::vector<Tried>> table(Looks& looks, const Assignment& at,
                                      const std::vector<std::size_t>& open) {
  std::vector<std::vector<Tried>> out;
  const bool solved = looks.at(at).fit.solved;
  const std::vector<float> base = looks.predict(at);
  for (std::size_t field : open) {
    std::vector<Tried> rows;
    std::vector<Assignment> tries;
    const std::vector<json> list = looks.values(field, at);
    for (const json& value : list) tries.push_back(with(at, field, value));
    looks.at_all(tries);
    for (std::size_t i = 0; i < list.size(); ++i) {
      const Look& seen = looks.at(tries[i]);
      Tried row{list[i], TriedAs::ruled_out, seen.fit.relative, seen.impossible};
      if (list[i] == at[field]) {
        row.as = TriedAs::chosen;
      } else if (!seen.impossible.empty()) {
        row.as = TriedAs::impossible;
      } else {
        const bool near = solved ? seen.fit.solved && looks.view().separation(
                                                          base, looks.predict(tries[i])) <= kCertain
                                 : looks.predict(tries[i]) == base;
        if (near) row.as = TriedAs::same;
      }
      rows.push_back(std::move(row));
    }
    out.push_back(std::move(rows));
  }
  return out;
}

}  // namespace wb
