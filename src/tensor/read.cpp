// Ranges of lazy tensors, gathered from what their boxes point into; see read.h. Compute steps
// are made by evaluate.h, where they stand in one run, or a span of them at a time.
#include "tensor/read.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "tensor/box.h"
#include "tensor/element.h"
#include "tensor/evaluate.h"
#include "tensor/node.h"

namespace wb {

namespace {

constexpr std::uint64_t kSpanLimit = std::uint64_t{1}
                                     << 19;  // elements of a compute node kept for gathering
constexpr std::uint64_t kLongRun = 4096;     // elements of one that are made by themselves

// Copies one innermost run of `n` elements of `size` bytes.
void copy_run(const std::byte* src, std::int64_t src_stride, std::byte* dst,
              std::int64_t dst_stride, std::uint64_t n, unsigned size) {
  WB_CHECK(src != nullptr);
  if (src_stride == 1 && dst_stride == 1) {
    std::memcpy(dst, src, n * size);
    return;
  }
  auto strided = [&]<class T>(T) {
    for (std::uint64_t i = 0; i < n; ++i) {
      T v;
      auto k = static_cast<std::int64_t>(i);
      std::memcpy(&v, src + k * src_stride * std::int64_t{sizeof(T)}, sizeof v);
      std::memcpy(dst + k * dst_stride * std::int64_t{sizeof(T)}, &v, sizeof v);
    }
  };
  switch (size) {
    case 1:
      return strided(std::uint8_t{});
    case 2:
      return strided(std::uint16_t{});
    case 4:
      return strided(std::uint32_t{});
    case 8:
      return strided(std::uint64_t{});
    default:
      WB_BUG("an element size that is none of 1, 2, 4, 8");
  }
}

// A copy restricted to output elements [begin, end); `out` is where element `begin` goes.
class Gather {
 public:
  Gather(const Copy& copy, std::uint64_t begin, std::uint64_t end, std::byte* out, unsigned size)
      : copy_(copy), begin_(begin), end_(end), out_(out), size_(size) {}

  void run() {
    if (is_leaf(*copy_.source)) {
      if (copy_.source->op == NodeKind::stored) {
        source_ = copy_.source->storage->bytes().data();
      } else {
        constant_.resize(size_);
        double value = copy_.source->value;
        if (value == 0.0) {
          std::fill(constant_.begin(), constant_.end(), std::byte{0});
        } else {
          convert_elements(DType::F64, reinterpret_cast<const std::byte*>(&value),
                           copy_.source->dtype, constant_.data(), 1);
        }
        source_ = constant_.data();
      }
    }
    descend(0, copy_.src_offset, copy_.dst_offset);
  }

 private:
  // First and last output element below level k, relative to its own start.
  std::uint64_t dst_span(std::size_t k) const {
    std::uint64_t span = 1;
    for (; k < copy_.dims.size(); ++k) {
      span += (copy_.dims[k].count - 1) * static_cast<std::uint64_t>(copy_.dims[k].dst_stride);
    }
    return span;
  }
  std::uint64_t src_span(std::size_t k) const {
    std::uint64_t span = 1;
    for (; k < copy_.dims.size(); ++k) {
      span += (copy_.dims[k].count - 1) * static_cast<std::uint64_t>(copy_.dims[k].src_stride);
    }
    return span;
  }

  // Whether the innermost runs are so long that each is best made by itself.
  bool long_runs() const {
    const CopyDim& last = copy_.dims.back();
    return last.src_stride == 1 && last.dst_stride == 1 && last.count >= kLongRun;
  }
  // Makes elements [src, src + count) of a compute node, walks them, and lets them go.
  template <class Walk>
  void made(std::int64_t src, std::uint64_t count, const Walk& walk) {
    std::vector<std::byte> span(count * size_);
    read_node(*copy_.source, static_cast<std::uint64_t>(src),
              static_cast<std::uint64_t>(src) + count, span.data());
    source_ = span.data();
    origin_ = src;
    walk();
    source_ = nullptr;
  }

