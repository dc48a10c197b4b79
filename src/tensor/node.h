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

// One step of how a tensor came to be, for `plan` and error messages.
struct Step {
  enum class Kind : std::uint8_t { leaf, view, node };
  std::string text;  // a source name for leaves, else e.g. "slice(1, 0:32)"
  Kind kind = Kind::leaf;
};
struct ViewStep : Step {
  std::vector<std::shared_ptr<const Step>> from;
};

enum class NodeKind : std::uint8_t {
  stored,
  fill,
  cast,
  scale,
  byteswap,
  matmul,
  add,
  times,
  unpack4,
  produced
};

// As a step it is a leaf when it has no inputs; its text is the source name of stored bytes.
struct Node : Step {
  Node(NodeKind k, DType d, std::string words, std::vector<Tensor> of = {}, double v = 0.0)
      : Step{std::move(words), of.empty() ? Kind::leaf : Kind::node},
        op(k),
        dtype(d),
        value(v),
        inputs(std::move(of)) {}
  NodeKind op;
  DType dtype;
  double value;                                        // fill: the constant; scale: the factor
  std::shared_ptr<const Storage> storage = nullptr;    // stored
  std::vector<Tensor> inputs;                          // compute steps
  Shape blocks = {};                                   // times: elements per factor, each axis
  std::shared_ptr<const Producer> producer = nullptr;  // produced
  unsigned output = 0;                                 // produced: which of its outputs
};

inline bool is_leaf(const Node& node) {
  return node.op == NodeKind::stored || node.op == NodeKind::fill;
}

}  // namespace wb
