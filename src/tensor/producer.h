// A compute step with several outputs that are made from the same input in one go (a quantised
// weight, its scales and its biases), defined outside of tensor/. Each output is a tensor that
// can be read alone; who writes all of them makes them together (whole_output()).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace wb {

class Producer {
 public:
  virtual ~Producer() = default;
  // The outputs advance together: one unit is per_unit(o) elements of output o.
  virtual std::uint64_t units() const = 0;
  virtual unsigned outputs() const = 0;
  virtual std::uint64_t per_unit(unsigned output) const = 0;
  virtual DType dtype(unsigned output) const = 0;
  // Units [begin, end) of every output whose pointer is not null. Thread-safe.
  virtual void make(std::uint64_t begin, std::uint64_t end,
                    std::span<std::byte* const> out) const = 0;

  std::uint64_t bytes_per_unit(unsigned output) const {
    return per_unit(output) * item_size(dtype(output));
  }
};

// Output `output` as a tensor of `shape` (units() * per_unit(output) elements). `inputs` are
// what it is made of, `text` the step's name for plans.
Tensor produced(std::shared_ptr<const Producer> producer, unsigned output, Shape shape,
                std::vector<Tensor> inputs, const std::string& text);

// Set when the tensor is the whole of one output, in its order: which.
struct WholeOutput {
  const Producer* producer = nullptr;
  unsigned output = 0;
};
WholeOutput whole_output(const Tensor& tensor);

}  // namespace wb
