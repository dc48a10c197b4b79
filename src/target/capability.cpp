// Evaluation of capability tables; the tables stand beside their targets.
#include "target/capability.h"

namespace wb {

std::vector<std::string> differences(const ModelSpec& spec, const std::vector<Capability>& rows) {
  std::vector<std::string> out;
  for (const Capability& row : rows) {
    if (row.holds(spec)) continue;
    out.push_back(std::string(row.path) + " = " + field_value(spec, row.path).dump() + ": " +
                  std::string(row.reason));
  }
  return out;
}

void require(const ModelSpec& spec, const std::vector<Capability>& rows, std::string_view target) {
  std::vector<std::string> missing = differences(spec, rows);
  if (missing.empty()) return;
  std::string list;
  for (const std::string& line : missing) list += (list.empty() ? "" : "; ") + line;
  throw Error(Code::target_inexpressible,
              "the target " + std::string(target) + " has no place for this model: " + list)
      .advice("Convert with --target exact, which computes what the source computes.");
}

}  // namespace wb
