// The ways of building an attention that ModelSpec knows, and every assignment of given matrices to
// the roles of one of them that all shapes allow. Owns what shapes forbid and what a word is worth;
// it refuses to choose: that is guess_attention()'s.
#pragma once

#include <vector>

#include "draft/attention.h"

namespace wb::draft {

// An assignment that shapes allow. `score` sums what the names say for it, in words of 2 each.
struct FoundAttention {
  std::vector<std::size_t> chosen;  // the matrix of each role
  double score;
  std::vector<HeadWidths> widths;  // all that fit, heads rising; never empty
  std::uint64_t q_rank, kv_rank;   // 0 = there is no such latent
};

// What the words of a name say for a role: 2 for its own word, less for what it could also be.
double role_score(const Features& features, AttentionRole role);
// The roles of each way of building an attention; latents come before what is made of them.
std::vector<std::vector<AttentionRole>> attention_structures();
// `roles` as many as `matrices` have owners. Empty when no assignment fits.
std::vector<FoundAttention> search_attention(const std::vector<Matrix>& matrices,
                                             const AttentionHints& hints,
                                             const std::vector<AttentionRole>& roles);

}  // namespace wb::draft
