// A weight of the model as the engine multiplies with it: the bytes where they lie in the mapped
// file when the canonical tensor is made of whole stored rows (plain or packed codes), a copy in
// memory when it is not (computed tensors, transposed ones). Owns copies, row tables and the
// mapping's lifetime. Refuses nothing: canonical.h has checked the shapes.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "model/canonical.h"
#include "ops/packed.h"

namespace wb::engine {

struct Matrix {
  ops::PackedMatrix packed;  // out 0: no such matrix
  bool mapped = false;       // false: `copy` holds the values

  std::vector<std::byte> copy;
  std::vector<std::uint32_t> rows;
  std::vector<float> bias;
  std::vector<std::shared_ptr<const Storage>> storages;

  Matrix() = default;
  Matrix(Matrix&&) = default;  // `packed` points into the vectors: it moves, it is not copied
  Matrix& operator=(Matrix&&) = default;
  std::size_t out() const { return packed.out; }
  std::size_t in() const { return packed.in; }
};

// `weight` as [numel / in, in]; `bias`, when not null, as [out].
Matrix make_matrix(const Tensor& weight, std::size_t in, const Tensor* bias);

}  // namespace wb::engine
