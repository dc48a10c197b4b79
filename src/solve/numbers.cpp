// See numbers.h.
#include "solve/numbers.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "solve/formulas.h"

namespace wb {

namespace {

using nlohmann::json;

constexpr int kScan = 41, kGolden = 42;
constexpr double kProbe = 1e-3;      // of the logarithm, for slopes: far above f32's rounding
constexpr double kWidestStep = 1.0;  // of a logarithm at once
constexpr double kLeastGain = 0.1;   // share of the squared residual that one number must explain
constexpr int kSteps = 12, kHalvings = 5;
constexpr std::size_t kMostNumbers = 4;  // that move together
// How far (relative) a usual value may be from a number that was fitted in its place.
constexpr double kMeant = 0.05;
// Standard deviations within which two numbers are one: as in decide.cpp.
constexpr double kSameNumber = 6.0;

// The number that `field` stands for in `at`; 0 of a softmax scale is a default. 0 = none.
double number_of(const Looks& looks, const Assignment& at, std::size_t field,
                 const Unknown& unknown) {
  const double value = at[field].get<double>();
  if (value != 0) return value;
  if (unknown.key == "attention.softmax_scale") return looks.spec(at).scale_nope();
  if (unknown.key == "attention.softmax_scale_rope") return looks.spec(at).scale_rope();
  return 0;
}

using Vector = std::vector<double>;
double dot(const Vector& a, const Vector& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// One weight for each row, so that rows in which a router chose otherwise do not drown the rest.
Vector row_weights(const std::vector<float>& residual, std::size_t width) {
  Vector squares;
  for (std::size_t at = 0; at < residual.size(); at += width) {
    double sum = 0;
    for (std::size_t i = at; i < at + width; ++i) {
      sum += static_cast<double>(residual[i]) * static_cast<double>(residual[i]);
    }
    squares.push_back(sum);
  }
  Vector sorted = squares;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2),
                   sorted.end());
  const double usual = std::max(sorted[sorted.size() / 2], 1e-30);
  for (double& s : squares) s = 1 / std::sqrt(s + usual);
  return squares;
}
Vector weighted(const std::vector<float>& residual, const Vector& weights, std::size_t width) {
  Vector out(residual.size());
  for (std::size_t i = 0; i < residual.size(); ++i) {
    out[i] = static_cast<double>(residual[i]) * weights[i / width];
  }
  return out;
}

// Which columns explain the residual, one after the other by what each adds to those before it,
// and the coefficients of their least squares.
struct Picked {
  std::vector<std::size_t> columns;
  Vector steps;
};
Picked pick(const std::vector<Vector>& columns, const Vector& residual) {
  Picked out;
  std::vector<Vector> basis;  // orthonormal
  std::vector<Vector> in_basis;
  Vector left = residual, onto;
  const double whole = dot(residual, residual);
  while (out.columns.size() < kMostNumbers) {
    std::size_t best = columns.size();
    double most = kLeastGain * std::max(dot(left, left), 1e-4 * whole);
    Vector best_rest, best_parts;
    for (std::size_t c = 0; c < columns.size(); ++c) {
      if (std::find(out.columns.begin(), out.columns.end(), c) != out.columns.end()) continue;
      Vector rest = columns[c], parts;
      for (const Vector& b : basis) {
        parts.push_back(dot(rest, b));
        for (std::size_t i = 0; i < rest.size(); ++i) rest[i] -= parts.back() * b[i];
      }
      const double length = dot(rest, rest);
      // What is left of a column that the others span already is rounding.
      if (!(length > 1e-4 * dot(columns[c], columns[c]))) continue;
      const double along = dot(rest, left);
      if (along * along / length <= most) continue;
      most = along * along / length;
      best = c;
      parts.push_back(std::sqrt(length));
      best_parts = std::move(parts);
      best_rest = std::move(rest);
    }
    if (best == columns.size()) break;
    for (double& x : best_rest) x /= best_parts.back();
    onto.push_back(dot(best_rest, left));
    for (std::size_t i = 0; i < left.size(); ++i) left[i] -= onto.back() * best_rest[i];
    basis.push_back(std::move(best_rest));
    in_basis.push_back(std::move(best_parts));
    out.columns.push_back(best);
  }
  // Back substitution: column j = sum over i <= j of in_basis[j][i] * basis[i].
  out.steps.assign(onto.size(), 0.0);
  for (std::size_t j = onto.size(); j-- > 0;) {
    double rest = onto[j];
    for (std::size_t k = j + 1; k < onto.size(); ++k) rest -= in_basis[k][j] * out.steps[k];
    out.steps[j] = rest / in_basis[j][j];
  }
  return out;
}

Assignment moved(const Assignment& at, const std::vector<std::size_t>& fields,
                 const std::vector<double>& numbers, const Picked& picked, double share,
                 const std::vector<Field>& all) {
  Assignment out = at;
  for (std::size_t i = 0; i < picked.columns.size(); ++i) {
    const std::size_t f = fields[picked.columns[i]];
    const double step = std::clamp(picked.steps[i], -kWidestStep, kWidestStep) * share;
    out[f] = std::clamp(numbers[picked.columns[i]] * std::exp(step), all[f].unknown.least,
                        all[f].unknown.most);
  }
  return out;
}

// The residual of `at`, weighted, and its slope in the logarithm of each of `real` that has one.
struct Slopes {
  std::vector<std::size_t> fields;
  std::vector<double> numbers;  // of each field
  std::vector<Vector> columns;  // likewise
  Vector residual;              // empty where `at` overflows
};
Slopes slopes(Looks& looks, const Assignment& at, const std::vector<std::size_t>& real) {
  const std::size_t width = looks.view().sketch_width();
  Slopes out;
  std::vector<Assignment> probes{at};
  for (std::size_t f : real) {
    const double number = number_of(looks, at, f, looks.fields()[f].unknown);
    if (number <= 0) continue;
    out.fields.push_back(f);
    out.numbers.push_back(number);
    probes.push_back(with(at, f, number * std::exp(kProbe)));
  }
  const std::vector<std::vector<float>> sketches = looks.sketches(probes);
  if (sketches[0].empty()) return out;
  const Vector weights = row_weights(sketches[0], width);
  out.residual = weighted(sketches[0], weights, width);
  for (std::size_t c = 0; c < out.fields.size(); ++c) {
    Vector column(out.residual.size(), 0.0);
    if (!sketches[c + 1].empty()) {
      const Vector probed = weighted(sketches[c + 1], weights, width);
      for (std::size_t i = 0; i < column.size(); ++i) {
        column[i] = (out.residual[i] - probed[i]) / kProbe;
      }
    }
    out.columns.push_back(std::move(column));
  }
  return out;
}

}  // namespace

