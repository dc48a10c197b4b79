// Construction of lazy tensors and their views; see tensor.h and box.h.
#include "tensor/tensor.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "tensor/box.h"
#include "tensor/element.h"
#include "tensor/node.h"

namespace wb {

namespace {

[[noreturn]] void wrong_shape(const std::string& what, const Tensor& tensor) {
  throw Error(Code::shape_mismatch, what + ", of " + tensor.describe());
}

std::shared_ptr<const Step> leaf_step(std::string text) {
  return std::make_shared<const Step>(Step{std::move(text), Step::Kind::leaf});
}
std::shared_ptr<const Step> step(std::string text, std::vector<std::shared_ptr<const Step>> from) {
  auto out = std::make_shared<ViewStep>();
  out->text = std::move(text);
  out->kind = Step::Kind::view;
  out->from = std::move(from);
  return out;
}

Box whole_box(const Shape& shape) {
  Box box;
  std::vector<std::int64_t> strides = row_major_strides(shape);
  for (std::size_t a = 0; a < shape.size(); ++a) {
    BoxAxis axis{0, {{shape[a], strides[a]}}};
    normalise(axis.dims);
    box.axes.push_back(std::move(axis));
  }
  return box;
}

// Joins `box` to the last of `boxes` when it continues it along `axis`.
bool joins(const Box& last, const Box& box, std::size_t axis) {
  if (last.input != box.input) return false;
  for (std::size_t a = 0; a < box.axes.size(); ++a) {
    const BoxAxis &x = last.axes[a], &y = box.axes[a];
    if (x.dims.size() > 1 || y.dims.size() > 1) return false;
    if (a == axis) continue;
    if (x.start != y.start || x.extent() != y.extent()) return false;
    if (x.extent() > 1 && x.dims[0].stride != y.dims[0].stride) return false;
  }
  const BoxAxis &x = last.axes[axis], &y = box.axes[axis];
  if (x.start + x.extent() != y.start) return false;
  std::int64_t stride = !x.dims.empty()   ? x.dims[0].stride
                        : !y.dims.empty() ? y.dims[0].stride
                                          : box.base - last.base;
  if (!y.dims.empty() && y.dims[0].stride != stride) return false;
  return stride >= 0 && last.base + static_cast<std::int64_t>(x.extent()) * stride == box.base;
}
void append_box(std::vector<Box>& boxes, Box box, std::size_t axis) {
  if (!boxes.empty() && joins(boxes.back(), box, axis)) {
    BoxAxis& x = boxes.back().axes[axis];
    std::uint64_t n = x.extent();
    std::int64_t stride = (box.base - boxes.back().base) / static_cast<std::int64_t>(n);
    x.dims = {{n + box.axes[axis].extent(), stride}};
  } else {
    boxes.push_back(std::move(box));
  }
}

}  // namespace

struct Tensor::View {
  std::vector<std::shared_ptr<const Node>> inputs;
  std::vector<Box> boxes;
  std::shared_ptr<const Step> step;
};

Tensor::Tensor(DType dtype, Shape shape, View view)
    : dtype_(dtype),
      shape_(std::move(shape)),
      view_(std::make_shared<const View>(std::move(view))) {}

Tensor Tensor::viewed(Shape shape, std::vector<Box> boxes, std::shared_ptr<const Step> step) const {
  const auto nodes = inputs();
  return Tensor(dtype_, std::move(shape),
                View{{nodes.begin(), nodes.end()}, std::move(boxes), std::move(step)});
}

std::shared_ptr<const Step> Tensor::origin() const { return view_ ? view_->step : node_; }

std::span<const std::shared_ptr<const Node>> Tensor::inputs() const {
  if (view_) return view_->inputs;
  return {&node_, node_ ? std::size_t{1} : std::size_t{0}};
}

std::vector<Box> Tensor::boxes() const {
  if (view_) return view_->boxes;
  if (numel() == 0) return {};
  return {whole_box(shape_)};
}

Tensor Tensor::of_node(std::shared_ptr<const Node> node, DType dtype, Shape shape) {
  Tensor t;
  t.dtype_ = dtype;
  t.shape_ = std::move(shape);
  t.node_ = std::move(node);
  return t;
}

Tensor Tensor::stored(std::string name, std::shared_ptr<const Storage> storage, DType dtype,
                      Shape shape, std::uint64_t offset, std::span<const std::uint64_t> strides) {
  if (strides.size() != shape.size()) {
    throw Error(Code::shape_mismatch, "a stored tensor has as many strides as dimensions")
        .tensor(name)
        .expected(std::to_string(shape.size()))
        .actual(std::to_string(strides.size()));
  }
  std::uint64_t count = wb::numel(shape);
  std::uint64_t last = offset;
  for (std::size_t a = 0; a < shape.size() && count > 0; ++a) {
    last = checked_add(last, checked_mul(shape[a] - 1, strides[a], "a stride"), "an offset");
  }
  std::uint64_t need = count > 0 ? checked_add(last, 1, "an offset") : 0;
  std::uint64_t need_bytes = (checked_mul(need, bits(dtype), "a bit count") + 7) / 8;
  if (need_bytes > storage->size()) {
    throw Error(Code::shape_mismatch, "the tensor reaches beyond its storage")
        .tensor(name)
        .expected(std::to_string(need_bytes) + " bytes")
        .actual(std::to_string(storage->size()))
        .advice("The checkpoint is damaged; fetch it again.");
  }
  auto node = std::make_shared<Node>(NodeKind::stored, dtype, std::move(name));
  node->storage = std::move(storage);
  Tensor t = of_node(node, dtype, std::move(shape));
  const std::vector<std::int64_t> plain = row_major_strides(t.shape_);
  bool whole = offset == 0;
  for (std::size_t a = 0; a < t.shape_.size(); ++a) {
    whole &= t.shape_[a] == 1 || strides[a] == static_cast<std::uint64_t>(plain[a]);
  }
  if (whole || count == 0) return t;
  Box box;
  box.base = static_cast<std::int64_t>(offset);
  for (std::size_t a = 0; a < t.shape_.size(); ++a) {
    BoxAxis axis{0, {{t.shape_[a], static_cast<std::int64_t>(strides[a])}}};
    normalise(axis.dims);
    box.axes.push_back(std::move(axis));
  }
  return t.viewed(t.shape_, {std::move(box)}, t.origin());
}

Tensor Tensor::stored(std::string name, std::shared_ptr<const Storage> storage, DType dtype,
                      Shape shape) {
  wb::numel(shape);
  std::vector<std::int64_t> strides = row_major_strides(shape);
  std::vector<std::uint64_t> unsigned_strides(strides.begin(), strides.end());
  return stored(std::move(name), std::move(storage), dtype, std::move(shape), 0, unsigned_strides);
}

Tensor Tensor::fill(DType dtype, Shape shape, double value) {
  WB_CHECK(can_convert(DType::F64, dtype) || value == 0.0);
  std::string text = value == 0.0 ? "zeros" : value == 1.0 ? "ones" : std::to_string(value);
  auto node = std::make_shared<Node>(NodeKind::fill, dtype, text + to_string(shape),
                                     std::vector<Tensor>{}, value);
  Tensor t = of_node(node, dtype, std::move(shape));
  std::vector<Box> boxes = t.boxes();
  for (Box& box : boxes) {
    for (BoxAxis& axis : box.axes) {
      for (SubDim& d : axis.dims) d.stride = 0;
    }
  }
  return t.viewed(t.shape_, std::move(boxes), t.origin());
}

Tensor Tensor::values(std::string name, std::span<const float> data, Shape shape) {
  WB_CHECK(wb::numel(shape) == data.size());
  auto raw = std::as_bytes(data);
  return stored(std::move(name), memory_storage({raw.begin(), raw.end()}), DType::F32,
                std::move(shape));
}

Tensor Tensor::reshape(Shape shape) const {
  if (wb::numel(shape) != numel()) {
    wrong_shape(
        "reshape to " + to_string(shape) + " does not hold the elements of " + to_string(shape_),
        *this);
  }
  if (shape == shape_) return *this;
  std::vector<Box> boxes =
      numel() > 0 ? reshape_boxes(this->boxes(), shape_, shape) : this->boxes();
  auto how = step("reshape" + to_string(shape), {origin()});
  return viewed(std::move(shape), std::move(boxes), std::move(how));
}

Tensor Tensor::permute(std::span<const int> axes) const {
  std::vector<bool> seen(shape_.size(), false);
  std::string text;
  bool good = axes.size() == shape_.size();
  for (int a : axes) {
    good = good && a >= 0 && static_cast<std::size_t>(a) < seen.size() &&
           !seen[static_cast<std::size_t>(a)];
    if (good) seen[static_cast<std::size_t>(a)] = true;
    text += (text.empty() ? "" : ", ") + std::to_string(a);
  }
  if (!good)
    wrong_shape("permute(" + text + ") does not name each axis of " + to_string(shape_) + " once",
                *this);
  Shape shape = shape_;
  const std::vector<Box> before = this->boxes();
  std::vector<Box> boxes = before;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    shape[i] = shape_[static_cast<std::size_t>(axes[i])];
    for (std::size_t b = 0; b < boxes.size(); ++b) {
      boxes[b].axes[i] = before[b].axes[static_cast<std::size_t>(axes[i])];
    }
  }
  return viewed(std::move(shape), std::move(boxes), step("permute(" + text + ")", {origin()}));
}

