// Feed-forward networks in the stock class: experts stacked and zero-padded to one width
// (exact), the shared experts' factor multiplied in, biases left out.
#include "target/stock.h"

namespace wb {

namespace {
constexpr std::string_view kParts[] = {"gate", "up", "down"};
// The axis of a network's hidden units in each part.
int units_axis(std::string_view part) { return part == "down" ? 1 : 0; }
}  // namespace

void stock_dense(const StockLayer& layer) {
  for (std::string_view view : kParts) {
    std::string part(view);
    layer.put("mlp." + part + "_proj.weight", layer.get("mlp.dense." + part + ".weight"));
  }
}

void stock_mixture(const StockLayer& layer) {
  const MoeSpec& moe = layer.source.spec().moe;
  const ExpertWidths& widths = layer.plan.widths;
  layer.put("mlp.gate.weight", layer.get("mlp.router.weight"));
  if (layer.source.spec().router.expert_bias == ExpertBias::selection) {
    layer.put("mlp.gate.e_score_correction_bias", layer.get("mlp.router.expert_bias"));
  } else {
    layer.make_up("mlp.gate.e_score_correction_bias",
                  Tensor::fill(DType::F32, {moe.n_routed_experts}, 0.0));
  }
  for (std::string_view view : kParts) {
    std::string part(view);
    std::vector<Tensor> experts;
    for (std::uint64_t e = 0; e < moe.n_routed_experts; ++e) {
      experts.push_back(
          pad_to(layer.get("mlp.experts." + std::to_string(e) + "." + part + ".weight"),
                 units_axis(part), widths.moe_intermediate_size));
    }
    layer.put("mlp.switch_mlp." + part + "_proj.weight", stack_any(0, std::move(experts)),
              moe.n_routed_experts);
    if (moe.shared.intermediate_size == 0) continue;
    double factor = part == "down" ? moe.shared_scale : 1.0;
    layer.put("mlp.shared_experts." + part + "_proj.weight",
              pad_to(layer.scaled("mlp.shared." + part + ".weight", factor), units_axis(part),
                     checked_mul(widths.moe_intermediate_size, widths.n_shared_experts,
                                 "the shared experts' width")));
  }
}

}  // namespace wb
