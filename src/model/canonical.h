// The canonical model: a ModelSpec, and one tensor for every row that the spec
// calls for in the canonical table. One name and one layout each:
//
//   weights are [out, in]; attention's up-projections are split by role and head
//   ([heads, width, in]); experts one by one; rope rows in the order that
//   spec.rope.layout names. {block} is "layers.{l}" or "mtp.{m}.block".
//
// The table is data (canonical_table()); docs/recipes.md prints it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/spec.h"
#include "tensor/tensor.h"

namespace wb {

struct CanonicalRow {
  std::string_view pattern;  // "{block}.attn.q_nope.weight", indices as {l}, {e}, {m}
  std::string_view shape;    // in words: "[num_attention_heads, qk_nope_head_dim, q_in]"
  std::string_view when;     // in words: "attention.q_lora_rank > 0"; empty = always
  std::string_view what;     // one line for docs
};
const std::vector<CanonicalRow>& canonical_table();

// One tensor that a spec calls for.
struct CanonicalTensor {
  std::string name;  // fully expanded: "layers.3.attn.q_nope.weight"
  Shape shape;
  std::size_t row;  // index into canonical_table()
};
// All of them for `spec`, in table order, layers and experts rising. Throws Code::limit_exceeded
// for more than any model has.
std::vector<CanonicalTensor> canonical_tensors(const ModelSpec& spec);
// Whether `pattern` (with {block} or {l}/{m}/{e} captures) is a row of the table, with
// or without the trailing ".weight"/".bias".
bool is_canonical_pattern(std::string_view pattern);

// What became of one source tensor.
enum class Fate {
  used,      // bytes go into at least one canonical tensor
  alias,     // the same bytes as another name that is used
  left_out,  // listed by the recipe with a reason
  outside,   // not under the model's prefix (optimizer state and the like)
};
std::string_view name(Fate fate);
struct AccountLine {
  std::string source;  // full name in the checkpoint
  Fate fate;
  std::string detail;  // canonical names, alias target, or reason
  std::uint64_t bytes;
};

struct SettingUsed {
  std::string key, help;
  nlohmann::json value;
  std::string origin;  // "--set", "checkpoint" or "default"
};

struct CanonicalModel {
  std::string recipe;  // its name
  std::string prefix;  // stripped from source names, e.g. "model_state_dict._orig_mod."
  ModelSpec spec;
  std::map<std::string, Tensor> tensors;  // exactly canonical_tensors(spec), shapes checked
  std::vector<AccountLine> account;       // every source tensor, sorted by name
  // Source tensors of multi-token layers that no row of the table has a place for, by their source
  // names (left out in the account): what --mtp keep writes as it is.
  std::vector<std::pair<std::string, Tensor>> mtp_aside;
  std::vector<SettingUsed> settings;
  std::vector<std::pair<std::string, nlohmann::json>> dims;  // as inferred, in recipe order

  const Tensor& at(const std::string& name) const;  // aborts on a name the table lacks
  bool has(const std::string& name) const { return tensors.count(name) != 0; }
};

// Throws canonical_missing / shape_mismatch unless `model.tensors` is exactly what the spec calls
// for.
void check_complete(const CanonicalModel& model);

}  // namespace wb
