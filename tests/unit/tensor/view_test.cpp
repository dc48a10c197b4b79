// Views against the plainest possible evaluator: an array of indices moved element
// by element. Random chains of views, then every range of the result is read.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <random>

#include "base/error.h"
#include "tensor/read.h"
#include "tensor/tensor.h"
#include "unit/error_of.h"

namespace wb {
namespace {

// A dense row-major array, moved by the definition of each operation.
struct Plain {
  Shape shape;
  std::vector<std::int32_t> data;

  std::size_t at(const Shape& index) const {
    std::size_t k = 0;
    for (std::size_t a = 0; a < shape.size(); ++a) k = k * shape[a] + index[a];
    return k;
  }
  template <class Source>
  static Plain make(Shape shape, Source source) {
    Plain out{shape, {}};
    Shape index(shape.size(), 0);
    for (std::uint64_t n = numel(shape); n > 0; --n) {
      out.data.push_back(source(index));
      for (std::size_t a = shape.size(); a-- > 0;) {
        if (++index[a] < shape[a]) break;
        index[a] = 0;
      }
    }
    return out;
  }
};

struct Both {
  Tensor lazy;
  Plain plain;
};

class Chain {
 public:
  explicit Chain(unsigned seed) : random_(seed) {}

  std::uint64_t pick(std::uint64_t lo, std::uint64_t hi) {
    return std::uniform_int_distribution<std::uint64_t>(lo, hi)(random_);
  }

  Both leaf() {
    Shape shape;
    for (std::uint64_t r = pick(1, 4); r > 0; --r) shape.push_back(pick(1, 6));
    return leaf(shape);
  }
  // A strided window over a storage of its own, as checkpoints have them.
  Both leaf(const Shape& shape) {
    std::vector<std::uint64_t> strides(shape.size());
    std::vector<std::size_t> order(shape.size());
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random_);
    std::uint64_t step = 1;
    for (std::size_t a : order) {
      strides[a] = pick(0, 9) == 0 ? 0 : step * pick(1, 2);
      step = std::max<std::uint64_t>(step, strides[a] * shape[a]);
    }
    std::uint64_t offset = pick(0, 3), last = offset;
    for (std::size_t a = 0; a < shape.size(); ++a) last += (shape[a] - 1) * strides[a];
    std::vector<std::int32_t> memory(last + 1);
    for (auto& v : memory) v = next_++;
    std::vector<std::byte> bytes(memory.size() * 4);
    std::memcpy(bytes.data(), memory.data(), bytes.size());
    Both both;
    both.lazy = Tensor::stored("leaf", memory_storage(std::move(bytes)), DType::I32, shape, offset,
                               strides);
    both.plain = Plain::make(shape, [&](const Shape& i) {
      std::uint64_t k = offset;
      for (std::size_t a = 0; a < shape.size(); ++a) k += i[a] * strides[a];
      return memory[k];
    });
    return both;
  }

  Both grow(Both x) {
    switch (pick(0, 5)) {
      case 0:
        return permuted(std::move(x));
      case 1:
        return sliced(std::move(x));
      case 2:
        return joined(std::move(x));
      case 3:
        return padded(std::move(x));
      default:
        return reshaped(std::move(x));
    }
  }

