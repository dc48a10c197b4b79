// The nodes that boxes point into: stored bytes, constants, and compute steps. A
// node is a flat row of elements of one dtype; compute nodes are evaluated range by
// range (read.cpp). Internal to tensor/ and its readers.
#pragma once

#include <string>
#include <vector>

#include "tensor/box.h"
#include "tensor/producer.h"
#include "tensor/tensor.h"

namespace wb {

enum class NodeKind { stored, fill, cast, scale, byteswap, matmul, add, times, unpack4, produced };

struct Node {
  NodeKind kind;
  DType dtype;
  std::string name;                                    // stored: the source name
  std::shared_ptr<const Storage> storage;              // stored
  double value = 0.0;                                  // fill: the constant; scale: the factor
  std::vector<Tensor> inputs;                          // compute steps
  Shape blocks = {};                                   // times: elements per factor, each axis
  std::shared_ptr<const Producer> producer = nullptr;  // produced
  unsigned output = 0;                                 // produced: which of its outputs
};

inline bool is_leaf(const Node& node) {
  return node.kind == NodeKind::stored || node.kind == NodeKind::fill;
}

}  // namespace wb
