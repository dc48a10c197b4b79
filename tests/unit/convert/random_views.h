// Random view expressions over small stored tensors, built twice: as lazy tensors and,
// step by step, as plain arrays. Everything follows from the seed.
#pragma once

#include <algorithm>
#include <random>
#include <string>

#include "dense.h"

namespace wb::test {

struct Both {
  Tensor lazy;
  Dense dense;
};

class RandomViews {
 public:
  explicit RandomViews(unsigned seed) : random_(seed) {}

  std::uint64_t upto(std::uint64_t n) {  // 0..n
    return std::uniform_int_distribution<std::uint64_t>(0, n)(random_);
  }

  // A stored tensor of random bits: row-major, or a transposed or offset window.
  Both leaf(DType dtype, unsigned width, const Shape& shape) {
    Dense d{dtype, width, shape, {}};
    std::uint64_t count = 1, before = upto(5);
    for (std::uint64_t n : shape) count *= n;
    bool reversed = upto(2) == 0;  // strides of the reversed axis order
    std::vector<std::uint64_t> strides(shape.size());
    std::uint64_t step = 1;
    for (std::size_t k = 0; k < shape.size(); ++k) {
      std::size_t a = reversed ? k : shape.size() - 1 - k;
      strides[a] = step;
      step *= shape[a];
    }
    std::vector<std::byte> raw((before + count) * width);
    for (std::byte& b : raw) b = static_cast<std::byte>(upto(255));
    for (std::uint64_t i = 0; i < count; ++i) {
      std::uint64_t address = before, word = 0;
      Index index = index_of(i, shape);
      for (std::size_t a = 0; a < shape.size(); ++a) address += index[a] * strides[a];
      if (dtype == DType::F32) {  // finite, so that casts can be told
        float f = static_cast<float>(static_cast<double>(upto(1u << 30)) / 7.0 - 7e7);
        std::memcpy(&raw[address * width], &f, 4);
      }
      std::memcpy(&word, &raw[address * width], width);
      d.bits.push_back(word);
    }
    return {Tensor::stored("leaf", memory_storage(std::move(raw)), dtype, shape, before, strides),
            std::move(d)};
  }

  Both grow(Both t, int steps) {
    while (steps-- > 0) t = step(std::move(t));
    return t;
  }

  // `shape`'s last axis may be made long, for runs that are written from the source directly.
  Shape shape(std::uint64_t last) {
    Shape s;
    for (std::uint64_t k = upto(2) + 1; k > 0; --k) s.push_back(upto(4) + 1);
    s.push_back(last);
    return s;
  }

 private:
  Both step(Both t) {
    std::size_t rank = t.dense.shape.size();
    std::size_t axis = upto(rank - 1);
    std::uint64_t n = t.dense.shape[axis];
    int a = static_cast<int>(axis);
    switch (upto(5)) {
      case 0: {
        std::vector<int> axes(rank);
        for (std::size_t k = 0; k < rank; ++k) axes[k] = static_cast<int>(k);
        std::shuffle(axes.begin(), axes.end(), random_);
        return {t.lazy.permute(axes), permute(t.dense, axes)};
      }
      case 1: {
        std::uint64_t begin = upto(n - 1), end = begin + 1 + upto(n - begin - 1);
        return {t.lazy.slice(a, begin, end), slice(t.dense, axis, begin, end)};
      }
      case 2: {
        if (t.dense.bits.size() > 30000) return t;
        Shape other = t.dense.shape;
        other[axis] = upto(3) + 1;
        Both more = leaf(t.dense.dtype, t.dense.width, other);
        Tensor parts[] = {t.lazy, more.lazy};
        return {Tensor::concat(a, parts), concat(t.dense, more.dense, axis)};
      }
      case 3: {
        if (t.dense.bits.size() > 30000) return t;
        std::uint64_t before = upto(2), after = upto(2);
        return {t.lazy.pad(a, before, after), pad(t.dense, axis, before, after)};
      }
      case 4: {  // merge an axis with the next, or split it
        Shape to = t.dense.shape;
        if (axis + 1 < rank && upto(1) == 0) {
          to[axis] *= to[axis + 1];
          to.erase(to.begin() + a + 1);
        } else if (n % 2 == 0 && n > 0) {
          to[axis] = 2;
          to.insert(to.begin() + a + 1, n / 2);
        }
        return {t.lazy.reshape(to), reshape(t.dense, to)};
      }
      default:
        if (t.dense.dtype != DType::F32 || upto(3) != 0) return t;
        return {t.lazy.cast(DType::BF16), f32_to_bf16(t.dense)};
    }
  }

  std::mt19937 random_;
};

}  // namespace wb::test
