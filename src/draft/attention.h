// Which matrix of a layer's attention plays which part. Every way of building such an attention
// that ModelSpec knows is tried (queries straight or over a latent, position parts apart or
// fused, keys and values apart or fused) with every matrix in every role whose shape fits; names
// score what shapes allow. It refuses to choose between assignments that the names do not tell
// apart: those come back together, as a question.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "draft/names.h"
#include "draft/words.h"

namespace wb::draft {

enum class AttentionRole {
  q_down,
  q,  // content and position rows of each head in one, or all there is
  q_nope,
  q_rope,
  kv_down,
  kv_down_rope,  // the latent's and the position key's rows in one
  k,             // content keys; whole keys where nothing else makes position keys
  v,
  kv,  // keys and values in one
  k_rope,
  qkv,
  o,
};
const char* in_words(AttentionRole role);

// A matrix [rows, cols] as the recipe would spell it: [out, in] once `spelling` is applied.
struct Matrix {
  const Group* group = nullptr;
  std::uint64_t rows = 0, cols = 0;
  std::uint64_t heads = 0;     // when the tensor has them as an axis or an index
  std::string spelling = "$";  // the expression, `$` for the name, e.g. "concat_over(h, 0, $)"
  std::size_t owner = 0;       // the tensor it is a reading of; readings of one exclude each other
  bool turned = false;         // the tensor is [in, out]
  bool either = false;         // square and no nn.Linear's: nothing says which way it is used
  Features features;
  std::size_t out_axis() const { return turned ? 1 : 0; }  // of the tensor
  std::size_t in_axis() const { return turned ? 0 : 1; }
};

struct HeadWidths {
  std::uint64_t heads = 0, kv_heads = 0, nope = 0, rope = 0, v = 0;
  bool shared_rope_key = true;
  bool padded_values = false;  // values are the content key and zeros
  bool operator==(const HeadWidths&) const = default;
};

struct AttentionHints {
  std::uint64_t hidden = 0;
  std::uint64_t rope_dim = 0;               // from a buffer of frequencies; 0 = nothing known
  std::vector<std::uint64_t> vector_sizes;  // lengths of the norms in the attention
  std::vector<std::uint64_t> head_sizes;    // of those whose names speak of queries or of keys
  std::uint64_t heads = 0;                  // from what stands beside the tensors; 0 = unknown
  bool learned_positions = false;
};

struct AttentionGuess {
  std::vector<AttentionRole> roles;
  // For each assignment that the names do not tell from the best, the matrix of each role
  // (index into the matrices given); the first is the best. All have the same shapes by role.
  std::vector<std::vector<std::size_t>> assignments;
  std::vector<double> confidence;   // by role
  std::vector<std::string> why;     // by role
  std::vector<HeadWidths> widths;   // all that fit, heads rising; more than one is a question
  std::string rival;                // another way of building it that fits about as well, or ""
  bool orientation_unsure = false;  // so does a reading in which a matrix is turned over
  std::uint64_t q_rank = 0, kv_rank = 0;
  bool has(AttentionRole role) const;
  std::size_t index(AttentionRole role) const;  // into `roles`
};

// `matrices` may hold two readings of one tensor; each tensor gets one role. Nothing when no way of
// building an attention takes all of them.
std::optional<AttentionGuess> guess_attention(const std::vector<Matrix>& matrices,
                                              const AttentionHints& hints);

}  // namespace wb::draft
