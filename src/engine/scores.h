// How likely a model took its tokens: log-probabilities of the plain softmax over the logits,
// before any option of sampling, as the OpenAI API gives them. Refuses nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace wb::engine {

struct TokenScore {
  std::uint32_t token = 0;
  double logprob = 0;  // natural logarithm, at most 0
};
struct TokenScores {
  double logprob = 0;           // of the token that was taken
  std::vector<TokenScore> top;  // likeliest first, equal ones by id
};

// Of `token` and of the `top` likeliest of all (at most all) by `logits` [vocab_size].
TokenScores score(std::span<const float> logits, std::uint32_t token, std::size_t top);

}  // namespace wb::engine
