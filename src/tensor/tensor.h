// Lazy tensors: what the plan is made of. A Tensor is a value (dtype, shape, and
// an immutable expression); making one reads no tensor byte. Two kinds of step:
//
//   views    reshape, permute, slice, concat, stack, pad. However deep they nest,
//            the result is one flat list of boxes, each an axis-aligned part of
//            the tensor that is an affine walk over one input (see box.h). They
//            move bits and never change them.
//   compute  cast, scale, matmul, ...: a new node whose inputs are tensors, whose
//            elements are made range by range when they are read (read.h).
//
// All of it is checked when it is built: a wrong axis or a shape that does not fit
// throws Code::shape_mismatch that says which step and what shapes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/shape.h"
#include "tensor/storage.h"

namespace wb {

struct Box;   // box.h
struct Node;  // node.h: a leaf (stored bytes, a constant) or a compute step
struct Step;  // node.h: one step of how a tensor came to be, in words

class Tensor {
 public:
  Tensor() = default;  // empty; only to be assigned to

  // A strided window over `storage`, as checkpoints describe one. `offset` and
  // `strides` in elements, strides >= 0. Throws Code::pickle_tensor-free geometry
  // errors as Code::shape_mismatch when an element would lie outside the storage.
  // `name` is the source name that plans and accounts show.
  static Tensor stored(std::string name, std::shared_ptr<const Storage> storage, DType dtype,
                       Shape shape, std::uint64_t offset, std::span<const std::uint64_t> strides);
  // Row-major over the whole of `storage`.
  static Tensor stored(std::string name, std::shared_ptr<const Storage> storage, DType dtype,
                       Shape shape);
  // Every element `value`, rounded to dtype. Takes no memory.
  static Tensor fill(DType dtype, Shape shape, double value);
  // f32 values given in memory (small: norms, frequencies).
  static Tensor values(std::string name, std::span<const float> data, Shape shape);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::uint64_t numel() const { return wb::numel(shape_); }
  std::uint64_t nbytes() const { return byte_size(dtype_, numel()); }

  // --- views ---
  Tensor reshape(Shape shape) const;
  Tensor permute(std::span<const int> axes) const;  // result axis i is axes[i]
  Tensor transpose() const;                         // rank 2 only
  Tensor slice(int axis, std::uint64_t begin, std::uint64_t end) const;
  static Tensor concat(int axis, std::span<const Tensor> parts);
  static Tensor stack(int axis, std::span<const Tensor> parts);           // a new axis
  Tensor pad(int axis, std::uint64_t before, std::uint64_t after) const;  // with zeros

  // --- compute ---
  // To a floating dtype, round to nearest even; from any float, bool or integer.
  Tensor cast(DType dtype) const;
  // Elementwise x * factor in f64, rounded once to the dtype. Floats only.
  Tensor scale(double factor) const;
  // Bytes of each scalar reversed (big-endian sources).
  Tensor byteswap() const;
  // [m, k] x [k, n] -> [m, n] of `dtype`: products and sums in f64, rounded once.
  static Tensor matmul(const Tensor& a, const Tensor& b, DType dtype);
  // Elementwise sum of one shape: in f64, rounded once to `dtype`.
  static Tensor add(const Tensor& a, const Tensor& b, DType dtype);
  // Each element of `a` times the factor of its block: element (i, j, ...) by factors
  // (i / blocks[0], j / blocks[1], ...). One rank; the grid of factors may be larger than
  // needed. From a type of 8 bits the product is of f32 (as MLX and PyTorch dequantise), else
  // of f64; rounded once to `dtype`. NaN codes of F8 stay NaN, as PyTorch reads them.
  static Tensor times(const Tensor& a, const Tensor& factors, Shape blocks, DType dtype);
  // 32-bit words [..., n] as eight 4-bit numbers each, lowest bits first, 8 taken off: I8
  // [..., 8 n] (compressed-tensors' pack-quantized).
  Tensor unpack4() const;

  // --- what it is made of ---
  // True when only views lie between the tensor and stored bytes or constants.
  bool is_movement() const;
  // Names of the stored leaves, sorted, each once.
  std::vector<std::string> sources() const;
  // The steps in words, e.g. "concat(0; kv_proj, k_rope_proj.slice(0, 0:32))".
  std::string describe() const;
  // The same elements, described as `text` (a leaf in describe(); sources() is unchanged).
  Tensor named(std::string text) const;

  // Calls visit(name) for each of them, the same one perhaps several times, in no order.
  template <class Visit>
  void each_source(const Visit& visit) const {
    for (const std::string* name : source_names()) visit(*name);
  }

  std::shared_ptr<const Step> origin() const;
  std::span<const std::shared_ptr<const Node>> inputs() const;
  std::vector<Box> boxes() const;
  // The tensor is its one input, row-major: boxes() would say nothing more.
  bool is_whole() const { return view_ == nullptr; }

  // For node.h: a tensor that is the whole of one node, row-major.
  static Tensor of_node(std::shared_ptr<const Node> node, DType dtype, Shape shape);

 private:
  // What a tensor is made of when it is not the whole of one node. Most are (a model of 92,000
  // tensors has a few for each), so that this stands apart.
  struct View;
  Tensor(DType dtype, Shape shape, View view);
  // The same elements under another shape, by boxes, as `step`.
  Tensor viewed(Shape shape, std::vector<Box> boxes, std::shared_ptr<const Step> step) const;
  std::vector<const std::string*> source_names() const;
  DType dtype_ = DType::F32;
  Shape shape_;
  std::shared_ptr<const Node> node_;  // the whole of it; null when there is a view
  std::shared_ptr<const View> view_;
};

}  // namespace wb
