// Cutting and gathering of strided copies; see movement.h.
#include "convert/movement.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "tensor/node.h"

namespace wb {

namespace {

// Elements that dims[k..] reach past their first one in the output.
std::uint64_t reach(std::span<const CopyDim> dims) {
  std::uint64_t sum = 0;
  for (const CopyDim& d : dims) sum += (d.count - 1) * static_cast<std::uint64_t>(d.dst_stride);
  return sum;
}

struct Row {  // `count` elements, one output stride
  std::int64_t src;
  std::uint64_t dst, count;
  std::int64_t src_stride, dst_stride;
};
struct Block {  // `count` rows
  Row row;
  std::uint64_t count;
  std::int64_t src_stride, dst_stride;
};

// The indices i of a dim whose boxes [at + i * stride, + span] meet [begin, end).
struct Meeting {
  std::uint64_t first, last;  // [first, last)
};
Meeting meet(const CopyDim& dim, std::uint64_t at, std::uint64_t span, std::uint64_t begin,
             std::uint64_t end) {
  std::uint64_t stride = static_cast<std::uint64_t>(dim.dst_stride);
  std::uint64_t first = begin > at + span ? (begin - at - span + stride - 1) / stride : 0;
  std::uint64_t last = end > at ? (end - at + stride - 1) / stride : 0;
  return {first, std::min(last, dim.count)};
}

// Visits the part of a copy that lies in output elements [begin, end) as blocks.
// Dims are nested in the output (each stride exceeds the reach of the dims inside),
// so that at every level only the first and the last index can be cut.
template <class Visit>
void clip(std::span<const CopyDim> dims, std::int64_t src, std::uint64_t dst, std::uint64_t begin,
          std::uint64_t end, const Visit& visit) {
  if (dims.empty()) {
    if (dst >= begin && dst < end) visit(Block{{src, dst, 1, 1, 1}, 1, 0, 0});
    return;
  }
  const CopyDim& dim = dims.front();
  std::span<const CopyDim> inner = dims.subspan(1);
  std::uint64_t span = reach(inner);
  Meeting m = meet(dim, dst, span, begin, end);
  if (m.first >= m.last) return;
  auto src_at = [&](std::uint64_t i) {
    return src + static_cast<std::int64_t>(i) * dim.src_stride;
  };
  auto dst_at = [&](std::uint64_t i) {
    return dst + i * static_cast<std::uint64_t>(dim.dst_stride);
  };
  if (inner.empty()) {
    Row row{src_at(m.first), dst_at(m.first), m.last - m.first, dim.src_stride, dim.dst_stride};
    visit(Block{row, 1, 0, 0});
    return;
  }
  if (inner.size() > 1) {
    for (std::uint64_t i = m.first; i < m.last; ++i) {
      clip(inner, src_at(i), dst_at(i), begin, end, visit);
    }
    return;
  }
  std::uint64_t lo = m.first, hi = m.last;
  if (dst_at(lo) < begin) clip(inner, src_at(lo), dst_at(lo), begin, end, visit), ++lo;
  bool cut_tail = hi > lo && dst_at(hi - 1) + span >= end;
  if (cut_tail) --hi;
  if (hi > lo) {
    const CopyDim& last = inner.front();
    Row row{src_at(lo), dst_at(lo), last.count, last.src_stride, last.dst_stride};
    visit(Block{row, hi - lo, dim.src_stride, dim.dst_stride});
  }
  if (cut_tail) clip(inner, src_at(hi), dst_at(hi), begin, end, visit);
}

// Elements of `kSize` bytes, any alignment. `in` and `out` are at the block's first element.
template <std::size_t kSize>
void copy_block(const Block& b, const std::byte* in, std::byte* out) {
  const std::int64_t size = kSize;
  const Row& row = b.row;
  auto rows = static_cast<std::int64_t>(b.count), columns = static_cast<std::int64_t>(row.count);
  if (row.src_stride == 1 && row.dst_stride == 1) {
    for (std::int64_t r = 0; r < rows; ++r) {
      std::memcpy(out + r * b.dst_stride * size, in + r * b.src_stride * size, row.count * kSize);
    }
    return;
  }
  // A transpose reads along rows and writes along columns: square patches keep both
  // sides' cache lines until they are used up.
  const std::int64_t patch = 32;
  bool across = b.count > 1 && std::abs(b.src_stride) < std::abs(row.src_stride);
  std::int64_t row_step = across ? patch : 1, column_step = across ? patch : columns;
  for (std::int64_t r0 = 0; r0 < rows; r0 += row_step) {
    for (std::int64_t c0 = 0; c0 < columns; c0 += column_step) {
      for (std::int64_t r = r0; r < std::min(rows, r0 + row_step); ++r) {
        const std::byte* from = in + r * b.src_stride * size;
        std::byte* to = out + r * b.dst_stride * size;
        for (std::int64_t c = c0; c < std::min(columns, c0 + column_step); ++c) {
          std::memcpy(to + c * row.dst_stride * size, from + c * row.src_stride * size, kSize);
        }
      }
    }
  }
}

void copy_block(std::uint64_t size, const Block& block, const std::byte* in, std::byte* out) {
  switch (size) {
    case 1:
      return copy_block<1>(block, in, out);
    case 2:
      return copy_block<2>(block, in, out);
    case 4:
      return copy_block<4>(block, in, out);
    case 8:
      return copy_block<8>(block, in, out);
    default:
      WB_BUG("an element of an unknown width");
  }
}

// Maps the pages of a run at once. A write() that meets a page that is not mapped yet
// copies short, zeroes the rest of the output's page group and starts over: without
// this a third of the time of a conversion went there.
void prefault(std::span<const std::byte> bytes) {
#ifdef MADV_POPULATE_READ
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
  std::uintptr_t from = begin / page * page;
  // Only faster, never needed: kernels before 5.14 refuse it.
  static_cast<void>(
      ::madvise(reinterpret_cast<void*>(from), begin + bytes.size() - from, MADV_POPULATE_READ));
#else
  static_cast<void>(bytes);
#endif
}

bool is_zero(const std::vector<std::byte>& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

// Bytes of the contiguous run that the copy is made of.
std::uint64_t run_bytes(const Copy& copy, std::uint64_t size) {
  if (copy.dims.empty()) return size;
  const CopyDim& last = copy.dims.back();
  return last.src_stride == 1 && last.dst_stride == 1 ? last.count * size : size;
}

std::uint64_t copied_bytes(const Copy& copy, std::uint64_t size) {
  for (const CopyDim& d : copy.dims) size *= d.count;
  return size;
}

}  // namespace

TileSource::TileSource(const Tensor& tensor) : tensor_(&tensor), movement_(tensor.is_movement()) {
  if (!movement_) {
    reader_ = std::make_unique<const RangeReader>(tensor);
    return;
  }
  copies_ = movement(tensor);
  std::uint64_t size = item_size(tensor.dtype());
  std::uint64_t total = tensor.nbytes();
  std::sort(copies_.begin(), copies_.end(),
            [](const Copy& a, const Copy& b) { return a.dst_offset < b.dst_offset; });
  long_runs_ = true;
  std::uint64_t covered = 0;
  for (Copy& copy : copies_) {
    std::erase_if(copy.dims, [](const CopyDim& d) { return d.count == 1; });
    for (std::size_t i = 0; i < copy.dims.size(); ++i) {
      std::uint64_t inside = reach(std::span(copy.dims).subspan(i + 1));
      WB_CHECK(copy.dims[i].dst_stride > 0 &&
               static_cast<std::uint64_t>(copy.dims[i].dst_stride) > inside);
    }
    covered += copied_bytes(copy, size);
    fill_.emplace_back();
    if (copy.source->op == NodeKind::fill) {
      fill_.back().resize(size);
      read_range(Tensor::fill(tensor.dtype(), {1}, copy.source->value), 0, 1, fill_.back());
      long_runs_ &= is_zero(fill_.back());
    } else {
      // A short whole tensor is one run too, but gathering it with its neighbours saves a call.
      long_runs_ &= run_bytes(copy, size) >= kLongRun;
    }
  }
  WB_CHECK(covered == total);
}

void TileSource::for_each_run(
    std::uint64_t begin, std::uint64_t end,
    const std::function<void(std::uint64_t, std::span<const std::byte>)>& run) const {
  WB_CHECK(long_runs_);
  const std::uint64_t size = item_size(tensor_->dtype());
  for (std::size_t i = 0; i < copies_.size() && copies_[i].dst_offset < end; ++i) {
    const Copy& copy = copies_[i];
    if (!fill_[i].empty()) continue;
    std::span<const std::byte> bytes = copy.source->storage->bytes();
    clip(copy.dims, copy.src_offset, copy.dst_offset, begin, end, [&](const Block& b) {
      for (std::uint64_t r = 0; r < b.count; ++r) {
        std::int64_t src = b.row.src + static_cast<std::int64_t>(r) * b.src_stride;
        std::uint64_t dst = b.row.dst + r * static_cast<std::uint64_t>(b.dst_stride);
        auto source = bytes.subspan(static_cast<std::uint64_t>(src) * size, b.row.count * size);
        prefault(source);
        run(dst * size, source);
      }
    });
  }
}

void TileSource::gather(std::uint64_t begin, std::uint64_t end, std::span<std::byte> out) const {
  if (!movement_) return reader_->read(begin, end, out);
  const std::uint64_t size = item_size(tensor_->dtype());
  WB_CHECK(out.size() == (end - begin) * size);
  for (std::size_t i = 0; i < copies_.size() && copies_[i].dst_offset < end; ++i) {
    const Copy& copy = copies_[i];
    bool constant = !fill_[i].empty();
    const std::byte* bytes = constant ? fill_[i].data() : copy.source->storage->bytes().data();
    clip(copy.dims, copy.src_offset, copy.dst_offset, begin, end, [&](Block b) {
      const std::byte* in = bytes;
      std::byte* to = out.data() + (b.row.dst - begin) * size;
      if (constant && b.row.dst_stride == 1 && is_zero(fill_[i])) {
        for (std::uint64_t r = 0; r < b.count;
             ++r, to += b.dst_stride * static_cast<std::int64_t>(size)) {
          std::memset(to, 0, b.row.count * size);
        }
        return;
      }
      if (constant) {
        b.src_stride = b.row.src_stride = 0;
      } else {
        in += b.row.src * static_cast<std::int64_t>(size);
      }
      copy_block(size, b, in, to);
    });
  }
}

}  // namespace wb