 private:
  Both permuted(Both x) {
    std::vector<int> axes(x.plain.shape.size());
    std::iota(axes.begin(), axes.end(), 0);
    std::shuffle(axes.begin(), axes.end(), random_);
    Shape shape;
    for (int a : axes) shape.push_back(x.plain.shape[static_cast<std::size_t>(a)]);
    Plain moved = Plain::make(shape, [&](const Shape& i) {
      Shape from(i.size());
      for (std::size_t k = 0; k < i.size(); ++k) from[static_cast<std::size_t>(axes[k])] = i[k];
      return x.plain.data[x.plain.at(from)];
    });
    return {x.lazy.permute(axes), std::move(moved)};
  }
  Both sliced(Both x) {
    if (x.plain.shape.empty()) return x;
    std::size_t a = pick(0, x.plain.shape.size() - 1);
    std::uint64_t lo = pick(0, x.plain.shape[a] - 1), hi = pick(lo + 1, x.plain.shape[a]);
    Shape shape = x.plain.shape;
    shape[a] = hi - lo;
    Plain moved = Plain::make(shape, [&](Shape i) {
      i[a] += lo;
      return x.plain.data[x.plain.at(i)];
    });
    return {x.lazy.slice(static_cast<int>(a), lo, hi), std::move(moved)};
  }
  Both joined(Both x) {
    if (x.plain.shape.empty() || x.plain.data.size() > 3000) return x;
    std::size_t a = pick(0, x.plain.shape.size() - 1);
    Shape other = x.plain.shape;
    other[a] = pick(1, 4);
    Both y = leaf(other);
    std::uint64_t border = x.plain.shape[a];
    Shape shape = x.plain.shape;
    shape[a] += other[a];
    Plain moved = Plain::make(shape, [&](Shape i) {
      if (i[a] < border) return x.plain.data[x.plain.at(i)];
      i[a] -= border;
      return y.plain.data[y.plain.at(i)];
    });
    const Tensor parts[] = {x.lazy, y.lazy};
    return {Tensor::concat(static_cast<int>(a), parts), std::move(moved)};
  }
  Both padded(Both x) {
    if (x.plain.shape.empty() || x.plain.data.size() > 3000) return x;
    std::size_t a = pick(0, x.plain.shape.size() - 1);
    std::uint64_t before = pick(0, 2), after = pick(0, 2), n = x.plain.shape[a];
    Shape shape = x.plain.shape;
    shape[a] += before + after;
    Plain moved = Plain::make(shape, [&](Shape i) -> std::int32_t {
      if (i[a] < before || i[a] >= before + n) return 0;
      i[a] -= before;
      return x.plain.data[x.plain.at(i)];
    });
    return {x.lazy.pad(static_cast<int>(a), before, after), std::move(moved)};
  }
  Both reshaped(Both x) {
    // A random factorisation of the element count, ones included.
    std::uint64_t left = x.plain.data.size();
    Shape shape;
    while (left > 1 && shape.size() < 5) {
      std::vector<std::uint64_t> divisors;
      for (std::uint64_t d = 1; d <= left; ++d) {
        if (left % d == 0) divisors.push_back(d);
      }
      std::uint64_t d = divisors[pick(0, divisors.size() - 1)];
      shape.push_back(d);
      left /= d;
    }
    shape.push_back(left);
    Tensor lazy = x.lazy.reshape(shape);
    x.plain.shape = shape;
    return {lazy, std::move(x.plain)};
  }

