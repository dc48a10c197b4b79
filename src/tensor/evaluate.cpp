// Evaluation of compute nodes, in tiles: casts, products with factors, sums, matrix products,
// numbers of 4 bits, and the outputs of producers. See evaluate.h.
#include "tensor/evaluate.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "tensor/element.h"
#include "tensor/kernels.h"
#include "tensor/read.h"

namespace wb {

namespace {

constexpr std::uint64_t kTile = std::uint64_t{1} << 16;   // elements converted at once
constexpr std::uint64_t kBlock = std::uint64_t{1} << 19;  // sums of a matrix product kept at once

// Elements [begin, ...) of a tensor where they stand in the source, or nullptr.
const std::byte* standing(const Tensor& tensor, std::uint64_t begin) {
  if (!tensor.is_whole() || tensor.inputs()[0]->op != NodeKind::stored) return nullptr;
  return tensor.inputs()[0]->storage->bytes().data() + begin * item_size(tensor.dtype());
}

// Calls use(at, elements, n) for the input's elements [begin, end) in tiles.
template <class Use>
void each_tile(const Tensor& input, std::uint64_t begin, std::uint64_t end, const Use& use) {
  const unsigned size = item_size(input.dtype());
  std::vector<std::byte> tile;
  for (std::uint64_t at = begin; at < end; at += kTile) {
    const std::uint64_t n = std::min(kTile, end - at);
    const std::byte* from = standing(input, at);
    if (from == nullptr) {
      tile.resize(n * size);
      read_range(input, at, at + n, tile);
      from = tile.data();
    }
    use(at, from, n);
  }
}

bool is_scaled_codes(const Node& node) {
  return node.op == NodeKind::times && item_size(node.inputs[0].dtype()) == 1;
}
void read_scaled_codes(const Node& node, DType to, std::uint64_t begin, std::uint64_t end,
                       std::byte* out);

void read_cast(const Node& node, std::uint64_t begin, std::uint64_t end, std::byte* out) {
  const Tensor& input = node.inputs[0];
  // A product of f32 is exact as F32: rounded at once it is the same.
  if (input.is_whole() && is_scaled_codes(*input.inputs()[0]) && input.dtype() == DType::F32 &&
      node.dtype != DType::F64) {
    return read_scaled_codes(*input.inputs()[0], node.dtype, begin, end, out);
  }
  const unsigned size = item_size(node.dtype);
  each_tile(input, begin, end, [&](std::uint64_t at, const std::byte* from, std::uint64_t n) {
    convert_elements(input.dtype(), from, node.dtype, out + (at - begin) * size, n);
  });
}

void read_scale(const Node& node, std::uint64_t begin, std::uint64_t end, std::byte* out) {
  unsigned size = item_size(node.dtype);
  read_range(node.inputs[0], begin, end, {out, static_cast<std::size_t>((end - begin) * size)});
  std::vector<double> tile(std::min(kTile, end - begin));
  for (std::uint64_t at = begin; at < end; at += kTile) {
    std::uint64_t n = std::min(kTile, end - at);
    std::byte* p = out + (at - begin) * size;
    auto* wide = reinterpret_cast<std::byte*>(tile.data());
    convert_elements(node.dtype, p, DType::F64, wide, n);
    for (std::uint64_t i = 0; i < n; ++i) tile[i] *= node.value;
    convert_elements(DType::F64, wide, node.dtype, p, n);
  }
}

void read_byteswap(const Node& node, std::uint64_t begin, std::uint64_t end, std::byte* out) {
  unsigned size = item_size(node.dtype);
  read_range(node.inputs[0], begin, end, {out, static_cast<std::size_t>((end - begin) * size)});
  unsigned scalar = node.dtype == DType::C64 ? 4 : size;
  for (std::uint64_t i = 0; i < (end - begin) * size; i += scalar) {
    std::reverse(out + i, out + i + scalar);
  }
}

// `count` elements of a tensor from `begin`, in f64.
void read_f64(const Tensor& tensor, std::uint64_t begin, std::uint64_t count, double* out) {
  std::vector<std::byte> raw(count * item_size(tensor.dtype()));
  read_range(tensor, begin, begin + count, raw);
  convert_elements(tensor.dtype(), raw.data(), DType::F64, reinterpret_cast<std::byte*>(out),
                   count);
}

// A block of rows of a * b: for each stretch of b's rows, products and sums in f64,
// the inner index rising, so that a row's bits do not depend on the block it is in.
void matmul_rows(const Node& node, std::uint64_t row, std::uint64_t rows,
                 std::vector<double>& acc) {
  constexpr std::uint64_t kStretch = 64;
  const Tensor &a = node.inputs[0], &b = node.inputs[1];
  std::uint64_t k = a.shape()[1], n = b.shape()[1];
  acc.assign(rows * n, 0.0);
  std::vector<double> left(rows * k), right(std::min(kStretch, k) * n);
  read_f64(a, row * k, rows * k, left.data());
  for (std::uint64_t k0 = 0; k0 < k; k0 += kStretch) {
    std::uint64_t k1 = std::min(k, k0 + kStretch);
    read_f64(b, k0 * n, (k1 - k0) * n, right.data());
    for (std::uint64_t r = 0; r < rows; ++r) {
      for (std::uint64_t i = k0; i < k1; ++i) {
        double x = left[r * k + i];
        const double* y = &right[(i - k0) * n];
        double* sum = &acc[r * n];
        for (std::uint64_t j = 0; j < n; ++j) sum[j] += x * y[j];
      }
    }
  }
}

void read_matmul(const Node& node, std::uint64_t begin, std::uint64_t end, std::byte* out) {
  std::uint64_t n = node.inputs[1].shape()[1];
  std::uint64_t block = std::clamp<std::uint64_t>(kBlock / std::max<std::uint64_t>(n, 1), 1, 64);
  unsigned size = item_size(node.dtype);
  std::vector<double> acc;
  while (begin < end) {
    std::uint64_t row = begin / n;
    std::uint64_t rows = std::min(block, (end - 1) / n - row + 1);
    matmul_rows(node, row, rows, acc);
    std::uint64_t stop = std::min(end, (row + rows) * n);
    convert_elements(DType::F64, reinterpret_cast<const std::byte*>(&acc[begin - row * n]),
                     node.dtype, out, stop - begin);
    out += (stop - begin) * size;
    begin = stop;
  }
}

void read_add(const Node& node, std::uint64_t begin, std::uint64_t end, std::byte* out) {
  unsigned size = item_size(node.dtype);
  std::vector<double> a(std::min(kTile, end - begin)), b(a.size());
  for (std::uint64_t at = begin; at < end; at += kTile) {
    std::uint64_t n = std::min(kTile, end - at);
    read_f64(node.inputs[0], at, n, a.data());
    read_f64(node.inputs[1], at, n, b.data());
    for (std::uint64_t i = 0; i < n; ++i) a[i] += b[i];
    convert_elements(DType::F64, reinterpret_cast<const std::byte*>(a.data()), node.dtype,
                     out + (at - begin) * size, n);
  }
}

// Factors of a times node, a row of the input at a time; rows of one block share them.
class Factors {
 public:
  explicit Factors(const Node& node) : node_(node) {
    const Shape& shape = node.inputs[0].shape();
    width_ = shape.empty() ? 1 : shape.back();
    block_ = node.blocks.empty() ? 1 : node.blocks.back();
  }
  std::uint64_t width() const { return width_; }
  std::uint64_t block() const { return block_; }
  // The factors of a row, one for each block of columns.
  const std::vector<double>& of_row(std::uint64_t row) {
    std::uint64_t at = start(row);
    if (row_.empty() || at != at_) {
      at_ = at;
      row_.resize(width_ / block_ + (width_ % block_ != 0 ? 1 : 0));
      read_f64(node_.inputs[1], at, row_.size(), row_.data());
    }
    return row_;
  }
  // out[i] = the factor of element (row, column + i).
  void of(std::uint64_t row, std::uint64_t column, std::uint64_t n, double* out) {
    of_row(row);
    std::uint64_t b = column / block_, within = column % block_;
    for (std::uint64_t i = 0; i < n; ++b, within = 0) {
      std::uint64_t stop = std::min(n, i + block_ - within);
      std::fill(out + i, out + stop, row_[b]);
      i = stop;
    }
  }

