// What `weightbridge verify` was asked and what it found: between the command, which runs both
// sides (verify.cpp), and how it is said in text, JSON and the report (verify_output.cpp).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/model.h"
#include "cli/output.h"
#include "verify/judge.h"
#include "verify/tensors.h"
#include "verify/verify.h"

namespace wb::cli {

struct VerifyFlags {
  SourceFlags source;
  std::string folder, text, tokens, tokenizer, reference, report, as = "mlx-lm";
  Thresholds thresholds;
  std::uint64_t window = 0, max_windows = 0;
  unsigned threads = 0;
};

// What a run of verify found.
struct VerifyFindings {
  LoadedModel source, folder;
  std::string text_name;  // what was read, in words
  std::vector<std::string> remarks;
  std::optional<ModelComparison> comparison;
  std::optional<ReferenceComparison> reference;
  TensorComparison tensors;
  std::vector<Check> checks;
  bool faithful = false;
};

// The page with pictures, into flags.report. Throws Code::file_write.
void write_report(const VerifyFlags& flags, const VerifyFindings& found);
std::string verify_text(const VerifyFlags& flags, const VerifyFindings& found);
Json verify_document(const VerifyFlags& flags, const VerifyFindings& found);

}  // namespace wb::cli
