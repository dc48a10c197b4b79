// See instruction_set.h.
#include "tensor/instruction_set.h"

#include <hwy/highway.h>
#include <hwy/targets.h>

#include <cstdint>
#include <string>

#include "base/error.h"

namespace wb {

void limit_instruction_set(std::string_view name) {
  std::string known;
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    if (name == hwy::TargetName(target)) {
      hwy::DisableTargets(target - 1);  // better sets have lower bits
      return;
    }
    known += (known.empty() ? "" : ", ") + std::string(hwy::TargetName(target));
  }
  throw Error(Code::usage, "the instruction set is none of this processor and this build")
      .expected("one of " + known)
      .actual(std::string(name))
      .advice("Set WEIGHTBRIDGE_SIMD to one of these, or do not set it: the best is used then.");
}

}  // namespace wb
