// Feed-forward networks in the stock class: experts stacked and zero-padded to one width
// (exact), the shared experts' factor multiplied in. Biases have no place in the class: they
// are dropped, or folded by a calibration's direction that reads nearly 1.
#include <cmath>

#include "target/stock.h"

namespace wb {

namespace {

// A hidden unit that stands for 1: silu(a z) * b z with z = one.x. For this a the product has
// slope zero at z = 1, so that an error of z enters squared only; b makes it 1 there.
// (a solves a (1 - sigmoid(a)) = -2.)
constexpr double kUnitGate = -2.2177151058;
double unit_up() { return (1.0 + std::exp(-kUnitGate)) / kUnitGate; }

struct Network {
  Tensor gate, up, down;  // [width, hidden] twice, [hidden, width]
};

class Builder {
 public:
  explicit Builder(const StockLayer& layer) : l_(layer) {}

  // The network at `from` ("mlp.shared."), `width` wide, its output times `scale`.
  Network network(const std::string& from, std::uint64_t width, double scale) const {
    Network n{input_side(from + "gate"), input_side(from + "up"),
              l_.wide(l_.scaled(from + "down.weight", scale), 0)};
    if (folds() && l_.has(from + "down.bias")) {
      n.gate = concat_any(0, {n.gate, unit_row(kUnitGate, n.gate.dtype())});
      n.up = concat_any(0, {n.up, unit_row(unit_up(), n.up.dtype())});
      Tensor bias = l_.scaled(from + "down.bias", scale);
      n.down =
          concat_any(1, {n.down, l_.wide(bias.reshape({bias.numel(), 1}), 0).cast(n.down.dtype())});
    }
    return {pad_to(n.gate, 0, width), pad_to(n.up, 0, width), pad_to(n.down, 1, width)};
  }

  // The router's rows: biases and the shift of all logits are rank-one terms.
  Tensor router() const {
    DType dtype = l_.source.dtype_of(l_.name("mlp.router.weight"));
    Tensor weight = l_.wide(l_.source.raw(l_.name("mlp.router.weight")), 1);
    const RouterSpec& router = l_.source.spec().router;
    if (!folds()) return weight.cast(dtype);
    for (std::string bias : {"mlp.router.bias", "mlp.router.expert_bias"}) {
      bool in_logits = bias == "mlp.router.bias" || router.expert_bias == ExpertBias::logits;
      if (in_logits && l_.has(bias)) {
        weight = l_.fold_bias(weight, l_.source.raw(l_.name(bias)), DType::F64);
      }
    }
    if (router.score != RouterScore::sigmoid && l_.calibration->router_shift != 0.0) {
      Tensor shift = Tensor::fill(DType::F64, {weight.shape()[0]}, -l_.calibration->router_shift);
      weight = l_.fold_bias(weight, shift, DType::F64);
    }
    return weight.cast(dtype);
  }

 private:
  bool folds() const { return l_.calibration != nullptr && !l_.calibration->one.empty(); }

  Tensor input_side(const std::string& part) const {
    std::optional<Tensor> bias;
    if (l_.has(part + ".bias")) bias = l_.source.raw(l_.name(part + ".bias"));
    const std::string name = l_.name(part + ".weight");
    return l_.fold_bias(l_.wide(l_.source.raw(name), 1), bias, l_.source.dtype_of(name));
  }
  Tensor unit_row(double factor, DType dtype) const {
    std::vector<float> row = l_.calibration->one;
    for (float& x : row) x = static_cast<float>(factor * static_cast<double>(x));
    return Tensor::values("(calibration)", row, {1, row.size()}).cast(dtype);
  }

  const StockLayer& l_;
};

}  // namespace

void stock_dense(const StockLayer& layer) {
  Network n = Builder(layer).network("mlp.dense.", layer.plan.dense_width, 1.0);
  layer.put("mlp.gate_proj.weight", n.gate);
  layer.put("mlp.up_proj.weight", n.up);
  layer.put("mlp.down_proj.weight", n.down);
}

void stock_mixture(const StockLayer& layer) {
  const MoeSpec& moe = layer.source.spec().moe;
  const ExpertWidths& widths = layer.plan.widths;
  Builder builder(layer);
  layer.put("mlp.gate.weight", builder.router());
  if (layer.source.spec().router.expert_bias == ExpertBias::selection) {
    layer.put("mlp.gate.e_score_correction_bias", layer.get("mlp.router.expert_bias"));
  } else if (!layer.plan.v2) {
    layer.make_up("mlp.gate.e_score_correction_bias",
                  Tensor::fill(DType::F32, {moe.n_routed_experts}, 0.0));
  }
  std::vector<Tensor> gate, up, down;
  for (std::uint64_t e = 0; e < moe.n_routed_experts; ++e) {
    Network n = builder.network("mlp.experts." + std::to_string(e) + ".",
                                widths.moe_intermediate_size, 1.0);
    gate.push_back(n.gate);
    up.push_back(n.up);
    down.push_back(n.down);
  }
  layer.put("mlp.switch_mlp.gate_proj.weight", stack_any(0, std::move(gate)), moe.n_routed_experts);
  layer.put("mlp.switch_mlp.up_proj.weight", stack_any(0, std::move(up)), moe.n_routed_experts);
  layer.put("mlp.switch_mlp.down_proj.weight", stack_any(0, std::move(down)), moe.n_routed_experts);
  if (moe.shared.intermediate_size == 0) return;
  std::uint64_t width = checked_mul(widths.moe_intermediate_size, widths.n_shared_experts,
                                    "the shared experts' width");
  Network n = builder.network("mlp.shared.", width, moe.shared_scale);
  layer.put("mlp.shared_experts.gate_proj.weight", n.gate);
  layer.put("mlp.shared_experts.up_proj.weight", n.up);
  layer.put("mlp.shared_experts.down_proj.weight", n.down);
}

}  // namespace wb
