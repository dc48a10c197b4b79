// The stock target: mlx-lm's deepseek_v3 (or deepseek_v2, where only that computes the model as it
// is), its layers put together by the plan of stock_plan.cpp; and the choice between stock and
// exact. Refuses what the class can neither compute nor come near to.
#include "target/stock.h"

#include <map>
#include <span>

namespace wb {

Tensor StockLayer::scaled(const std::string& canonical, double factor) const {
  if (factor == 1.0) return get(canonical);
  return source.raw(name(canonical))
      .cast(DType::F64)
      .scale(factor)
      .cast(source.dtype_of(name(canonical)));
}

Tensor StockLayer::fold_bias(const Tensor& weight, const std::optional<Tensor>& bias,
                             DType dtype) const {
  if (!bias || calibration == nullptr || calibration->one.empty()) return weight.cast(dtype);
  WB_CHECK(calibration->one.size() == plan.hidden);
  Tensor one = Tensor::values("(calibration)", calibration->one, {1, plan.hidden});
  Tensor term = Tensor::matmul(bias->reshape({bias->numel(), 1}), one, DType::F64);
  return Tensor::add(weight, term, dtype);
}

namespace {

std::vector<Capability> refusals() {
  std::vector<Capability> rows;
  for (const StockRow& row : stock_rows()) {
    if (row.expressible == nullptr) rows.push_back(row.native);
  }
  return rows;
}

// Rows with means, whose means do not reach this model.
std::vector<Capability> out_of_reach(const ModelSpec& spec) {
  std::vector<Capability> rows;
  for (const StockRow& row : stock_rows()) {
    if (row.expressible != nullptr && !row.native.holds(spec) && !row.expressible(spec)) {
      rows.push_back(row.native);
    }
  }
  return rows;
}

std::vector<std::string> means_taken(const ModelSpec& spec) {
  std::vector<std::string> lines;
  for (const StockRow& row : stock_rows()) {
    if (row.native.holds(spec)) continue;
    lines.push_back(std::string(row.native.path) + " = " +
                    field_value(spec, row.native.path).dump() + ": " + std::string(row.means) +
                    (row.exact ? " (exact)" : " (approximate)"));
  }
  return lines;
}

void say_what_calibration_did(std::vector<Loss>& losses) {
  static const std::map<int, std::string_view> sentences = {
      {1, "its mean is folded into the token embeddings, the rest is dropped"},
      {8, "folded into the weights by a direction that reads nearly 1 on calibration text"},
      {9, "sigmoids of lowered logits divided by their sum, nearly that softmax"},
      {10, "folded into the router by a direction that reads nearly 1 on calibration text"},
  };
  for (Loss& loss : losses) {
    if (auto it = sentences.find(loss.number); it != sentences.end()) {
      loss.target_makes = it->second;
    }
  }
}

// Embeddings, norms and head, with the spare dimensions of a calibration where there are any.
struct Outside {
  const Lowering& source;
  const StockPlan& plan;
  std::vector<TargetTensor>& out;

