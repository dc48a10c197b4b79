// Cutting, merging and splitting of box axes; see box.h.
#include "tensor/box.h"

#include <algorithm>

#include "base/error.h"

namespace wb {

namespace {

std::uint64_t product(const std::vector<SubDim>& dims, std::size_t from) {
  std::uint64_t n = 1;
  for (std::size_t i = from; i < dims.size(); ++i) n *= dims[i].count;
  return n;
}

// Appends the parts of dims[k..] restricted to [lo, hi); `first` counts from the
// beginning of the whole request, `base` is the address reached so far.
void cut_from(const std::vector<SubDim>& dims, std::size_t k, std::uint64_t lo, std::uint64_t hi,
              std::uint64_t first, std::int64_t base, std::vector<AxisPart>& out) {
  if (lo >= hi) return;
  if (k == dims.size()) {
    out.push_back({first, base, {}});
    return;
  }
  std::uint64_t inner = product(dims, k + 1);
  std::uint64_t q0 = lo / inner, r0 = lo % inner, q1 = hi / inner, r1 = hi % inner;
  auto at = [&](std::uint64_t q) { return base + static_cast<std::int64_t>(q) * dims[k].stride; };
  if (r0 != 0) {
    std::uint64_t end = q0 == q1 ? r1 : inner;
    cut_from(dims, k + 1, r0, end, first, at(q0), out);
    if (q0 == q1) return;
    first += inner - r0;
    ++q0;
  }
  if (q1 > q0) {
    AxisPart part{first, at(q0), {dims.begin() + static_cast<std::ptrdiff_t>(k), dims.end()}};
    part.dims[0].count = q1 - q0;
    normalise(part.dims);
    out.push_back(std::move(part));
    first += (q1 - q0) * inner;
  }
  cut_from(dims, k + 1, 0, r1, first, at(q1), out);
}

// The box with its axes [a, a + 2) as one flat axis, `inner_size` being the tensor's
// size along a + 1. More than one box when the inner axis is only partly covered.
void merge_axes(const Box& box, std::size_t a, std::uint64_t inner_size, std::vector<Box>& out) {
  const BoxAxis& outer = box.axes[a];
  const BoxAxis& inner = box.axes[a + 1];
  auto emit = [&](std::uint64_t start, std::int64_t base, std::vector<SubDim> dims) {
    Box merged = box;
    merged.base = base;
    merged.axes.erase(merged.axes.begin() + static_cast<std::ptrdiff_t>(a) + 1);
    normalise(dims);
    merged.axes[a] = {start, std::move(dims)};
    out.push_back(std::move(merged));
  };
  std::uint64_t rows = outer.extent();
  if (rows == 1) {
    emit(outer.start * inner_size + inner.start, box.base, inner.dims);
  } else if (inner.start == 0 && inner.extent() == inner_size) {
    std::vector<SubDim> dims = outer.dims;
    dims.insert(dims.end(), inner.dims.begin(), inner.dims.end());
    emit(outer.start * inner_size, box.base, std::move(dims));
  } else {
    for (std::uint64_t r = 0; r < rows; ++r) {
      std::int64_t shift = cut(outer.dims, r, r + 1).front().base;
      emit((outer.start + r) * inner_size + inner.start, box.base + shift, inner.dims);
    }
  }
}

// Divides a counter into an outer one and an inner one of exactly `inner_size`;
// false when a dim straddles the border and does not divide.
bool factor(const std::vector<SubDim>& dims, std::uint64_t inner_size, std::vector<SubDim>& outer,
            std::vector<SubDim>& inner) {
  std::uint64_t have = 1;
  std::size_t k = dims.size();
  inner.clear();
  while (have < inner_size) {
    WB_CHECK(k > 0);
    SubDim d = dims[--k];
    std::uint64_t want = inner_size / have;
    if (inner_size % have != 0) return false;
    if (d.count <= want) {
      if (want % d.count != 0) return false;
      inner.insert(inner.begin(), d);
      have *= d.count;
    } else {
      if (d.count % want != 0) return false;
      inner.insert(inner.begin(), SubDim{want, d.stride});
      outer.assign(dims.begin(), dims.begin() + static_cast<std::ptrdiff_t>(k));
      outer.push_back({d.count / want, d.stride * static_cast<std::int64_t>(want)});
      return true;
    }
  }
  outer.assign(dims.begin(), dims.begin() + static_cast<std::ptrdiff_t>(k));
  return true;
}

// The box with axis `a` split in two, the inner of size `inner_size`.
void split_axis(const Box& box, std::size_t a, std::uint64_t inner_size, std::vector<Box>& out) {
  const BoxAxis axis = box.axes[a];
  auto emit = [&](std::uint64_t start, const AxisPart& part) {
    std::uint64_t n = BoxAxis{0, part.dims}.extent();
    Box split = box;
    split.base += part.base;
    BoxAxis outer{start / inner_size, {}}, inner{start % inner_size, part.dims};
    if (inner.start + n > inner_size || n == inner_size * (n / inner_size)) {
      inner.start = 0;
      if (!factor(part.dims, inner_size, outer.dims, inner.dims)) return false;
      normalise(outer.dims);
      normalise(inner.dims);
    }
    split.axes[a] = std::move(outer);
    split.axes.insert(split.axes.begin() + static_cast<std::ptrdiff_t>(a) + 1, std::move(inner));
    out.push_back(std::move(split));
    return true;
  };
  // Pieces that do not cross a row of the new inner axis unless they are whole rows.
  std::uint64_t begin = axis.start, end = axis.start + axis.extent();
  while (begin < end) {
    std::uint64_t stop = end;
    if (begin % inner_size != 0) {
      stop = std::min(end, (begin / inner_size + 1) * inner_size);
    } else if (end - begin > inner_size) {
      stop = end / inner_size * inner_size;
    }
    std::uint64_t offset = begin - axis.start;
    for (const AxisPart& part : cut(axis.dims, offset, stop - axis.start)) {
      std::uint64_t part_begin = begin + part.first;
      std::uint64_t n = BoxAxis{0, part.dims}.extent();
      bool within_row = part_begin % inner_size + n <= inner_size;
      bool whole_rows = part_begin % inner_size == 0 && n % inner_size == 0;
      if ((within_row || whole_rows) && emit(part_begin, part)) continue;
      // Row by row: always possible.
      for (std::uint64_t p = 0; p < n;) {
        std::uint64_t row_end = std::min(n, p + inner_size - (part_begin + p) % inner_size);
        for (AxisPart row : cut(part.dims, p, row_end)) {
          std::uint64_t row_begin = part_begin + p + row.first;
          row.base += part.base;
          WB_CHECK(emit(row_begin, row));
        }
        p = row_end;
      }
    }
    begin = stop;
  }
}

}  // namespace

void normalise(std::vector<SubDim>& dims) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    SubDim d = dims[i];
    if (d.count == 1) continue;
    if (kept > 0 && dims[kept - 1].stride == d.stride * static_cast<std::int64_t>(d.count)) {
      dims[kept - 1] = {dims[kept - 1].count * d.count, d.stride};
    } else {
      dims[kept++] = d;
    }
  }
  dims.resize(kept);
}