Tensor Tensor::transpose() const {
  if (shape_.size() != 2)
    wrong_shape("a transpose takes two dimensions, not " + to_string(shape_), *this);
  const int axes[] = {1, 0};
  return permute(axes);
}

Tensor Tensor::slice(int axis, std::uint64_t begin, std::uint64_t end) const {
  auto a = static_cast<std::size_t>(axis);
  std::string text = "slice(" + std::to_string(axis) + ", " + std::to_string(begin) + ":" +
                     std::to_string(end) + ")";
  if (axis < 0 || a >= shape_.size() || begin > end || end > shape_[a]) {
    wrong_shape(text + " is outside " + to_string(shape_), *this);
  }
  if (begin == 0 && end == shape_[a]) return *this;
  Shape shape = shape_;
  shape[a] = end - begin;
  std::vector<Box> boxes;
  for (const Box& box : wb::numel(shape) > 0 ? this->boxes() : std::vector<Box>()) {
    const BoxAxis& x = box.axes[a];
    std::uint64_t lo = std::max(begin, x.start), hi = std::min(end, x.start + x.extent());
    if (lo >= hi) continue;
    for (AxisPart& part : cut(x.dims, lo - x.start, hi - x.start)) {
      Box piece = box;
      piece.base += part.base;
      piece.axes[a] = {lo - begin + part.first, std::move(part.dims)};
      boxes.push_back(std::move(piece));
    }
  }
  // sources() names only what is left.
  constexpr std::uint32_t kUnused = ~std::uint32_t{0};
  const auto nodes = inputs();
  std::vector<std::uint32_t> renumber(nodes.size(), kUnused);
  std::vector<std::shared_ptr<const Node>> kept;
  for (Box& box : boxes) {
    if (renumber[box.input] == kUnused) {
      renumber[box.input] = static_cast<std::uint32_t>(kept.size());
      kept.push_back(nodes[box.input]);
    }
    box.input = renumber[box.input];
  }
  return Tensor(dtype_, std::move(shape),
                View{std::move(kept), std::move(boxes), step(std::move(text), {origin()})});
}

