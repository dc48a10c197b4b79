// See looks.h.
#include "solve/looks.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/threads.h"

namespace wb {

namespace {

using nlohmann::json;

// What one look costs at least: making a decoder and a few small products.
constexpr double kLeastWork = 4e5;
// And finding out that it computes what another one did.
constexpr double kReadWork = 5e4;
// An assignment is better when its mean log10 error is lower by this.
constexpr double kBetter = 1e-3;

}  // namespace

Assignment with(Assignment at, std::size_t field, const json& value) {
  at[field] = value;
  return at;
}

Looks::Looks(const Space& space, const View& view, std::vector<Field>& fields, unsigned threads,
             double& work)
    : space_(space), view_(view), fields_(fields), threads_(threads), work_(work) {}

// Readings that compute the same are run once.
void Looks::run(const std::vector<const Assignment*>& assignments, std::vector<Look*>& into,
                std::vector<std::vector<float>>* sketches) {
  const std::size_t n = assignments.size();
  std::vector<Reading> readings(n);
  parallel_for(n, threads_,
               [&](std::size_t i, unsigned) { readings[i] = space_.read(*assignments[i]); });
  std::vector<std::size_t> first(n), fresh;  // the one that computes the same
  std::unordered_map<std::string_view, std::size_t> by_effect;
  for (std::size_t i = 0; i < n; ++i) {
    first[i] = by_effect.try_emplace(readings[i].effect, i).first->second;
    const bool run = first[i] == i && readings[i].decoder != nullptr &&
                     (sketches != nullptr || computed_.count(readings[i].effect) == 0);
    if (run) fresh.push_back(i);
  }
  std::vector<Fit> fits(fresh.size());
  parallel_for(fresh.size(), threads_, [&](std::size_t j, unsigned) {
    const std::vector<float> predicted = view_.predict(*readings[fresh[j]].decoder, 1);
    fits[j] = view_.fit(predicted);
    if (sketches != nullptr && std::isfinite(fits[j].score)) {
      (*sketches)[fresh[j]] = view_.sketch(predicted);
    }
  });
  for (std::size_t j = 0; j < fresh.size(); ++j) computed_[readings[fresh[j]].effect] = fits[j];
  for (std::size_t i = 0; i < n; ++i) {
    Look& look = *into[i];
    if (readings[i].decoder == nullptr) {
      look.impossible = readings[i].impossible;
      look.fit.score = look.fit.relative = look.fit.sum_squares = INFINITY;
      continue;
    }
    look.fit = computed_.at(readings[i].effect);
    if (sketches != nullptr && first[i] != i) (*sketches)[i] = (*sketches)[first[i]];
  }
  count_ += fresh.size();
  work_ -= static_cast<double>(n) * kReadWork +
           static_cast<double>(fresh.size()) * std::max(kLeastWork, view_.work());
}

void Looks::at_all(const std::vector<Assignment>& assignments) {
  std::vector<const Assignment*> fresh;
  std::vector<Look*> into;
  for (const Assignment& a : assignments) {
    const auto [it, added] = seen_.try_emplace(key_of(a));
    if (!added) continue;
    fresh.push_back(&a);
    into.push_back(&it->second);  // stays where it is when the table grows
  }
  run(fresh, into, nullptr);
}

const Look& Looks::at(const Assignment& assignment) {
  at_all({assignment});
  return seen_.at(key_of(assignment));
}

std::vector<std::vector<float>> Looks::sketches(const std::vector<Assignment>& assignments) {
  std::vector<std::vector<float>> out(assignments.size());
  std::vector<const Assignment*> all;
  std::vector<Look*> into;
  for (const Assignment& a : assignments) {
    all.push_back(&a);
    into.push_back(&seen_[key_of(a)]);
  }
  run(all, into, &out);
  return out;
}

bool Looks::better(const Assignment& a, const Assignment& than) {
  const double x = score(a), y = score(than);
  return std::isinf(y) ? !std::isinf(x) : x < y - kBetter;
}

std::vector<json> Looks::values(std::size_t field, const Assignment& at) const {
  const Field& f = fields_[field];
  if (f.left) return *f.left;
  std::vector<json> out = usual(field, at);
  if (std::find(out.begin(), out.end(), at[field]) == out.end()) out.push_back(at[field]);
  return out;
}

std::vector<json> Looks::usual(std::size_t field, const Assignment& at) const {
  const Reading reading = space_.read(at);
  if (reading.decoder == nullptr) return {};
  return values_to_try(fields_[field].unknown, reading.decoder->spec());
}

ModelSpec Looks::spec(const Assignment& at) const { return space_.read(at).decoder->spec(); }

std::vector<float> Looks::predict(const Assignment& at) const {
  return view_.predict(*space_.read(at).decoder, threads_);
}

}  // namespace wb