  void descend(std::size_t k, std::int64_t src, std::uint64_t dst) {
    if (dst >= end_ || dst + dst_span(k) <= begin_) return;
    if (k == copy_.dims.size()) {
      if (source_ == nullptr) return made(src, 1, [&] { emit(src, 1, dst, 1, 1); });
      return emit(src, 1, dst, 1, 1);
    }
    const CopyDim& d = copy_.dims[k];
    auto stride = static_cast<std::uint64_t>(d.dst_stride);
    std::uint64_t below = dst_span(k + 1);
    std::uint64_t lo = begin_ > dst + below - 1 ? (begin_ - dst - below) / stride + 1 : 0;
    std::uint64_t hi = std::min(d.count, (end_ - dst - 1) / stride + 1);
    if (lo >= hi) return;
    const bool last = k + 1 == copy_.dims.size();
    if (source_ == nullptr && last && d.src_stride == 1 && d.dst_stride == 1) {
      read_node(*copy_.source, static_cast<std::uint64_t>(src) + lo,
                static_cast<std::uint64_t>(src) + hi, out_ + (dst + lo - begin_) * size_);
      return;
    }
    auto walk = [&] {
      if (last && source_ != nullptr) {
        return emit(src + static_cast<std::int64_t>(lo) * d.src_stride, d.src_stride,
                    dst + lo * stride, d.dst_stride, hi - lo);
      }
      for (std::uint64_t i = lo; i < hi; ++i) {
        descend(k + 1, src + static_cast<std::int64_t>(i) * d.src_stride, dst + i * stride);
      }
    };
    const std::uint64_t span =
        (hi - lo - 1) * static_cast<std::uint64_t>(d.src_stride) + src_span(k + 1);
    if (source_ != nullptr || long_runs() || span > kSpanLimit) return walk();
    made(src + static_cast<std::int64_t>(lo) * d.src_stride, span, walk);
  }

  void emit(std::int64_t src, std::int64_t src_stride, std::uint64_t dst, std::int64_t dst_stride,
            std::uint64_t n) {
    bool constant = copy_.source->op == NodeKind::fill;
    const std::byte* from = constant ? source_ : source_ + (src - origin_) * std::int64_t{size_};
    std::byte* to = out_ + (dst - begin_) * size_;
    if (constant && dst_stride == 1 && copy_.source->value == 0.0) {
      std::memset(to, 0, n * size_);
    } else {
      copy_run(from, constant ? 0 : src_stride, to, dst_stride, n, size_);
    }
  }

