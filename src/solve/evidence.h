// What the user's own run said: tokens, logits and, where they were exported, the
// residual stream after each layer (and in its middle), cut to a window that the
// search can afford. Owns the reading of the reference for the search; the verdict
// over all of it is verify's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace wb {

struct Evidence {
  std::size_t sequences = 0, tokens = 0;          // of the window
  std::size_t all_sequences = 0, all_tokens = 0;  // of the file
  std::size_t vocab = 0, hidden_size = 0;         // hidden_size 0: only logits
  std::vector<std::vector<std::uint32_t>> ids;    // per sequence
  std::vector<std::vector<float>> logits;         // per sequence, [tokens, vocab]
  // Per layer and sequence [tokens, hidden_size]: as many layers as the file has.
  std::vector<std::vector<std::vector<float>>> hidden, middle;
};

// Throws tensor_missing, shape_mismatch, usage with the file's name.
Evidence read_evidence(const Checkpoint& file, std::size_t most_sequences, std::size_t most_tokens);

}  // namespace wb
