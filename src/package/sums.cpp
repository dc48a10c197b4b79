// See sums.h.
#include "package/sums.h"

#include <fmt/format.h>

#include "base/progress.h"
#include "convert/layout.h"

namespace wb {

using Json = nlohmann::ordered_json;

Sums sums_of(const LoweredModel& model) {
  Sums sums;
  sums.source_entries = model.account.size();
  sums.tensors = model.tensors.size();
  sums.parameters = count_parameters(model);
  for (const TargetTensor& t : model.tensors) {
    (t.made_up ? sums.made_up : sums.mapped) += t.entries;
    sums.bytes += t.tensor.nbytes();
    if (!t.exact) ++sums.lossy;
  }
  if (sums.source_entries > 0) {
    sums.percent =
        100.0 * static_cast<double>(sums.mapped) / static_cast<double>(sums.source_entries);
  }
  return sums;
}

std::string sums_text(const Sums& sums) {
  return fmt::format("{} mapped, {:.1f} %, {} made up, {}", sums.mapped, sums.percent, sums.made_up,
                     human_bytes(sums.bytes));
}

Json sums_json(const Sums& sums) {
  return Json{{"source_entries", sums.source_entries},
              {"mapped", sums.mapped},
              {"percent", sums.percent},
              {"made_up", sums.made_up},
              {"tensors", sums.tensors},
              {"lossy_tensors", sums.lossy},
              {"tensor_bytes", sums.bytes},
              {"parameters", sums.parameters}};
}

Json losses_json(const LoweredModel& model) {
  Json out = Json::array();
  for (const Loss& loss : model.losses) {
    out.push_back({{"number", loss.number},
                   {"source_computes", loss.source_computes},
                   {"target_makes", loss.target_makes},
                   {"tensors", loss.tensors}});
  }
  return out;
}

Json settings_json(const CanonicalModel& model) {
  Json out = Json::array();
  for (const SettingUsed& s : model.settings) {
    out.push_back({{"key", s.key}, {"value", s.value}, {"origin", s.origin}, {"help", s.help}});
  }
  return out;
}

Json dims_json(const CanonicalModel& model) {
  Json out = Json::object();
  for (const auto& [key, value] : model.dims) out[key] = value;
  return out;
}

}  // namespace wb