std::optional<Assignment> fit_numbers(Looks& looks, const Assignment& start,
                                      const std::vector<std::size_t>& open, bool to_the_last) {
  std::vector<std::size_t> real;
  for (std::size_t f : open) {
    if (looks.fields()[f].unknown.real && !looks.fields()[f].decided()) real.push_back(f);
  }
  Assignment at = start;
  bool nearer = !real.empty();
  for (int step = 0; step < kSteps && nearer && !looks.spent(); ++step) {
    if (!to_the_last && looks.at(at).fit.solved) break;
    const Slopes s = slopes(looks, at, real);
    if (s.residual.empty()) break;
    const Picked picked = pick(s.columns, s.residual);
    nearer = false;
    double share = picked.columns.empty() ? 0 : 1;
    for (int halving = 0; halving < kHalvings && share > 0 && !nearer; ++halving, share /= 2) {
      Assignment next = moved(at, s.fields, s.numbers, picked, share, looks.fields());
      nearer = looks.better(next, at);
      if (nearer) at = std::move(next);
    }
  }
  if (!looks.better(at, start)) return std::nullopt;
  return at;
}

std::optional<Assignment> scan_number(Looks& looks, const Assignment& at, std::size_t field) {
  const Unknown& unknown = looks.fields()[field].unknown;
  const double low = std::log(unknown.least), high = std::log(unknown.most);
  auto score = [&](double x) { return looks.score(with(at, field, std::exp(x))); };
  std::vector<Assignment> scan;
  for (int i = 0; i < kScan; ++i) {
    scan.push_back(with(at, field, std::exp(low + (high - low) * i / (kScan - 1))));
  }
  looks.at_all(scan);
  int best = 0;
  for (int i = 1; i < kScan; ++i) {
    if (looks.score(scan[static_cast<std::size_t>(i)]) <
        looks.score(scan[static_cast<std::size_t>(best)])) {
      best = i;
    }
  }
  const double step = (high - low) / (kScan - 1), golden = (std::sqrt(5.0) - 1) / 2;
  double a = low + step * (best - 1), b = low + step * (best + 1);
  double x1 = b - golden * (b - a), x2 = a + golden * (b - a);
  double f1 = score(x1), f2 = score(x2);
  for (int i = 0; i < kGolden && !looks.spent(); ++i) {
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
  Assignment found = with(at, field, std::exp((a + b) / 2));
  if (!looks.better(found, at)) return std::nullopt;
  return found;
}

Assignment named_number(Looks& looks, const Assignment& at, std::size_t field) {
  const double number = at[field].get<double>();
  const bool solved = looks.at(at).fit.solved;
  const std::vector<float> base = looks.predict(at);
  for (double distance : {1e-6, 1e-5, 1e-4, 1e-3, 1e-2}) {
    for (const NamedNumber& form : simple_forms(number, distance, looks.spec(at))) {
      Assignment named = with(at, field, form.value);
      if (looks.better(at, named)) {
        // The number was fitted to the noise as well: within it, the name is as good.
        if (!solved || !looks.at(named).fit.solved ||
            looks.view().separation(base, looks.predict(named)) > kSameNumber) {
          continue;
        }
      }
      return named;
    }
  }
  return at;
}

namespace {

std::vector<std::size_t> unlisted(const Looks& looks, const Assignment& at,
                                  const std::vector<Field>& all,
                                  const std::vector<std::size_t>& open) {
  std::vector<std::size_t> out;
  for (std::size_t f : open) {
    if (!all[f].unknown.real || all[f].decided()) continue;
    const std::vector<json> list = looks.usual(f, at);
    if (std::find(list.begin(), list.end(), at[f]) == list.end()) out.push_back(f);
  }
  return out;
}

// Values that a fitted number may stand for, nearest first within each kind: usual ones, then
// simple forms. A fit that is made up for by others may be off by some percent.
std::vector<json> meant(const Looks& looks, const Assignment& at, std::size_t field) {
  const double number = at[field].get<double>();
  std::vector<json> out;
  auto add = [&](const json& value) {
    if (value != at[field] && std::find(out.begin(), out.end(), value) == out.end()) {
      out.push_back(value);
    }
  };
  std::vector<std::pair<double, json>> near;
  for (const json& value : looks.usual(field, at)) {
    const double v = value.get<double>();
    const double apart = std::fabs(v - number) / number;
    if (v == 0 || apart < kMeant) near.emplace_back(apart, value);
  }
  std::stable_sort(near.begin(), near.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [apart, value] : near) add(value);
  for (double distance : {1e-6, 1e-5, 1e-4, 1e-3, 1e-2}) {
    for (const NamedNumber& form : simple_forms(number, distance, looks.spec(at))) add(form.value);
  }
  return out;
}

}  // namespace

Assignment plain_numbers(Looks& looks, Assignment at, const std::vector<std::size_t>& open) {
  std::vector<std::size_t> numbers = unlisted(looks, at, looks.fields(), open);
  at = fit_numbers(looks, at, numbers, true).value_or(at);
  while (!numbers.empty()) {
    const std::size_t field = numbers.back();
    numbers.pop_back();
    for (const json& value : meant(looks, at, field)) {
      Assignment named = with(at, field, value);
      named = fit_numbers(looks, named, numbers, true).value_or(named);
      if (!looks.at(named).fit.solved) continue;
      if (looks.better(at, named) &&
          looks.view().separation(looks.predict(at), looks.predict(named)) > kSameNumber) {
        continue;
      }
      at = std::move(named);
      break;
    }
  }
  return at;
}

}  // namespace wb
