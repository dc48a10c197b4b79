// See looks.h.
#include "solve/looks.h"

#include <algorithm>
#include <cmath>

#include "base/threads.h"

namespace wb {

namespace {

using nlohmann::json;

// What one look costs at least: making a decoder and a few small products.
constexpr double kLeastWork = 2e5;
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

Look Looks::run(const Assignment& assignment, std::vector<float>* sketch) const {
  Look out;
  const Reading reading = space_.read(assignment);
  if (reading.decoder == nullptr) {
    out.impossible = reading.impossible;
    out.fit.score = out.fit.relative = out.fit.sum_squares = INFINITY;
    return out;
  }
  const std::vector<float> predicted = view_.predict(*reading.decoder, 1);
  out.fit = view_.fit(predicted);
  if (sketch != nullptr && std::isfinite(out.fit.score)) *sketch = view_.sketch(predicted);
  return out;
}

void Looks::pay(std::size_t readings) {
  count_ += readings;
  work_ -= static_cast<double>(readings) * std::max(kLeastWork, view_.work());
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
  parallel_for(fresh.size(), threads_,
               [&](std::size_t i, unsigned) { *into[i] = run(*fresh[i], nullptr); });
  pay(fresh.size());
}

const Look& Looks::at(const Assignment& assignment) {
  at_all({assignment});
  return seen_.at(key_of(assignment));
}

std::vector<std::vector<float>> Looks::sketches(const std::vector<Assignment>& assignments) {
  std::vector<std::vector<float>> out(assignments.size());
  std::vector<Look> looks(assignments.size());
  parallel_for(assignments.size(), threads_,
               [&](std::size_t i, unsigned) { looks[i] = run(assignments[i], &out[i]); });
  for (std::size_t i = 0; i < assignments.size(); ++i) {
    seen_[key_of(assignments[i])] = std::move(looks[i]);
  }
  pay(assignments.size());
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
  for (const json& value : f.found) {
    if (std::find(out.begin(), out.end(), value) == out.end()) out.push_back(value);
  }
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
