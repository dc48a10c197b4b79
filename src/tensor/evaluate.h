// Elements of compute nodes, made when they are asked for. Internal to tensor/: readers come
// through read.h, which sees to views.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/node.h"

namespace wb {

// Elements [begin, end) of a node that is no leaf, row-major, in its dtype. Thread-safe; scratch
// memory is a few tiles, whatever the range.
void read_node(const Node& node, std::uint64_t begin, std::uint64_t end, std::byte* out);

}  // namespace wb
