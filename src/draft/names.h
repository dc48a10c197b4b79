// The names of an unknown checkpoint as patterns: which prefix is the model's, which numbers
// in a name are indices, and which index is the layer. All of it by evidence (what recurs, what
// is contiguous, whose shapes agree), never by a list of wrappers or models. It refuses to say
// what a tensor is for; that is roles' affair.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace wb::draft {

// An index variable of the recipe.
struct Variable {
  std::string name;  // "l", "e", "s", "h", "m"; with a number when a second count is met
  std::uint64_t count = 0;
};

// All tensors whose names differ in indices only.
struct Group {
  std::string pattern;  // under the prefix, e.g. "h.{l}.attn.q_proj.weight"
  std::vector<std::string> variables;
  std::vector<std::size_t> tensors;  // in the checkpoint
  Shape shape;                       // of the first; empty axes list for a scalar
  bool shapes_differ = false;
  DType dtype = DType::F32;
  std::set<std::uint64_t> layers;  // values of the layer index; empty outside of layers
  // The name for the first tensor with every index but `keep` spelled out.
  std::string first_name;
  std::map<std::string, std::uint64_t> first;  // the first tensor's indices

  bool has(const std::string& variable) const;
};

struct Names {
  std::string prefix;  // as in the file, "" or with its last dot
  std::vector<Group> groups;
  std::map<std::string, std::uint64_t> counts;  // of each variable
  bool has_layers = false;
  std::string layer_prefix;            // "h.{l}", when layers stand behind one text
  std::string mtp_prefix;              // "mtp_heads.{m}", or ""
  std::vector<std::string> optimizer;  // patterns with '*' of optimizer state under the prefix
  std::size_t outside = 0;             // tensors that are not under the prefix
};

// `forced_prefix` empty: found. Throws Code::recipe_ambiguous when two models lie side by side.
Names read_names(const Checkpoint& checkpoint, const std::string& forced_prefix);

// `pattern` with its variables replaced by numbers, except `keep` (which may be empty).
std::string spell(const std::string& pattern, const std::map<std::string, std::uint64_t>& indices,
                  const std::string& keep = "");

}  // namespace wb::draft