std::vector<AxisPart> cut(const std::vector<SubDim>& dims, std::uint64_t lo, std::uint64_t hi) {
  std::vector<AxisPart> out;
  cut_from(dims, 0, lo, hi, 0, 0, out);
  return out;
}

namespace {
Shape without_ones(const Shape& shape) {
  Shape out;
  for (std::uint64_t d : shape) {
    if (d != 1) out.push_back(d);
  }
  return out;
}
}  // namespace

// Axes of size 1 are taken out first and put back last. Between them both shapes fall
// into groups of equal product: each is merged into one axis, then split anew.
std::vector<Box> reshape_boxes(const std::vector<Box>& boxes, const Shape& from, const Shape& to) {
  std::vector<Box> current = boxes, next;
  for (Box& box : current) {
    std::size_t kept = 0;
    for (std::size_t a = 0; a < from.size(); ++a) {
      if (from[a] != 1) std::swap(box.axes[kept++], box.axes[a]);
    }
    box.axes.resize(kept);
  }
  Shape old_sizes = without_ones(from), new_sizes = without_ones(to);
  std::size_t i = 0, j = 0;
  while (i < old_sizes.size()) {
    std::size_t axis = j;  // axes before it are done
    std::uint64_t left = old_sizes[i++], right = new_sizes[j++];
    while (left != right) {
      if (left < right) {
        next.clear();
        for (const Box& box : current) merge_axes(box, axis, old_sizes[i], next);
        std::swap(current, next);
        left *= old_sizes[i++];
      } else {
        right *= new_sizes[j++];
      }
    }
    for (std::size_t s = axis; s + 1 < j; ++s) {  // split from the outside in
      right /= new_sizes[s];
      next.clear();
      for (const Box& box : current) split_axis(box, s, right, next);
      std::swap(current, next);
    }
  }
  for (Box& box : current) {
    for (std::size_t a = 0; a < to.size(); ++a) {
      if (to[a] == 1) box.axes.insert(box.axes.begin() + static_cast<std::ptrdiff_t>(a), BoxAxis{});
    }
  }
  return current;
}

}  // namespace wb
