// The JSON forms of comparisons; see verify.h. Names are those of the fields.
#include "verify/verify.h"

namespace wb {

namespace {
using Json = nlohmann::ordered_json;

Json layer_json(const HiddenStats& hidden) {
  return Json{{"max_abs", hidden.max_abs}, {"relative", hidden.relative}};
}
Json optional_layer(const std::optional<std::size_t>& layer) {
  return layer ? Json(*layer) : Json(nullptr);
}
}  // namespace

Json to_json(const LogitStats& s) {
  return Json{{"positions", s.positions},
              {"max_abs", s.max_abs},
              {"mean_kl", s.mean_kl},
              {"max_kl", s.max_kl},
              {"top1", s.top1},
              {"top5", s.top5},
              {"rms", s.rms}};
}

Json to_json(const LossStats& s) {
  return Json{{"predictions", s.predictions},
              {"mean_nll", s.mean_nll},
              {"standard_error", s.standard_error},
              {"perplexity", s.perplexity()},
              {"perplexity_error", s.perplexity_error()}};
}

Json to_json(const ModelComparison& c) {
  Json layers = Json::array();
  for (const LayerComparison& layer : c.layers) {
    Json row = layer_json(layer.hidden);
    row["tolerance"] = layer.tolerance;
    if (layer.router.tokens > 0) {
      row["router"] = {{"agreement", layer.router.agreement},
                       {"same_choice", layer.router.same_choice},
                       {"weight_error", layer.router.weight_error}};
    }
    layers.push_back(row);
  }
  return Json{
      {"windows", c.windows},
      {"window", c.window},
      {"logits", to_json(c.logits)},
      {"source", to_json(c.source)},
      {"output", to_json(c.output)},
      {"difference",
       {{"mean_nll", c.difference.mean_nll}, {"standard_error", c.difference.standard_error}}},
      {"layers", layers},
      {"final_hidden", layer_json(c.final_hidden)},
      {"parts_at", optional_layer(c.parts_at)},
      {"tolerances",
       {{"logits_max_abs", c.tolerances.logits_max_abs}, {"mean_kl", c.tolerances.mean_kl}}}};
}

Json to_json(const ReferenceComparison& c) {
  Json hidden = Json::array(), mtp = Json::array();
  for (const HiddenStats& h : c.hidden) hidden.push_back(layer_json(h));
  for (std::size_t m = 0; m < c.mtp_hidden.size(); ++m) {
    mtp.push_back({{"hidden", layer_json(c.mtp_hidden[m])}, {"logits", to_json(c.mtp_logits[m])}});
  }
  return Json{{"sequences", c.sequences},
              {"logits", to_json(c.logits)},
              {"hidden", hidden},
              {"final_hidden", c.final_hidden ? layer_json(*c.final_hidden) : Json(nullptr)},
              {"mtp", mtp},
              {"parts_at", optional_layer(c.parts_at)},
              {"tolerances", {{"logits_max_abs", c.tolerances.logits_max_abs}}},
              {"agrees", c.agrees()}};
}

}  // namespace wb
