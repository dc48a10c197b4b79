// Tensors that are no weights: causal masks, rope frequencies and tables, counters. Told by
// their values first (a lower triangle, a geometric row that starts at 1, cosines of one), then
// by shape and type; a name alone is never enough. Refuses masks that are not causal: those are
// no buffer that may be left out.
#pragma once

#include <optional>
#include <string>

#include "draft/names.h"

namespace wb::draft {

struct Buffer {
  enum class Kind { causal_mask, other_mask, inv_freq, rope_table, counter } kind;
  std::string reason;              // for [left_out]
  std::string check;               // expression, or ""
  std::uint64_t length = 0;        // of a mask's side
  std::uint64_t rope_dim = 0;      // inv_freq, rope_table
  std::optional<double> base;      // inv_freq, rope_table: when the values are those of a base
  std::optional<bool> half_split;  // rope_table: what its columns say of the layout
};

// What the group is, when it is one of buffers. `tensor`: its first, as the recipe is to read it.
std::optional<Buffer> buffer_of(const Group& group, const Tensor& tensor);

}  // namespace wb::draft
