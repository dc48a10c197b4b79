// Movement: parts of a lazy tensor made straight from the mapped source. A tensor that
// is only views is a list of strided copies; this cuts them at any element range and
// either names the source bytes as they stand (long runs) or gathers them. Owns the
// gather loops; tensors that compute go to a RangeReader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "tensor/read.h"
#include "tensor/tensor.h"

namespace wb {

class TileSource {
 public:
  // Holds a reference to `tensor`, which must outlive the reader. Reads no bytes.
  explicit TileSource(const Tensor& tensor);

  // True when the tensor stands in the source as runs of at least `kLongRun` bytes, or
  // is zero: then for_each_run() is cheaper than gather().
  bool long_runs() const { return long_runs_; }
  // Calls run(destination byte in the tensor, source bytes) for elements [begin, end), in
  // any order; parts that are zero are left out. Only when long_runs().
  void for_each_run(
      std::uint64_t begin, std::uint64_t end,
      const std::function<void(std::uint64_t, std::span<const std::byte>)>& run) const;
  // Elements [begin, end) into `out`, whose size is exactly theirs. Any tensor; thread-safe.
  void gather(std::uint64_t begin, std::uint64_t end, std::span<std::byte> out) const;

  static constexpr std::uint64_t kLongRun = 32 << 10;

 private:
  const Tensor* tensor_;
  bool movement_ = false, long_runs_ = false;
  std::unique_ptr<const RangeReader> reader_;  // unless it is movement
  std::vector<Copy> copies_;                   // by dst_offset
  std::vector<std::vector<std::byte>> fill_;   // per copy: a constant's element, else empty
};

}  // namespace wb
