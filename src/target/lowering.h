// What every target needs from a canonical model: its tensors in the element type
// that will be written, names of the target, and the account of the source. Internal
// to target/. Refuses element types that have no place in an MLX folder.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "target/target.h"

namespace wb {

// The canonical side of a lowering.
class Lowering {
 public:
  Lowering(const CanonicalModel& model, const LowerOptions& options)
      : model_(model), options_(options) {}

  const ModelSpec& spec() const { return model_.spec; }
  const CanonicalModel& model() const { return model_; }
  const LowerOptions& options() const { return options_; }

  bool has(const std::string& name) const { return model_.has(name); }
  // The canonical tensor in the element type to be written. Throws dtype_unsupported.
  Tensor get(const std::string& name) const;
  // As stored, for compute steps that round once at their end.
  const Tensor& raw(const std::string& name) const { return model_.at(name); }
  // The element type in which `name` is written. Throws dtype_unsupported.
  DType dtype_of(const std::string& name) const;

 private:
  const CanonicalModel& model_;
  const LowerOptions& options_;
};

// The element type that `from` is written as. `never_narrow`: a half type asked for is
// not applied (balancing biases). Throws dtype_unsupported naming `tensor`.
DType written_dtype(DType from, std::optional<DType> asked, bool never_narrow,
                    std::string_view tensor);

// Parts of one tensor must share a type: all are widened to F32 when they do not.
Tensor concat_any(int axis, std::vector<Tensor> parts);
Tensor stack_any(int axis, std::vector<Tensor> parts);
// [heads, width, in] -> [heads * width, in]; [heads, width] -> [heads * width].
Tensor flatten_heads(const Tensor& tensor);
// Zeros behind the end of `axis`, up to `width`. Exact for an expert's hidden units.
Tensor pad_to(const Tensor& tensor, int axis, std::uint64_t width);

// "layers.3" / "mtp.0.block" of a canonical name, and the expert's number when it has one.
struct BlockPlace {
  std::string block;  // empty outside of blocks
  std::optional<std::uint64_t> expert, mtp;
};
BlockPlace place_of(std::string_view canonical);
// Whether a canonical tensor belongs to a multi-token head.
inline bool is_mtp(std::string_view canonical) { return canonical.starts_with("mtp."); }

// The multi-token heads under the names of the exact class, or under their own where the recipe
// only says which they are, for mtp.safetensors.
std::vector<TargetTensor> mtp_tensors(const Lowering& source);
// The canonical tensors of the main model (or of the heads) under the names of the exact class.
std::vector<TargetTensor> exact_tensors(const Lowering& source, bool mtp);

// Fills lowered.account: where every source tensor went, or why it did not.
void fill_account(const Lowering& source, LoweredModel& lowered);

// The value of a spec field, by its path, as it stands in JSON.
nlohmann::json field_value(const ModelSpec& spec, std::string_view path);

LoweredModel lower_exact(const Lowering& source);
LoweredModel lower_shape_match(const Lowering& source);
LoweredModel lower_stock(const Lowering& source);
// Stock when the class computes the model with plain views of its tensors, else exact; says why.
LoweredModel lower_automatic(const Lowering& source);

}  // namespace wb