  const Copy& copy_;
  std::uint64_t begin_, end_;
  std::byte* out_;
  unsigned size_;
  const std::byte* source_ = nullptr;  // element origin_ of the source, once it is in memory
  std::int64_t origin_ = 0;
  std::vector<std::byte> constant_;
};

std::vector<Copy> copies_of(const Tensor& tensor) {
  std::vector<Copy> copies;
  if (tensor.is_whole()) {
    const std::uint64_t n = tensor.numel();
    if (n == 0) return copies;
    copies.push_back({tensor.inputs()[0].get(), 0, 0, {}});
    if (n > 1) copies[0].dims.push_back({n, 1, 1});
    return copies;
  }
  std::vector<std::int64_t> strides = row_major_strides(tensor.shape());
  for (const Box& box : tensor.boxes()) {
    Copy copy{tensor.inputs()[box.input].get(), box.base, 0, {}};
    for (std::size_t a = 0; a < box.axes.size(); ++a) {
      const BoxAxis& axis = box.axes[a];
      copy.dst_offset += axis.start * static_cast<std::uint64_t>(strides[a]);
      std::int64_t inner = static_cast<std::int64_t>(axis.extent());
      for (const SubDim& d : axis.dims) {
        inner /= static_cast<std::int64_t>(d.count);
        CopyDim next{d.count, d.stride, inner * strides[a]};
        if (d.count == 1) continue;
        auto n = static_cast<std::int64_t>(next.count);
        if (!copy.dims.empty() && copy.dims.back().src_stride == next.src_stride * n &&
            copy.dims.back().dst_stride == next.dst_stride * n) {
          copy.dims.back() = {copy.dims.back().count * next.count, next.src_stride,
                              next.dst_stride};
        } else {
          copy.dims.push_back(next);
        }
      }
    }
    copies.push_back(std::move(copy));
  }
  return copies;
}

void check_readable(const Tensor& tensor) {
  if (bits(tensor.dtype()) % 8 == 0) return;
  throw Error(Code::dtype_unsupported,
              "elements of " + std::string(name(tensor.dtype())) + " are not read one by one")
      .tensor(tensor.describe())
      .advice("Leave the tensor out in the recipe.");
}

}  // namespace

void read_range(const Tensor& tensor, std::uint64_t begin, std::uint64_t end,
                std::span<std::byte> out) {
  check_readable(tensor);
  unsigned size = item_size(tensor.dtype());
  WB_CHECK(begin <= end && end <= tensor.numel() && out.size() == (end - begin) * size);
  if (begin == end) return;
  for (const Copy& copy : copies_of(tensor)) Gather(copy, begin, end, out.data(), size).run();
}

// Copies by where they begin in the output. Many stand one behind the other (a stack of experts);
// some lie over each other, so that the latest end before each is kept.
class PreparedCopies {
 public:
  explicit PreparedCopies(const Tensor& tensor) : copies_(copies_of(tensor)) {
    std::sort(copies_.begin(), copies_.end(),
              [](const Copy& a, const Copy& b) { return a.dst_offset < b.dst_offset; });
    std::uint64_t reached = 0;
    for (const Copy& copy : copies_) {
      std::uint64_t end = copy.dst_offset + 1;
      for (const CopyDim& d : copy.dims) {
        end += (d.count - 1) * static_cast<std::uint64_t>(d.dst_stride);
      }
      reached_.push_back(reached = std::max(reached, end));
    }
  }
  void read(std::uint64_t begin, std::uint64_t end, std::byte* out, unsigned size) const {
    const auto first = std::partition_point(reached_.begin(), reached_.end(),
                                            [&](std::uint64_t r) { return r <= begin; });
    for (auto i = static_cast<std::size_t>(first - reached_.begin());
         i < copies_.size() && copies_[i].dst_offset < end; ++i) {
      Gather(copies_[i], begin, end, out, size).run();
    }
  }

 private:
  std::vector<Copy> copies_;
  std::vector<std::uint64_t> reached_;  // the furthest end of copies up to this one
};

RangeReader::RangeReader(Tensor tensor)
    : tensor_(std::move(tensor)), copies_(std::make_unique<const PreparedCopies>(tensor_)) {
  check_readable(tensor_);
}
RangeReader::~RangeReader() = default;

void RangeReader::read(std::uint64_t begin, std::uint64_t end, std::span<std::byte> out) const {
  const unsigned size = item_size(tensor_.dtype());
  WB_CHECK(begin <= end && end <= tensor_.numel() && out.size() == (end - begin) * size);
  if (begin < end) copies_->read(begin, end, out.data(), size);
}

std::vector<std::byte> read_all(const Tensor& tensor) {
  check_readable(tensor);
  std::vector<std::byte> out(tensor.nbytes());
  read_range(tensor, 0, tensor.numel(), out);
  return out;
}

std::vector<float> read_f32(const Tensor& tensor) {
  Tensor wide = tensor.cast(DType::F32);
  std::vector<float> out(wide.numel());
  read_range(wide, 0, wide.numel(), std::as_writable_bytes(std::span<float>(out)));
  return out;
}

WholeOutput whole_output(const Tensor& tensor) {
  if (tensor.inputs().size() != 1 || tensor.inputs()[0]->op != NodeKind::produced) return {};
  const Node& node = *tensor.inputs()[0];
  if (tensor.numel() != node.producer->units() * node.producer->per_unit(node.output)) return {};
  const std::vector<Copy> copies = copies_of(tensor);
  const bool whole = copies.size() == 1 && copies[0].src_offset == 0 && copies[0].dst_offset == 0 &&
                     copies[0].dims.size() == 1 && copies[0].dims[0].src_stride == 1 &&
                     copies[0].dims[0].dst_stride == 1;
  return whole ? WholeOutput{node.producer.get(), node.output} : WholeOutput{};
}

std::vector<Copy> movement(const Tensor& tensor) {
  WB_CHECK(tensor.is_movement());
  return copies_of(tensor);
}

}  // namespace wb