  void embeddings() const {
    const StockCalibration* calibration = source.options().calibration;
    Tensor table = source.get("embed.weight");
    std::uint64_t vocab = table.shape()[0], spare = plan.hidden - source.spec().hidden_size;
    if (calibration != nullptr && !calibration->embedding_shift.empty()) {
      const auto& shift = calibration->embedding_shift;
      WB_CHECK(shift.size() == source.spec().hidden_size);
      auto bytes = std::as_bytes(std::span<const float>(shift));
      const std::uint64_t same_row_for_all[] = {0, 1};  // strides
      Tensor rows = Tensor::stored("(calibration)", memory_storage({bytes.begin(), bytes.end()}),
                                   DType::F32, {vocab, shift.size()}, 0, same_row_for_all);
      table = Tensor::add(source.raw("embed.weight"), rows, table.dtype());
    }
    if (spare > 0) {
      WB_CHECK(calibration != nullptr);  // the plan has spare dimensions by it alone
      Tensor constant = Tensor::fill(table.dtype(), {vocab, 1}, calibration->spare_value);
      table = pad_to(Tensor::concat(1, std::vector<Tensor>{table, constant}), 1, plan.hidden);
    }
    out.push_back({"model.embed_tokens.weight", table, false, true, 1, ""});
  }
  // A block norm's weight; `spare_gain` is its value in the first spare dimension.
  Tensor norm(const std::string& canonical, double spare_gain) const {
    if (plan.hidden == source.spec().hidden_size) return source.get(canonical);
    DType dtype = source.dtype_of(canonical);
    Tensor weight = source.raw(canonical).cast(DType::F64).scale(plan.norm_scale).cast(dtype);
    Tensor gain = Tensor::fill(dtype, {1}, spare_gain);
    return pad_to(Tensor::concat(0, std::vector<Tensor>{weight, gain}), 0, plan.hidden);
  }
  void head() const {
    out.push_back({"model.norm.weight", norm("norm.weight", 0.0), false, true, 1, ""});
    std::string from = source.spec().tie_word_embeddings ? "embed.weight" : "head.weight";
    out.push_back({"lm_head.weight", pad_to(source.get(from), 1, plan.hidden), false, true, 1, ""});
  }
};

}  // namespace

LoweredModel lower_stock(const Lowering& source) {
  const ModelSpec& spec = source.spec();
  if (!is_stock_v2(spec)) {
    std::vector<Capability> needs = refusals(), more = out_of_reach(spec);
    needs.insert(needs.end(), more.begin(), more.end());
    require(spec, needs, "stock");
  }
  StockPlan plan = plan_stock(source);
  LoweredModel lowered;
  lowered.target = "stock";
  lowered.config = stock_config(spec, plan);
  if (!plan.v2) lowered.reasons = means_taken(spec);
  if (plan.v2) {
    lowered.reasons.push_back("the class is deepseek_v2: mlx-lm has it, mlx-swift-lm does not");
  } else if (plan.q_lora_rank == 0) {
    lowered.reasons.push_back("q_lora_rank is null: mlx-lm loads it, mlx-swift-lm does not");
  }
  Outside outside{source, plan, lowered.tensors};
  outside.embeddings();
  for (std::uint64_t l = 0; l < spec.num_hidden_layers; ++l) {
    std::string n = std::to_string(l);
    const StockCalibration* calibration = source.options().calibration;
    StockLayer layer{source,
                     plan,
                     calibration != nullptr ? &calibration->layers.at(l) : nullptr,
                     "layers." + n + ".",
                     "model.layers." + n + ".",
                     lowered.tensors};
    double spare_gain = calibration != nullptr ? calibration->layers[l].spare_gain : 0.0;
    layer.put("input_layernorm.weight", outside.norm(layer.name("attn_norm.weight"), 0.0));
    layer.put("post_attention_layernorm.weight",
              outside.norm(layer.name("mlp_norm.weight"), spare_gain));
    stock_attention(layer);
    spec.is_moe(l) ? stock_mixture(layer) : stock_dense(layer);
  }
  outside.head();
  lowered.extra = mtp_tensors(source);
  if (!plan.v2) lowered.losses = losses_of(source, stock_losses());
  if (source.options().calibration != nullptr) say_what_calibration_did(lowered.losses);
  mark_lossy(lowered.losses, lowered.tensors);
  fill_account(source, lowered);
  return lowered;
}

LoweredModel lower_automatic(const Lowering& source) {
  std::vector<std::string> lines = differences(source.spec(), stock_natives());
  if (is_stock_v2(source.spec())) lines.clear();
  LoweredModel lowered = lines.empty() ? lower_stock(source) : lower_exact(source);
  std::string verdict = lines.empty()
                            ? "stock: the class computes every field of this model as it is"
                            : "exact: the stock class does not compute this model as it is";
  lowered.reasons.insert(lowered.reasons.begin(), verdict);
  lowered.reasons.insert(lowered.reasons.end(), lines.begin(), lines.end());
  return lowered;
}

}  // namespace wb
