// The other evaluator: view expressions carried out at once, element by element, on
// plain arrays. Shares nothing with tensor/ but the element types, so that what the
// executor writes can be held against it.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "tensor/tensor.h"

namespace wb::test {

struct Dense {
  DType dtype = DType::F32;
  unsigned width = 4;  // bytes per element
  Shape shape;
  std::vector<std::uint64_t> bits;  // row-major, one word per element

  std::vector<std::byte> bytes() const {
    std::vector<std::byte> out(bits.size() * width);
    for (std::size_t i = 0; i < bits.size(); ++i) std::memcpy(&out[i * width], &bits[i], width);
    return out;
  }
};

inline std::vector<std::uint64_t> index_of(std::uint64_t flat, const Shape& shape) {
  std::vector<std::uint64_t> index(shape.size());
  for (std::size_t a = shape.size(); a-- > 0;) {
    index[a] = flat % shape[a];
    flat /= shape[a];
  }
  return index;
}
inline std::uint64_t flat_of(const std::vector<std::uint64_t>& index, const Shape& shape) {
  std::uint64_t flat = 0;
  for (std::size_t a = 0; a < shape.size(); ++a) flat = flat * shape[a] + index[a];
  return flat;
}

using Index = std::vector<std::uint64_t>;
// A new array of `shape` whose element at an index is at(index).
inline Dense make(const Dense& like, const Shape& shape,
                  const std::function<std::uint64_t(const Index&)>& at) {
  Dense out{like.dtype, like.width, shape, {}};
  std::uint64_t count = 1;
  for (std::uint64_t d : shape) count *= d;
  for (std::uint64_t i = 0; i < count; ++i) out.bits.push_back(at(index_of(i, shape)));
  return out;
}
inline std::uint64_t at(const Dense& d, const Index& index) {
  return d.bits[flat_of(index, d.shape)];
}

inline Dense permute(const Dense& d, const std::vector<int>& axes) {
  Shape shape;
  for (int a : axes) shape.push_back(d.shape[static_cast<std::size_t>(a)]);
  return make(d, shape, [&](const Index& i) {
    Index from(i.size());
    for (std::size_t k = 0; k < i.size(); ++k) from[static_cast<std::size_t>(axes[k])] = i[k];
    return at(d, from);
  });
}
inline Dense slice(const Dense& d, std::size_t axis, std::uint64_t begin, std::uint64_t end) {
  Shape shape = d.shape;
  shape[axis] = end - begin;
  return make(d, shape, [&](Index i) {
    i[axis] += begin;
    return at(d, i);
  });
}
inline Dense concat(const Dense& a, const Dense& b, std::size_t axis) {
  Shape shape = a.shape;
  shape[axis] += b.shape[axis];
  return make(a, shape, [&](Index i) {
    if (i[axis] < a.shape[axis]) return at(a, i);
    i[axis] -= a.shape[axis];
    return at(b, i);
  });
}
inline Dense pad(const Dense& d, std::size_t axis, std::uint64_t before, std::uint64_t after) {
  Shape shape = d.shape;
  shape[axis] += before + after;
  return make(d, shape, [&](Index i) -> std::uint64_t {
    if (i[axis] < before || i[axis] >= before + d.shape[axis]) return 0;
    i[axis] -= before;
    return at(d, i);
  });
}
inline Dense reshape(Dense d, const Shape& shape) {
  d.shape = shape;
  return d;
}
// f32 to bf16: of the two neighbours the nearer one, by distance in double; ties to even.
inline Dense f32_to_bf16(const Dense& d) {
  auto value = [](std::uint64_t high) {
    auto word = static_cast<std::uint32_t>(high << 16);
    float f = 0;
    std::memcpy(&f, &word, 4);
    return static_cast<double>(f);
  };
  Dense out = make(d, d.shape, [&](const Index& i) {
    auto word = static_cast<std::uint32_t>(at(d, i));
    float f = 0;
    std::memcpy(&f, &word, 4);
    std::uint64_t low = word >> 16, high = low + 1;
    double down = std::abs(value(low) - static_cast<double>(f));
    double up = std::abs(value(high) - static_cast<double>(f));
    if (down == up) return low % 2 == 0 ? low : high;
    return down < up ? low : high;
  });
  out.dtype = DType::BF16;
  out.width = 2;
  return out;
}

}  // namespace wb::test
