// What mlx-lm's deepseek_v2 computes, as rows like those of deepseek_v3 (stock_rows.cpp):
// attention and networks are the same, the router is another, and rope is always YaRN. A model
// that needs any means to fit is v3's or the exact class's affair.
#include <algorithm>

#include "target/stock.h"

namespace wb {

namespace {

std::vector<Capability> own_rows() {
  return {
      {"moe.n_routed_experts", [](const ModelSpec& s) { return s.moe.n_routed_experts > 0; },
       "a model without mixtures is deepseek_v3's as well"},
      {"router.score", [](const ModelSpec& s) { return s.router.score == RouterScore::softmax; },
       "the class's routing weights are a softmax over all experts"},
      {"router.expert_bias",
       [](const ModelSpec& s) { return s.router.expert_bias == ExpertBias::none; },
       "the class has no balancing bias"},
      {"router.norm_topk_prob", [](const ModelSpec& s) { return !s.router.norm_topk_prob; },
       "the class does not divide by the sum of the chosen weights"},
      {"router.n_group",
       [](const ModelSpec& s) {
         return s.router.n_group <= 1 ||
                (s.router.group_score == GroupScore::max && s.router.group_mask == GroupMask::zero);
       },
       "the class scores a group by its best expert and masks with zero"},
      {"rope.scaling", [](const ModelSpec& s) { return s.rope.scaling == RopeScaling::yarn; },
       "the class's rope is YaRN"},
  };
}

}  // namespace

const std::vector<Capability>& stock_v2_capabilities() {
  static const std::vector<Capability> rows = [] {
    std::vector<Capability> all = own_rows();
    const std::size_t own = all.size();
    for (const StockRow& row : stock_rows()) {
      const bool replaced =
          std::any_of(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(own),
                      [&](const Capability& c) { return c.path == row.native.path; });
      if (!replaced) all.push_back(row.native);
    }
    return all;
  }();
  return rows;
}

bool is_stock_v2(const ModelSpec& spec) {
  return !differences(spec, stock_natives()).empty() &&
         differences(spec, stock_v2_capabilities()).empty();
}

void to_v2_config(const ModelSpec& spec, nlohmann::ordered_json& config) {
  const bool groups = spec.router.n_group > 1;
  config["model_type"] = "deepseek_v2";
  config["topk_method"] = groups ? "group_limited_greedy" : "greedy";
  config["scoring_func"] = "softmax";
  config["norm_topk_prob"] = false;
}

}  // namespace wb