 private:
  // Where the factors of this row of the input begin.
  std::uint64_t start(std::uint64_t row) const {
    const Shape &shape = node_.inputs[0].shape(), &grid = node_.inputs[1].shape();
    if (shape.empty()) return 0;
    std::uint64_t at = 0, stride = grid.back();
    for (std::size_t k = shape.size() - 1; k-- > 0;) {
      at += row % shape[k] / node_.blocks[k] * stride;
      row /= shape[k];
      stride *= grid[k];
    }
    return at;
  }
  const Node& node_;
  std::uint64_t width_, block_, at_ = 0;
  std::vector<double> row_;
};

// A times node of 8-bit codes, rounded to `to`: runs of one factor each, products of f32.
void read_scaled_codes(const Node& node, DType to, std::uint64_t begin, std::uint64_t end,
                       std::byte* out) {
  const DType codes = node.inputs[0].dtype();
  const unsigned size = item_size(to);
  Factors factors(node);
  each_tile(node.inputs[0], begin, end,
            [&](std::uint64_t at, const std::byte* from, std::uint64_t n) {
              for (std::uint64_t i = 0; i < n;) {
                const std::uint64_t column = (at + i) % factors.width();
                const std::uint64_t block = column / factors.block();
                const std::uint64_t stop = std::min(factors.width(), (block + 1) * factors.block());
                const std::uint64_t run = std::min(n - i, stop - column);
                const double factor = factors.of_row((at + i) / factors.width())[block];
                scale_codes(codes, from + i, static_cast<float>(factor), to,
                            out + (at + i - begin) * size, run);
                i += run;
              }
            });
}

void read_times(const Node& node, std::uint64_t begin, std::uint64_t end, std::byte* out) {
  if (is_scaled_codes(node) && node.dtype != DType::F64) {
    return read_scaled_codes(node, node.dtype, begin, end, out);
  }
  unsigned size = item_size(node.dtype);
  bool narrow = is_scaled_codes(node);
  Factors factors(node);
  std::vector<double> x(std::min(kTile, end - begin)), f(x.size());
  for (std::uint64_t at = begin; at < end; at += kTile) {
    std::uint64_t n = std::min(kTile, end - at);
    read_f64(node.inputs[0], at, n, x.data());
    for (std::uint64_t i = 0; i < n;) {
      std::uint64_t row = (at + i) / factors.width(), column = (at + i) % factors.width();
      std::uint64_t run = std::min(n - i, factors.width() - column);
      factors.of(row, column, run, &f[i]);
      i += run;
    }
    for (std::uint64_t i = 0; i < n; ++i) {
      x[i] = narrow ? double{static_cast<float>(x[i]) * static_cast<float>(f[i])} : x[i] * f[i];
    }
    convert_elements(DType::F64, reinterpret_cast<const std::byte*>(x.data()), node.dtype,
                     out + (at - begin) * size, n);
  }
}

// Words are little-endian, so number i of them is half i of their bytes.
void read_unpack4(const Node& node, std::uint64_t begin, std::uint64_t end, std::byte* out) {
  std::vector<std::byte> numbers;
  each_tile(node.inputs[0], begin / 8, (end - 1) / 8 + 1,
            [&](std::uint64_t word, const std::byte* from, std::uint64_t n) {
              const std::uint64_t first = std::max(begin, word * 8);
              const std::uint64_t last = std::min(end, (word + n) * 8);
              if (last - first == n * 8) return unpack_nibbles(from, out + (first - begin), n * 4);
              numbers.resize(n * 8);
              unpack_nibbles(from, numbers.data(), n * 4);
              std::memcpy(out + (first - begin), numbers.data() + (first - word * 8), last - first);
            });
}

void read_produced(const Node& node, std::uint64_t begin, std::uint64_t end, std::byte* out) {
  const Producer& producer = *node.producer;
  const std::uint64_t each = producer.per_unit(node.output), size = item_size(node.dtype);
  std::vector<std::byte*> to(producer.outputs(), nullptr);
  std::vector<std::byte> units;
  const std::uint64_t step = std::max<std::uint64_t>(1, kTile / each);
  for (std::uint64_t u = begin / each; u * each < end; u += step) {
    const std::uint64_t stop = std::min(u + step, (end - 1) / each + 1);
    const std::uint64_t from = std::max(begin, u * each), until = std::min(end, stop * each);
    const bool whole = from == u * each && until == stop * each;
    if (!whole) units.resize((stop - u) * each * size);
    to[node.output] = whole ? out + (from - begin) * size : units.data();
    producer.make(u, stop, to);
    if (whole) continue;
    std::memcpy(out + (from - begin) * size, units.data() + (from - u * each) * size,
                (until - from) * size);
  }
}

}  // namespace

void read_node(const Node& node, std::uint64_t begin, std::uint64_t end, std::byte* out) {
  switch (node.op) {
    case NodeKind::produced:
      return read_produced(node, begin, end, out);
    case NodeKind::cast:
      return read_cast(node, begin, end, out);
    case NodeKind::scale:
      return read_scale(node, begin, end, out);
    case NodeKind::byteswap:
      return read_byteswap(node, begin, end, out);
    case NodeKind::matmul:
      return read_matmul(node, begin, end, out);
    case NodeKind::add:
      return read_add(node, begin, end, out);
    case NodeKind::times:
      return read_times(node, begin, end, out);
    case NodeKind::unpack4:
      return read_unpack4(node, begin, end, out);
    case NodeKind::stored:
    case NodeKind::fill:
      break;
  }
  WB_BUG("a leaf is not computed");
}

}  // namespace wb
