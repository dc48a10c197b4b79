// Reading lazy tensors: the plain way, any range of any tensor into memory.
// Correct for every expression; the executor (convert/) takes shortcuts for plain
// movement and is tested against this.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace wb {

// Elements [begin, end) in row-major order, in the tensor's dtype, into `out`
// (exactly (end - begin) * item size bytes). Thread-safe.
void read_range(const Tensor& tensor, std::uint64_t begin, std::uint64_t end,
                std::span<std::byte> out);
// The whole tensor; for small ones and tests.
std::vector<std::byte> read_all(const Tensor& tensor);
// The whole tensor widened (or rounded, from F64 and integers) to f32.
std::vector<float> read_f32(const Tensor& tensor);

class PreparedCopies;

// Many ranges of one tensor, as read_range(): what has to be found out of its boxes is found once.
// Keeps the tensor. Thread-safe.
class RangeReader {
 public:
  explicit RangeReader(Tensor tensor);
  ~RangeReader();
  RangeReader(const RangeReader&) = delete;
  RangeReader& operator=(const RangeReader&) = delete;
  void read(std::uint64_t begin, std::uint64_t end, std::span<std::byte> out) const;

 private:
  Tensor tensor_;
  std::unique_ptr<const PreparedCopies> copies_;
};

// A movement tensor as strided copies: for each, `dims` from outermost to
// innermost, adjacent dims merged where both sides allow it.
struct CopyDim {
  std::uint64_t count;
  std::int64_t src_stride;  // elements; 0 for a repeated or constant source
  std::int64_t dst_stride;  // elements of the row-major output
};
struct Copy {
  const Node* source;        // stored or fill
  std::int64_t src_offset;   // elements
  std::uint64_t dst_offset;  // elements
  std::vector<CopyDim> dims;
};
// Only for is_movement() tensors; together the copies write every element once.
std::vector<Copy> movement(const Tensor& tensor);

}  // namespace wb
