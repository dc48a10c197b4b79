// Expert widths of a stock mixture. The class has one width m for routed experts and
// makes the shared network m * s wide, so one of them is padded unless they divide.
#include <algorithm>

#include "target/target.h"

namespace wb {

ExpertWidths smart_expert_widths(std::uint64_t routed, std::uint64_t shared,
                                 std::uint64_t n_routed_experts) {
  if (shared == 0) return {routed, 0};
  std::uint64_t narrowest = std::max<std::uint64_t>(routed, 1);
  ExpertWidths best{0, 0};
  std::uint64_t best_padding = kMaxSize;
  // For each count s the narrowest m is the best one, and for each m the smallest s: only
  // the counts at which ceil(shared / s) changes are tried, until m cannot shrink further.
  for (std::uint64_t s = 1;;) {
    std::uint64_t m = std::max(narrowest, (shared - 1) / s + 1);
    // Hidden units of padding; each costs the same number of elements wherever it is.
    std::uint64_t padding =
        checked_add(checked_mul(m - routed, n_routed_experts, "expert padding"),
                    checked_mul(m, s, "the shared width") - shared, "expert padding");
    if (padding < best_padding) {
      best = {m, s};
      best_padding = padding;
    }
    if (m == narrowest) return best;
    s = (shared - 1) / (m - 1) + 1;
  }
}

}  // namespace wb
