// A checkpoint under a recipe's prefix: names as the recipe spells them, found by
// hashing. Owns what is done to names (wrapper segments that torch.compile leaves are
// taken out wherever they stand), the counting of indices in them, and the facts beside them.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "recipe/facts.h"
#include "recipe/pattern.h"

namespace wb {

// The name without `_orig_mod` segments: "model._orig_mod.wte.weight" -> "model.wte.weight".
std::string plain_name(std::string_view name);
// `name` itself when it has none, else a view of plain_name(name), which goes into `kept`.
std::string_view plain_view(std::string_view name, std::deque<std::string>& kept);

class Source {
 public:
  static constexpr std::size_t kNone = SIZE_MAX;

  // `prefix` as in the file or plain. Throws Code::tensor_name when two tensors have one plain
  // name. Keeps a reference to `checkpoint`.
  Source(const Checkpoint& checkpoint, const std::string& prefix);

  const Checkpoint& checkpoint() const { return checkpoint_; }
  const SourceTensor& tensor(std::size_t i) const { return checkpoint_.tensors[i]; }
  // Index into checkpoint().tensors of the tensor with this name under the prefix, or kNone.
  std::size_t find(std::string_view name) const;
  // The name under the prefix; empty for tensors outside of it.
  std::string_view name(std::size_t i) const { return names_[i]; }
  bool inside(std::size_t i) const { return inside_[i]; }
  // Whether any name under the prefix matches.
  bool any(const Pattern& pattern) const;
  // The values of the capture `variable` among names that match, whatever other captures are.
  const std::set<std::uint64_t>& indices(const Pattern& pattern, const std::string& variable) const;

  const Facts& facts() const;
  // What a tensor under the prefix may be called elsewhere: `name` alone, with the last segment of
  // the prefix before it, and so on to the whole prefix.
  std::vector<std::string> wrapped(const std::string& name) const;

 private:
  const Checkpoint& checkpoint_;
  std::string prefix_;                   // plain
  std::vector<std::string_view> names_;  // of the checkpoint's strings, or of altered_
  std::deque<std::string> altered_;
  std::vector<bool> inside_;
  std::vector<std::uint32_t> table_;  // open addressing: 1 + index of a tensor; 0 is free
  mutable std::map<std::string, std::set<std::uint64_t>> counted_;  // by pattern text
  mutable std::optional<Facts> facts_;                              // made when first asked for
};

}  // namespace wb