  std::mt19937 random_;
  std::int32_t next_ = 1;
};

std::vector<std::int32_t> as_ints(const std::vector<std::byte>& bytes) {
  std::vector<std::int32_t> out(bytes.size() / 4);
  if (!bytes.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

TEST(Views, RandomChainsEqualThePlainEvaluator) {
  for (unsigned seed = 0; seed < 3000; ++seed) {
    Chain chain(seed);
    Both x = chain.leaf();
    for (std::uint64_t n = chain.pick(1, 8); n > 0; --n) x = chain.grow(std::move(x));
    ASSERT_EQ(x.lazy.shape(), x.plain.shape) << seed;
    ASSERT_TRUE(x.lazy.is_movement());
    ASSERT_EQ(as_ints(read_all(x.lazy)), x.plain.data)
        << "seed " << seed << ": " << x.lazy.describe();
    // A random range, and the same elements through a compute step (gathered from a node).
    std::uint64_t n = x.plain.data.size();
    std::uint64_t lo = chain.pick(0, n), hi = chain.pick(lo, n);
    std::vector<std::byte> part((hi - lo) * 4);
    read_range(x.lazy, lo, hi, part);
    ASSERT_EQ(as_ints(part),
              std::vector<std::int32_t>(x.plain.data.begin() + static_cast<long>(lo),
                                        x.plain.data.begin() + static_cast<long>(hi)))
        << seed;
  }
}

TEST(Views, OverAComputeStepEqualThePlainEvaluator) {
  for (unsigned seed = 0; seed < 1000; ++seed) {
    Chain chain(seed);
    Both x = chain.grow(chain.leaf());
    x.lazy = x.lazy.byteswap().permute(std::vector<int>([&] {
      std::vector<int> axes(x.plain.shape.size());
      std::iota(axes.rbegin(), axes.rend(), 0);
      return axes;
    }()));
    Shape reversed(x.plain.shape.rbegin(), x.plain.shape.rend());
    Plain expected = Plain::make(reversed, [&](const Shape& i) {
      Shape from(i.rbegin(), i.rend());
      return static_cast<std::int32_t>(
          __builtin_bswap32(static_cast<std::uint32_t>(x.plain.data[x.plain.at(from)])));
    });
    ASSERT_FALSE(x.lazy.is_movement());
    ASSERT_EQ(as_ints(read_all(x.lazy)), expected.data) << seed;
  }
}

TEST(Views, CopiesWriteEveryElementOnce) {
  for (unsigned seed = 0; seed < 500; ++seed) {
    Chain chain(seed);
    Both x = chain.leaf();
    for (int n = 0; n < 5; ++n) x = chain.grow(std::move(x));
    std::vector<int> written(x.plain.data.size(), 0);
    for (const Copy& copy : movement(x.lazy)) {
      std::vector<std::uint64_t> counter(copy.dims.size(), 0);
      for (;;) {
        std::uint64_t dst = copy.dst_offset;
        for (std::size_t d = 0; d < counter.size(); ++d) {
          dst += counter[d] * static_cast<std::uint64_t>(copy.dims[d].dst_stride);
        }
        ++written.at(dst);
        std::size_t d = counter.size();
        while (d > 0 && ++counter[d - 1] == copy.dims[d - 1].count) counter[--d] = 0;
        if (d == 0) break;
      }
    }
    for (int w : written) ASSERT_EQ(w, 1) << seed;
  }
}

Tensor numbered(Shape shape) {
  std::vector<float> data(numel(shape));
  std::iota(data.begin(), data.end(), 0.0f);
  return Tensor::values("x", data, shape);
}

// A permutation and its inverse leave one box and one contiguous copy: what makes
// half-split <-> interleaved and back free.
TEST(Views, InversePermutationsCollapseToOneRun) {
  Tensor x = numbered({4, 6, 8});
  const int swap[] = {0, 2, 1, 3};
  Tensor there = x.reshape({4, 2, 3, 8}).permute(swap).reshape({4, 6, 8});
  Tensor back = there.reshape({4, 3, 2, 8}).permute(swap).reshape({24, 8});
  std::vector<Copy> copies = movement(back);
  ASSERT_EQ(copies.size(), 1u);
  ASSERT_EQ(copies[0].dims.size(), 1u);
  EXPECT_EQ(copies[0].dims[0].count, 192u);
}

TEST(Views, SlicesJoinedAgainCollapse) {
  Tensor x = numbered({10, 4});
  const Tensor parts[] = {x.slice(0, 0, 3), x.slice(0, 3, 7), x.slice(0, 7, 10)};
  EXPECT_EQ(movement(Tensor::concat(0, parts)).size(), 1u);
}

TEST(Views, SourcesNameOnlyWhatIsLeft) {
  Tensor a = Tensor::values("a", std::vector<float>{1, 2}, {2});
  Tensor b = Tensor::values("b", std::vector<float>{3, 4}, {2});
  const Tensor parts[] = {a, b};
  Tensor both = Tensor::concat(0, parts);
  EXPECT_EQ(both.sources(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(both.slice(0, 2, 4).sources(), std::vector<std::string>{"b"});
  EXPECT_EQ(both.describe(), "concat(0; a, b)");
  EXPECT_EQ(both.slice(0, 1, 3).reshape({2, 1}).describe(),
            "concat(0; a, b).slice(0, 1:3).reshape[2, 1]");
}

TEST(Views, EmptyAndScalarTensors) {
  Tensor empty = numbered({0, 5});
  EXPECT_TRUE(read_all(empty.transpose().reshape({0})).empty());
  EXPECT_EQ(empty.pad(0, 1, 1).shape(), (Shape{2, 5}));
  EXPECT_EQ(read_f32(empty.pad(0, 1, 1)), std::vector<float>(10, 0.0f));
  Tensor scalar = Tensor::values("s", std::vector<float>{7}, {});
  EXPECT_EQ(read_f32(scalar.reshape({1, 1})), std::vector<float>{7});
}

template <class F>
std::string message(Code code, F f) {
  const Error error = error_of(f);
  EXPECT_EQ(code_name(error.code()), code_name(code));
  return error.sentence();
}

TEST(Views, WrongShapesAreRefusedWithBothShapes) {
  using testing::Test;
  Tensor x = numbered({4, 6});
  EXPECT_EQ(message(Code::shape_mismatch,
                    [&] {
                      x.reshape({5, 5});
                    }),
            "reshape to [5, 5] does not hold the elements of [4, 6], of x.");
  EXPECT_EQ(message(Code::shape_mismatch, [&] { x.slice(1, 3, 7); }),
            "slice(1, 3:7) is outside [4, 6], of x.");
  const Tensor parts[] = {x, numbered({5, 5})};
  EXPECT_EQ(message(Code::shape_mismatch, [&] { Tensor::concat(0, parts); }),
            "concat along axis 0 joins F32[4, 6] and F32[5, 5], of x.");
  EXPECT_EQ(message(Code::shape_mismatch, [&] { Tensor::matmul(x, x, DType::F32); }),
            "x and x: a matrix product of [4, 6] and [4, 6].");
  const std::uint64_t strides[] = {6, 1};
  std::vector<std::byte> bytes(95);
  EXPECT_EQ(message(Code::shape_mismatch,
                    [&] {
                      Tensor::stored("w", memory_storage(bytes), DType::F32, {4, 6}, 0, strides);
                    }),
            "w: the tensor reaches beyond its storage: expected 96 bytes, found 95.");
  EXPECT_EQ(message(Code::size_overflow,
                    [&] {
                      numel({1ull << 40, 1ull << 40});
                    }),
            "a tensor's element count does not fit 63 bits: 1099511627776 * 1099511627776.");
  EXPECT_EQ(
      message(Code::dtype_unsupported,
              [&] { Tensor::stored("c", memory_storage({}), DType::C64, {0}).cast(DType::F32); }),
      "c: there is no conversion from C64 to F32.");
}

TEST(Views, AxesThatAreNotThereAreNamed) {
  const Tensor x = numbered({4, 6});
  const auto refused = [](auto work) { return message(Code::shape_mismatch, work); };
  const Tensor parts[] = {x, x};
  for (int axis : {-1, 2}) {
    const std::string a = std::to_string(axis);
    EXPECT_EQ(refused([&] { Tensor::concat(axis, parts); }),
              "concat has no axis " + a + " in [4, 6], of x.");
    EXPECT_EQ(refused([&] { x.pad(axis, 1, 1); }), "pad has no axis " + a + " in [4, 6], of x.");
    EXPECT_EQ(refused([&] { x.slice(axis, 0, 1); }),
              "slice(" + a + ", 0:1) is outside [4, 6], of x.");
  }
  EXPECT_EQ(refused([&] { Tensor::stack(3, parts); }), "stack has no axis 3 for [4, 6], of x.");
  EXPECT_EQ(Tensor::stack(2, parts).shape(), (Shape{4, 6, 2}));
  for (const std::vector<int>& axes : {std::vector<int>{0}, {0, 0}, {0, 2}, {-1, 0}, {0, 1, 2}}) {
    EXPECT_NE(refused([&] { x.permute(axes); }).find("does not name each axis of [4, 6] once"),
              std::string::npos);
  }
  EXPECT_EQ(refused([&] {
              numbered({2, 3, 4}).transpose();
            }),
            "a transpose takes two dimensions, not [2, 3, 4], of x.");
  const std::uint64_t strides[] = {6};
  EXPECT_EQ(refused([&] {
              Tensor::stored("w", memory_storage({}), DType::F32, {4, 6}, 0, strides);
            }),
            "w: a stored tensor has as many strides as dimensions: expected 2, found 1.");
}

// Widths whose sum wraps to nothing are still no padding of nothing.
TEST(Views, PaddingThatWrapsIsRefused) {
  const std::uint64_t half = std::uint64_t{1} << 63;
  EXPECT_NE(message(Code::size_overflow, [&] { numbered({4, 6}).pad(0, half, half); }), "");
}

}  // namespace
}  // namespace wb
