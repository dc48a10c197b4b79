// Targets: a canonical model lowered to what one MLX class loads. A target is pure:
// it makes a config and lazy tensors, every one marked with what it cost, and reads
// no tensor bytes (but stock, where it folds queries, each layer's input norm). What a class cannot
// compute is found by comparing specs.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "model/canonical.h"
#include "tensor/tensor.h"

namespace wb {

struct TargetTensor {
  std::string name;  // as in the written safetensors
  Tensor tensor;
  bool made_up = false;       // no source: the class cannot load without it
  bool exact = true;          // the class computes with it what the source computed
  std::uint64_t entries = 1;  // weights counted one by one (an expert stack counts its experts)
  std::string note;           // why it is lossy or made up; empty otherwise
};

struct Loss {
  int number;  // row of docs/mappings.md, 1..11
  std::string source_computes, target_makes;
  std::vector<std::string> tensors;  // source names that it concerns, full list
};

struct LoweredModel {
  std::string target;                 // "exact", "stock", "shape-match"
  nlohmann::ordered_json config;      // config.json, every key flat and explicit
  std::vector<TargetTensor> tensors;  // model*.safetensors
  std::vector<TargetTensor> extra;    // kept multi-token heads: mtp.safetensors
  std::vector<Loss> losses;
  std::vector<AccountLine> account;  // of the source, under this target
  std::vector<std::string> reasons;  // why auto chose it, what was refused
};

// What a calibration on text found, for parts of a model that the stock class has no place
// for (docs/mappings.md, "Calibration"). Values only; how they are found is not known here.
struct StockCalibration {
  struct Layer {
    // [hidden_size + spare]: one.x is near 1 over the inputs x of this layer's feed-forward
    // network (after its norm), so that a bias b becomes the rank-one weight b one^T.
    // Empty: this layer's biases are dropped.
    std::vector<float> one;
    double router_shift = 0.0;  // c: every routing logit is lowered by c one.x
    double spare_gain = 0.0;    // weight of the network's input norm in the spare dimension
  };
  std::vector<Layer> layers;           // [num_hidden_layers]
  std::vector<float> embedding_shift;  // [hidden_size], added to every embedding; empty = none
  std::uint64_t spare = 0;             // dimensions added to hidden_size
  double spare_value = 0.0;            // every embedding's value in the first of them
};

struct LowerOptions {
  // Output dtype of every floating tensor; absent keeps each tensor's own, but for types that
  // MLX cannot load (docs/mappings.md, "Element types"). Balancing biases are never narrowed.
  std::optional<DType> dtype;
  bool keep_mtp = false;
  // shape-match: fewest padding bytes instead of the document's max(F, S). Stock always does.
  bool smart_expert_widths = false;
  // stock: where queries are folded, a folder that mlx-swift-lm loads too (it refuses a null
  // q_lora_rank), at hidden_size^2 weights more per layer.
  bool for_swift = true;
  const StockCalibration* calibration = nullptr;  // stock; must outlive the call to lower()
};

enum class TargetKind { automatic, exact, stock, shape_match };
// Throws target_unknown with the list.
TargetKind target_from_name(std::string_view name);
// Throws target_inexpressible, naming the spec field and value, when the class has no place for it.
LoweredModel lower(const CanonicalModel& model, TargetKind kind, const LowerOptions& options);

// Widths of a stock mixture: moe_intermediate_size m >= routed and n_shared_experts s with
// m * s >= shared (0 shared: s = 0) and the fewest padding elements over all experts.
struct ExpertWidths {
  std::uint64_t moe_intermediate_size, n_shared_experts;
};
ExpertWidths smart_expert_widths(std::uint64_t routed, std::uint64_t shared,
                                 std::uint64_t n_routed_experts);

}  // namespace wb