Tensor Tensor::concat(int axis, std::span<const Tensor> parts) {
  WB_CHECK(!parts.empty());
  auto a = static_cast<std::size_t>(axis);
  const Tensor& first = parts[0];
  if (axis < 0 || a >= first.shape_.size()) {
    wrong_shape("concat has no axis " + std::to_string(axis) + " in " + to_string(first.shape_),
                first);
  }
  if (parts.size() == 1) return first;
  Shape shape = first.shape_;
  shape[a] = 0;
  std::map<const Node*, std::uint32_t> known;
  View view;
  std::vector<std::shared_ptr<const Step>> steps;
  for (const Tensor& part : parts) {
    Shape expected = part.shape_;
    if (expected.size() == shape.size()) expected[a] = shape[a];
    if (expected != shape || part.dtype_ != first.dtype_) {
      wrong_shape("concat along axis " + std::to_string(axis) + " joins " +
                      std::string(name(first.dtype_)) + to_string(first.shape_) + " and " +
                      std::string(name(part.dtype_)) + to_string(part.shape_),
                  part);
    }
    std::vector<std::uint32_t> renumber;
    for (const auto& input : part.inputs()) {
      auto [it, fresh] =
          known.try_emplace(input.get(), static_cast<std::uint32_t>(view.inputs.size()));
      if (fresh) view.inputs.push_back(input);
      renumber.push_back(it->second);
    }
    for (Box& box : part.boxes()) {
      box.input = renumber[box.input];
      box.axes[a].start += shape[a];
      append_box(view.boxes, std::move(box), a);
    }
    shape[a] = checked_add(shape[a], part.shape_[a], "a concatenated dimension");
    steps.push_back(part.origin());
  }
  wb::numel(shape);
  view.boxes.shrink_to_fit();
  view.step = step("concat(" + std::to_string(axis) + ")", std::move(steps));
  return Tensor(first.dtype_, std::move(shape), std::move(view));
}

