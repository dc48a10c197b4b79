// A first recipe for a checkpoint that no recipe knows: its names in groups, a role for each
// with a confidence, the dimensions, and a question wherever the weights can't tell. Reads
// structure, and the bytes of small buffers (masks, rope tables). Shipped recipes are not
// consulted, except to say that one recognises the checkpoint. It refuses to guess in silence:
// what is not certain is a question in the recipe (which then does not apply until it is
// answered), an assumption that is listed, or a group without a role.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace wb::draft {

struct DraftGroup {
  std::string pattern;  // under the prefix
  std::size_t count = 0;
  std::string dtype, shape;
  std::string role;       // in words; "" = nobody knows
  double confidence = 0;  // 0 ... 1
  std::string why;
};

struct Question {
  bool field = false;               // a [model] field that is "?", else a setting of [ask]
  std::string key;                  // "router.score", "num_attention_heads"
  std::string text;                 // what it is
  std::vector<std::string> values;  // likely ones, the likeliest first
  std::string experiment;           // what in the source code or in a run would tell
};

struct Draft {
  std::string prefix;              // as --prefix takes it
  std::string recognised;          // a shipped recipe that knows the checkpoint already, or ""
  std::vector<DraftGroup> groups;  // in order of name
  std::vector<std::pair<std::string, std::uint64_t>> dims;
  std::vector<Question> questions;
  std::vector<std::string> assumed;  // taken as usual though nothing says so
  std::vector<std::string> notes;    // what stands in the way of an answer
  std::vector<std::string> unknown;  // patterns that the recipe does not account for
  std::size_t outside = 0;           // tensors outside of the prefix
  std::string toml;                  // the recipe
};

struct DraftOptions {
  std::string prefix;    // of the model's names, where it is not to be found
  bool ask_all = false;  // what would be assumed is asked as well
};

// `name`: what the recipe is to be called. Throws Code::recipe_ambiguous when two models lie side
// by side, Code::recipe_unknown when there are no layers to start from.
Draft draft_recipe(const Checkpoint& checkpoint, const std::string& name,
                   const DraftOptions& options = {});

}  // namespace wb::draft
