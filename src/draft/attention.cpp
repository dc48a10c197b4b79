// See attention.h.
#include "draft/attention.h"

#include <algorithm>
#include <cmath>

#include "draft/attention_search.h"

namespace wb::draft {

namespace {

using R = AttentionRole;
constexpr std::size_t kMostMatrices = 9;
constexpr std::size_t kMostAssignments = 24;
// Names that differ by less do not tell two assignments apart: one word is worth 2.
constexpr double kMargin = 1.0;

std::string described(const std::vector<R>& roles) {
  std::string out;
  for (R role : roles) out += (out.empty() ? "" : " + ") + std::string(in_words(role));
  return out;
}

void judge(AttentionGuess& guess, const std::vector<Matrix>& matrices,
           const std::vector<FoundAttention>& all, const FoundAttention& best) {
  for (std::size_t r = 0; r < guess.roles.size(); ++r) {
    std::size_t item = best.chosen[r];
    double own = role_score(matrices[item].features, guess.roles[r]);
    double other = -1e9;  // the best in which this matrix has another role
    for (const FoundAttention& f : all) {
      if (matrices[f.chosen[r]].owner != matrices[item].owner) other = std::max(other, f.score);
    }
    bool alone = other < -1e8;
    double margin = alone ? 8 : best.score - other;
    double confidence = 1 - 0.5 * std::exp(-std::max(0.0, margin) / 1.5);
    if (own <= 0) confidence = std::min(confidence, alone ? 0.9 : 0.7);
    if (margin < kMargin) confidence = std::min(confidence, 1.0 / double(guess.assignments.size()));
    guess.confidence.push_back(std::min(confidence, 0.99));
    guess.why.push_back(margin < kMargin ? "shape and name fit another role as well: asked"
                        : own <= 0       ? (alone ? "the only shape that fits; the name is silent"
                                                  : "by its shape and what is left")
                        : alone          ? "name, and no other shape fits"
                                         : "name; shapes alone would not tell");
  }
}

}  // namespace

const char* in_words(AttentionRole role) {
  switch (role) {
    case R::q_down:
      return "query down-projection";
    case R::q:
      return "queries";
    case R::q_nope:
      return "content queries";
    case R::q_rope:
      return "rotated queries";
    case R::kv_down:
      return "key-value down-projection";
    case R::kv_down_rope:
      return "key-value down-projection and rotated key";
    case R::k:
      return "keys";
    case R::v:
      return "values";
    case R::kv:
      return "keys and values";
    case R::k_rope:
      return "rotated key";
    case R::qkv:
      return "queries, keys and values";
    case R::o:
      return "output projection";
  }
  return "";
}

bool AttentionGuess::has(AttentionRole role) const {
  return std::find(roles.begin(), roles.end(), role) != roles.end();
}
std::size_t AttentionGuess::index(AttentionRole role) const {
  return static_cast<std::size_t>(std::find(roles.begin(), roles.end(), role) - roles.begin());
}

std::optional<AttentionGuess> guess_attention(const std::vector<Matrix>& matrices,
                                              const AttentionHints& hints) {
  std::size_t tensors = 0;
  for (const Matrix& m : matrices) tensors = std::max(tensors, m.owner + 1);
  if (tensors > kMostMatrices) return std::nullopt;
  std::optional<AttentionGuess> out;
  double best_score = 0;
  std::string second;
  double second_score = -1e9;
  for (const std::vector<R>& roles : attention_structures()) {
    if (roles.size() != tensors) continue;
    std::vector<FoundAttention> found = search_attention(matrices, hints, roles);
    if (found.empty()) continue;
    auto best = std::max_element(found.begin(), found.end(),
                                 [](const auto& a, const auto& b) { return a.score < b.score; });
    if (out && best->score <= best_score) {
      if (best->score > second_score) {
        second_score = best->score;
        second = described(roles);
      }
      continue;
    }
    if (out && best_score > second_score) {
      second_score = best_score;
      second = described(out->roles);
    }
    best_score = best->score;
    AttentionGuess guess;
    guess.roles = roles;
    guess.assignments.push_back(best->chosen);
    for (const FoundAttention& f : found) {
      bool same_shapes = true, turned = false;
      for (std::size_t r = 0; r < roles.size(); ++r) {
        const Matrix &a = matrices[f.chosen[r]], &b = matrices[best->chosen[r]];
        same_shapes &= a.rows == b.rows && a.cols == b.cols && a.spelling == b.spelling;
        turned |= a.owner == b.owner && a.turned != b.turned;
      }
      if (turned && f.score + kMargin > best->score) guess.orientation_unsure = true;
      if (&f == &*best || !same_shapes || f.score + kMargin <= best->score) continue;
      if (guess.assignments.size() < kMostAssignments) guess.assignments.push_back(f.chosen);
    }
    guess.widths = best->widths;
    guess.q_rank = best->q_rank;
    guess.kv_rank = best->kv_rank;
    judge(guess, matrices, found, *best);
    out = std::move(guess);
  }
  if (out && second_score + kMargin > best_score) out->rival = second;
  return out;
}

}  // namespace wb::draft
