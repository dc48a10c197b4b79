// The exact target: every canonical tensor of the main model under the name that the
// exact class gives it (model/exact_class.h). Heads are flattened and experts stacked,
// which are views; nothing is padded, folded or made up, so nothing is lost.
#include <algorithm>

#include "model/exact_class.h"
#include "target/lowering.h"

namespace wb {

namespace {

constexpr std::string_view kModelFile = "weightbridge_mla.py";

struct RowMatch {
  const ExactRow* row;
  std::string suffix;  // ".weight", ".bias", or "" for a tensor that is no module's
};

// The row whose module is the pattern, or the pattern less its last word.
RowMatch find_row(std::string_view pattern) {
  for (std::string_view suffix : {"", ".weight", ".bias"}) {
    if (!pattern.ends_with(suffix)) continue;
    std::string_view module = pattern.substr(0, pattern.size() - suffix.size());
    for (const ExactRow& row : exact_rows()) {
      if (row.canonical == module) return {&row, std::string(suffix)};
    }
  }
  WB_BUG("a canonical row that the exact class has no name for");
}

void replace(std::string& text, std::string_view what, const std::string& with) {
  std::size_t at = text.find(what);
  if (at != std::string::npos) text.replace(at, what.size(), with);
}

std::string target_name(const RowMatch& match, const BlockPlace& place) {
  std::string name(match.row->mlx);
  replace(name, "{block}", (place.mtp ? "" : "model.") + place.block);
  if (place.mtp) replace(name, "{m}", std::to_string(*place.mtp));
  return name + match.suffix;
}

}  // namespace

std::vector<TargetTensor> exact_tensors(const Lowering& source, bool mtp) {
  std::vector<TargetTensor> out;
  std::vector<std::vector<Tensor>> stacks;  // beside `out`; empty for plain tensors
  std::map<std::string, std::size_t> index;
  for (const CanonicalTensor& canonical : canonical_tensors(source.spec())) {
    if (is_mtp(canonical.name) != mtp) continue;
    RowMatch match = find_row(canonical_table()[canonical.row].pattern);
    std::string name = target_name(match, place_of(canonical.name));
    Tensor tensor = source.get(canonical.name);
    if (match.row->layout == ExactLayout::flatten_heads) tensor = flatten_heads(tensor);
    auto [it, is_new] = index.emplace(name, out.size());
    if (is_new) {
      out.push_back({name, tensor, false, true, 1, ""});
      stacks.emplace_back();
    }
    if (match.row->layout == ExactLayout::stack_experts) stacks[it->second].push_back(tensor);
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (stacks[i].empty()) continue;
    out[i].entries = stacks[i].size();
    out[i].tensor = stack_any(0, std::move(stacks[i]));
  }
  return out;
}

std::vector<TargetTensor> mtp_tensors(const Lowering& source) {
  if (!source.options().keep_mtp) return {};
  std::vector<TargetTensor> out = exact_tensors(source, true);
  // What has no canonical name is kept under its own, as it is stored.
  for (const auto& [name, tensor] : source.model().mtp_aside) {
    out.push_back({name, tensor, false, true, 1, ""});
  }
  return out;
}

LoweredModel lower_exact(const Lowering& source) {
  LoweredModel lowered;
  lowered.target = "exact";
  // The folder says what it holds: heads that are left out are not announced.
  ModelSpec spec = source.spec();
  if (!source.options().keep_mtp) spec.num_nextn_predict_layers = 0;
  lowered.config = exact_config(spec);
  lowered.config["model_file"] = kModelFile;
  lowered.tensors = exact_tensors(source, false);
  lowered.extra = mtp_tensors(source);
  fill_account(source, lowered);
  return lowered;
}

}  // namespace wb
