// report.html: one self-contained page (inline SVG and CSS, no script, no network),
// for screen, phone and paper, light and dark. Owns the look; measures nothing.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "model/canonical.h"
#include "verify/judge.h"
#include "verify/verify.h"

namespace wb {

struct ReportLoss {
  int number;
  std::string source_computes, target_makes;
  std::vector<std::string> tensors;
};

struct ReportInput {
  std::string source, folder, target, recipe, version;
  std::string text_name;  // what was read; empty when tokens were given
  std::vector<Check> checks;
  const ModelComparison* comparison = nullptr;
  const ReferenceComparison* reference = nullptr;  // may be null
  const TensorComparison* tensors = nullptr;       // may be null
  std::vector<AccountLine> account;                // may be empty
  std::map<std::string, TensorOutcome> arrived;    // source tensors by name; may be empty
  std::vector<ReportLoss> losses;
  std::function<std::string(std::uint32_t)> token_text;  // null: ids are shown
};
std::string report_html(const ReportInput& input);

}  // namespace wb
