// The limits of an opening by name; see checkpoint.h.
#include <array>

#include "checkpoint/checkpoint.h"

namespace wb {

std::span<const LimitRow> limit_rows() {
  using O = OpenOptions;
  static constexpr std::array<LimitRow, 8> rows = {{
      {"pickle-bytes", "bytes of a pickle", &O::max_pickle_bytes},
      {"pickle-objects", "objects that a pickle makes", &O::max_pickle_objects},
      {"pickle-memo", "entries of a pickle's memo", &O::max_pickle_memo},
      {"pickle-stack", "objects open at once in a pickle", &O::max_pickle_stack},
      {"tensors", "tensors of a checkpoint", &O::max_tensors},
      {"header-bytes", "bytes of a safetensors header or index", &O::max_header_bytes},
      {"total-bytes", "bytes of all tensors together", &O::max_total_bytes},
      {"inflated-bytes", "bytes of all compressed records, inflated", &O::max_inflated_bytes},
  }};
  return rows;
}

std::string raise_limit(std::string_view name) {
  return "If you trust the file and it really needs more, raise the limit: --limit " +
         std::string(name) + "=VALUE.";
}

}  // namespace wb
