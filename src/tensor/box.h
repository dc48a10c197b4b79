// The normal form of views. A tensor is a set of disjoint boxes that together cover
// it; a box is an axis-aligned part of the tensor's index space whose source address
// is affine in the indices, each axis being a mixed-radix counter (so that splitting
// and merging axes, as reshape does, stays inside one box). Every view operation maps
// boxes to boxes; nothing nests. Internal to tensor/ and its readers.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/shape.h"

namespace wb {

struct SubDim {
  std::uint64_t count;
  std::int64_t stride;  // elements of the input; 0 repeats
};
struct BoxAxis {
  std::uint64_t start = 0;   // first index of the box along this axis
  std::vector<SubDim> dims;  // outermost first; empty = extent 1
  std::uint64_t extent() const {
    std::uint64_t n = 1;
    for (const SubDim& d : dims) n *= d.count;
    return n;
  }
};
struct Box {
  std::uint32_t input = 0;  // index into Tensor::inputs()
  std::int64_t base = 0;    // element of the input at the box's first corner
  std::vector<BoxAxis> axes;
};

// A part of a mixed-radix counter: indices [first, first + extent) of it.
struct AxisPart {
  std::uint64_t first;
  std::int64_t base;  // added to the box's base
  std::vector<SubDim> dims;
};
// Indices [lo, hi) of the counter, as at most 2 * dims - 1 parts, in order.
std::vector<AxisPart> cut(const std::vector<SubDim>& dims, std::uint64_t lo, std::uint64_t hi);
// Drops dims of count 1 and joins neighbours that walk on as one.
void normalise(std::vector<SubDim>& dims);

// The boxes of a tensor of shape `from`, re-expressed for shape `to` (same element count).
std::vector<Box> reshape_boxes(const std::vector<Box>& boxes, const Shape& from, const Shape& to);

}  // namespace wb
