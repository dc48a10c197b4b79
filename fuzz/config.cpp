// Any text as config.json: a model that is understood passes its own checks, is the same after a
// way through JSON and through the exact class's config, and calls for tensors of shapes that can
// be counted.
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "input.h"
#include "model/canonical.h"
#include "model/exact_class.h"
#include "model/mlx_config.h"

namespace {

void check_spec(const wb::ModelSpec& spec) {
  wb::validate(spec);
  WB_CHECK(wb::compare(wb::spec_from_json(wb::to_json(spec)), spec).empty());
  const nlohmann::json config = wb::exact_config(spec);
  // Through its text, as it is written.
  WB_CHECK(
      wb::compare(wb::spec_from_exact_config(nlohmann::json::parse(config.dump())), spec).empty());
  if (spec.num_hidden_layers > 8 || spec.moe.n_routed_experts > 64 ||
      spec.num_nextn_predict_layers > 8) {
    return;
  }
  for (const wb::CanonicalTensor& t : wb::canonical_tensors(spec)) {
    for (std::uint64_t d : t.shape) WB_CHECK(d > 0);
    WB_CHECK(t.row < wb::canonical_table().size() &&
             wb::is_canonical_pattern(wb::canonical_table()[t.row].pattern));
  }
}

template <class Read>
void check(const Read& read) {
  wb::ModelSpec spec;
  try {
    spec = read();
  } catch (const wb::Error& error) {
    WB_CHECK(!error.sentence().empty() && !error.advice().empty());
    return;
  }
  check_spec(spec);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const nlohmann::json config =
      nlohmann::json::parse(wb::fuzz::text_of(data, size), nullptr, false);
  if (!config.is_object()) return 0;
  for (const auto reader : {wb::MlxReader::mlx_lm, wb::MlxReader::swift}) {
    check([&] { return wb::spec_from_stock_config(config, reader); });
  }
  check([&] { return wb::spec_from_exact_config(config); });
  check([&] { return wb::spec_from_json(config); });
  return 0;
}
