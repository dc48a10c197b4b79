// A file of --quant-rules: TOML from a stranger to rules of a plan. Owns its grammar and the
// sentences that say what is wrong with it, and where; knows nothing of flags.
#pragma once

#include <string>
#include <vector>

#include "target/quantize.h"

namespace wb::cli {

// In the file's order. `base` is what a rule's table starts from; `file` names it in messages.
// Throws Code::config_invalid with line and column.
std::vector<QuantRule> parse_quant_rules(const std::string& toml, const std::string& file,
                                         const QuantFormat& base);

}  // namespace wb::cli
