// Compute steps and what a tensor says of itself; see tensor.h.
#include <algorithm>

#include "base/checked.h"
#include "base/error.h"
#include "tensor/element.h"
#include "tensor/node.h"
#include "tensor/tensor.h"

namespace wb {

namespace {

// A node of `op` over whole inputs, as a tensor of `dtype` and `shape`; `text` is its step.
Tensor compute(NodeKind op, DType dtype, Shape shape, double value, std::vector<Tensor> inputs,
               std::string text) {
  auto node = std::make_shared<Node>(op, dtype, std::move(text), std::move(inputs), value);
  return Tensor::of_node(std::move(node), dtype, std::move(shape));
}

std::vector<std::shared_ptr<const Step>> inputs_of(const Step& step) {
  if (step.kind == Step::Kind::view) return static_cast<const ViewStep&>(step).from;
  std::vector<std::shared_ptr<const Step>> out;
  if (step.kind == Step::Kind::node) {
    for (const Tensor& t : static_cast<const Node&>(step).inputs) out.push_back(t.origin());
  }
  return out;
}

void write_step(const Step& step, std::string& out) {
  constexpr std::size_t kMostShown = 3;
  const std::vector<std::shared_ptr<const Step>> inputs = inputs_of(step);
  if (inputs.empty()) {
    out += step.text;
  } else if (inputs.size() == 1) {
    write_step(*inputs[0], out);
    out += "." + step.text;
  } else {
    std::size_t n = inputs.size();
    out += step.text.substr(0, step.text.find(')')) + "; ";
    for (std::size_t i = 0; i < n; ++i) {
      if (n > kMostShown && i == 1) {
        out += " ... ";
        i = n - 1;
      } else if (i > 0) {
        out += ", ";
      }
      write_step(*inputs[i], out);
    }
    if (n > kMostShown) out += "; " + std::to_string(n) + " parts";
    out += ")";
  }
}

// Appends the names of stored nodes below the tensor; a node that is met twice is there twice.
void names_below(const Tensor& tensor, std::vector<const std::string*>& out) {
  for (const auto& node : tensor.inputs()) {
    if (node->op == NodeKind::stored) out.push_back(&node->text);
    for (const Tensor& input : node->inputs) names_below(input, out);
  }
}

}  // namespace

Tensor Tensor::cast(DType dtype) const {
  if (dtype == dtype_) return *this;
  if (!can_convert(dtype_, dtype)) {
    throw Error(Code::dtype_unsupported, "there is no conversion from " +
                                             std::string(name(dtype_)) + " to " +
                                             std::string(name(dtype)))
        .tensor(describe())
        .advice("Leave the tensor out in the recipe, or keep its type.");
  }
  return compute(NodeKind::cast, dtype, shape_, 0.0, {*this},
                 "cast(" + std::string(name(dtype)) + ")");
}

Tensor Tensor::scale(double factor) const {
  if (!info(dtype_).is_float || !can_convert(DType::F64, dtype_)) {
    throw Error(Code::dtype_unsupported, "only F64, F32, F16 and BF16 tensors can be scaled, not " +
                                             std::string(name(dtype_)))
        .tensor(describe())
        .advice("Cast the tensor first.");
  }
  if (factor == 1.0) return *this;
  return compute(NodeKind::scale, dtype_, shape_, factor, {*this},
                 "scale(" + std::to_string(factor) + ")");
}

Tensor Tensor::byteswap() const {
  if (bits(dtype_) <= 8) return *this;
  return compute(NodeKind::byteswap, dtype_, shape_, 0.0, {*this}, "byteswap()");
}

Tensor Tensor::matmul(const Tensor& a, const Tensor& b, DType dtype) {
  bool fits = a.shape_.size() == 2 && b.shape_.size() == 2 && a.shape_[1] == b.shape_[0];
  if (!fits) {
    throw Error(Code::shape_mismatch,
                "a matrix product of " + to_string(a.shape_) + " and " + to_string(b.shape_))
        .tensor(a.describe() + " and " + b.describe());
  }
  if (!can_convert(a.dtype_, DType::F64) || !can_convert(b.dtype_, DType::F64) ||
      !can_convert(DType::F64, dtype)) {
    throw Error(Code::dtype_unsupported, "a matrix product takes and makes floating types only")
        .tensor(a.describe());
  }
  return compute(NodeKind::matmul, dtype, {a.shape_[0], b.shape_[1]}, 0.0, {a, b}, "matmul()");
}

Tensor Tensor::add(const Tensor& a, const Tensor& b, DType dtype) {
  if (a.shape_ != b.shape_) {
    throw Error(Code::shape_mismatch,
                "a sum of " + to_string(a.shape_) + " and " + to_string(b.shape_))
        .tensor(a.describe() + " and " + b.describe());
  }
  if (!can_convert(a.dtype_, DType::F64) || !can_convert(b.dtype_, DType::F64) ||
      !can_convert(DType::F64, dtype)) {
    throw Error(Code::dtype_unsupported, "a sum takes and makes floating types only")
        .tensor(a.describe());
  }
  return compute(NodeKind::add, dtype, a.shape_, 0.0, {a, b}, "add()");
}

Tensor Tensor::times(const Tensor& a, const Tensor& factors, Shape blocks, DType dtype) {
  std::size_t rank = a.shape_.size();
  bool fits = factors.shape_.size() == rank && blocks.size() == rank;
  for (std::size_t k = 0; fits && k < rank; ++k) {
    std::uint64_t n = a.shape_[k];
    fits = blocks[k] > 0 && factors.shape_[k] >= n / blocks[k] + (n % blocks[k] != 0 ? 1 : 0);
  }
  if (!fits) {
    throw Error(Code::shape_mismatch, "factors of shape " + to_string(factors.shape_) +
                                          " for blocks of " + to_string(blocks) +
                                          " do not cover a tensor of " + to_string(a.shape_))
        .tensor(a.describe() + " and " + factors.describe());
  }
  if (!can_convert(a.dtype_, DType::F64) || !info(factors.dtype_).is_float ||
      !can_convert(factors.dtype_, DType::F64) || !can_convert(DType::F64, dtype)) {
    throw Error(Code::dtype_unsupported, "a product of " + std::string(name(a.dtype_)) +
                                             " elements with factors of " +
                                             std::string(name(factors.dtype_)))
        .tensor(a.describe() + " and " + factors.describe())
        .advice("Factors are of a floating type, and the product is F64, F32, F16 or BF16.");
  }
  auto node =
      std::make_shared<Node>(NodeKind::times, dtype, "times()", std::vector<Tensor>{a, factors});
  node->blocks = std::move(blocks);
  return Tensor::of_node(std::move(node), dtype, a.shape_);
}

Tensor Tensor::unpack4() const {
  if (shape_.empty() || (dtype_ != DType::I32 && dtype_ != DType::U32)) {
    throw Error(Code::dtype_unsupported,
                "4-bit numbers are unpacked from words of I32 or U32, not from " +
                    std::string(name(dtype_)) + " " + to_string(shape_))
        .tensor(describe())
        .advice("The checkpoint does not store this tensor as the recipe says.");
  }
  Shape shape = shape_;
  shape.back() = checked_mul(shape.back(), 8, "the unpacked axis");
  return compute(NodeKind::unpack4, DType::I8, std::move(shape), 0.0, {*this}, "unpack_int4()");
}

Tensor produced(std::shared_ptr<const Producer> producer, unsigned output, Shape shape,
                std::vector<Tensor> inputs, const std::string& text) {
  const DType dtype = producer->dtype(output);
  WB_CHECK(numel(shape) == producer->units() * producer->per_unit(output));
  auto node = std::make_shared<Node>(NodeKind::produced, dtype, text, std::move(inputs));
  node->producer = std::move(producer);
  node->output = output;
  return Tensor::of_node(std::move(node), dtype, std::move(shape));
}

bool Tensor::is_movement() const {
  const auto nodes = inputs();
  return std::all_of(nodes.begin(), nodes.end(), [](const auto& n) { return is_leaf(*n); });
}

std::vector<const std::string*> Tensor::source_names() const {
  std::vector<const std::string*> out;
  names_below(*this, out);
  return out;
}

std::vector<std::string> Tensor::sources() const {
  std::vector<const std::string*> names = source_names();
  std::sort(names.begin(), names.end(),
            [](const std::string* a, const std::string* b) { return *a < *b; });
  std::vector<std::string> out;
  for (const std::string* name : names) {
    if (out.empty() || out.back() != *name) out.push_back(*name);
  }
  return out;
}

std::string Tensor::describe() const {
  std::string out;
  if (const std::shared_ptr<const Step> step = origin()) write_step(*step, out);
  return out;
}

}  // namespace wb