Tensor Tensor::stack(int axis, std::span<const Tensor> parts) {
  WB_CHECK(!parts.empty());
  std::vector<Tensor> rows;
  std::vector<std::shared_ptr<const Step>> steps;
  for (const Tensor& part : parts) {
    if (axis < 0 || static_cast<std::size_t>(axis) > part.shape_.size()) {
      wrong_shape("stack has no axis " + std::to_string(axis) + " for " + to_string(part.shape_),
                  part);
    }
    Shape shape = part.shape_;
    shape.insert(shape.begin() + axis, 1);
    rows.push_back(part.reshape(std::move(shape)));
    steps.push_back(part.origin());
  }
  const Tensor t = concat(axis, rows);
  return t.viewed(t.shape_, t.boxes(),
                  step("stack(" + std::to_string(axis) + ")", std::move(steps)));
}

Tensor Tensor::pad(int axis, std::uint64_t before, std::uint64_t after) const {
  if (axis < 0 || static_cast<std::size_t>(axis) >= shape_.size()) {
    wrong_shape("pad has no axis " + std::to_string(axis) + " in " + to_string(shape_), *this);
  }
  if (before == 0 && after == 0) return *this;
  auto zeros = [&](std::uint64_t n) {
    Shape shape = shape_;
    shape[static_cast<std::size_t>(axis)] = n;
    return fill(dtype_, std::move(shape), 0.0);
  };
  std::vector<Tensor> parts;
  if (before > 0) parts.push_back(zeros(before));
  parts.push_back(*this);
  if (after > 0) parts.push_back(zeros(after));
  const Tensor t = concat(axis, parts);
  return t.viewed(t.shape_, t.boxes(),
                  step("pad(" + std::to_string(axis) + ", " + std::to_string(before) + ", " +
                           std::to_string(after) + ")",
                       {origin()}));
}

Tensor Tensor::named(std::string text) const {
  return viewed(shape_, boxes(), leaf_step(std::move(text)));
}

}  // namespace wb
