// The tensor functions and methods of the expression language; see eval.h. Shapes are
// checked here where a step is ours, else by the tensor layer.
#include <cmath>

#include "recipe/eval.h"
#include "tensor/element.h"
#include "tensor/read.h"

namespace wb {

namespace {

DType dtype_of(const std::string& word) {
  if (word == "f16") return DType::F16;
  if (word == "bf16") return DType::BF16;
  if (word == "f64") return DType::F64;
  return DType::F32;
}

[[noreturn]] void shape_error(const Expr& expr, const std::string& what, const Shape& shape) {
  throw Error(Code::shape_mismatch, "'" + expr.text + "' " + what)
      .actual(to_string(shape))
      .advice("Correct the expression; docs/recipes.md says what each step takes.");
}

// [.., n, ..] -> [.., a, b, ..] at `axis`.
Tensor split_axis(const Tensor& t, std::size_t axis, std::uint64_t a, std::uint64_t b) {
  Shape shape = t.shape();
  shape[axis] = a;
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis) + 1, b);
  return t.reshape(std::move(shape));
}
Tensor merge_axis(const Tensor& t, std::size_t axis) {
  Shape shape = t.shape();
  shape[axis] = checked_mul(shape[axis], shape[axis + 1], "the merged axis");
  shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis) + 1);
  return t.reshape(std::move(shape));
}
// Element (i, j) of the axis seen as [a, b] goes to (j, i).
Tensor shuffle_axis(const Tensor& t, std::size_t axis, std::uint64_t a, std::uint64_t b) {
  Tensor wide = split_axis(t, axis, a, b);
  std::vector<int> axes(wide.shape().size());
  for (std::size_t i = 0; i < axes.size(); ++i) axes[i] = static_cast<int>(i);
  std::swap(axes[axis], axes[axis + 1]);
  return merge_axis(wide.permute(axes), axis);
}

// cos or sin of position * base^(-2j/dim), [positions, dim / 2].
Generated rope_table(std::uint64_t positions, std::uint64_t dim, double base, bool cosine) {
  std::uint64_t half = dim / 2;
  return {{positions, half}, [=](std::uint64_t begin, std::uint64_t end, double* out) {
            for (std::uint64_t i = begin; i < end; ++i) {
              const std::uint64_t j = i % half, position = i / half;
              double angle =
                  static_cast<double>(position) *
                  std::pow(base, -2.0 * static_cast<double>(j) / static_cast<double>(dim));
              *out++ = cosine ? std::cos(angle) : std::sin(angle);
            }
          }};
}

}  // namespace

int Evaluator::axis(const Expr& expr, const Tensor& of) {
  std::int64_t value = whole(expr);
  if (value < 0 || static_cast<std::uint64_t>(value) >= of.shape().size()) {
    shape_error(expr,
                "is axis " + std::to_string(value) + " of a tensor of rank " +
                    std::to_string(of.shape().size()),
                of.shape());
  }
  return static_cast<int>(value);
}

Shape Evaluator::shape(const Expr& expr, std::size_t first) {
  Shape out;
  for (std::size_t i = first; i < expr.args.size(); ++i) out.push_back(size(*expr.args[i]));
  return out;
}

Tensor Evaluator::over(const Expr& expr, bool concat) {
  const std::string& variable = expr.args[0]->name;
  auto count = counts.find(variable);
  WB_CHECK(count != counts.end());
  auto outer = indices.find(variable);
  std::optional<std::uint64_t> kept;
  if (outer != indices.end()) kept = outer->second;
  std::vector<Tensor> parts;
  for (std::uint64_t i = 0; i < count->second; ++i) {
    indices[variable] = i;
    parts.push_back(tensor(*expr.args.back()));
  }
  if (kept) {
    indices[variable] = *kept;
  } else {
    indices.erase(variable);
  }
  if (parts.empty()) shape_error(expr, "goes over no index: {" + variable + "} has no value", {});
  int at = concat ? static_cast<int>(whole(*expr.args[1])) : 0;
  return concat ? Tensor::concat(at, parts) : Tensor::stack(at, parts);
}

// One element as a number; bytes are read.
Value Evaluator::item(const Expr& expr) {
  Tensor of = tensor(*expr.args[0]);
  std::uint64_t i = expr.args.size() > 1 ? size(*expr.args[1]) : 0;
  if (i >= of.numel() || (expr.args.size() == 1 && of.numel() != 1)) {
    shape_error(expr,
                expr.args.size() > 1
                    ? "reads an element that the tensor does not have"
                    : "reads the only element of a tensor that has " + std::to_string(of.numel()),
                of.shape());
  }
  if (!can_convert(of.dtype(), DType::F64)) {
    shape_error(expr,
                "reads " + std::string(wb::name(of.dtype())) + " elements, which are no numbers",
                of.shape());
  }
  double value = 0;
  Tensor wide = of.reshape({of.numel()}).slice(0, i, i + 1).cast(DType::F64);
  read_range(wide, 0, 1, std::as_writable_bytes(std::span<double>(&value, 1)));
  bool whole_type = !info(of.dtype()).is_float && std::fabs(value) < 9e15;
  if (whole_type) return static_cast<std::int64_t>(value);
  return value;
}

Tensor Evaluator::scale_by(const Expr& expr, const Tensor& t) {
  Tensor vector = tensor(*expr.args[1]);
  int a = axis(*expr.args[2], t);
  auto k = static_cast<std::size_t>(a);
  if (vector.numel() != t.shape()[k]) {
    shape_error(expr,
                "multiplies an axis of " + std::to_string(t.shape()[k]) + " by " +
                    std::to_string(vector.numel()) + " factors",
                t.shape());
  }
  Shape grid(t.shape().size(), 1), blocks = t.shape();
  grid[k] = t.shape()[k];
  blocks[k] = 1;
  for (std::uint64_t& b : blocks) b = std::max<std::uint64_t>(b, 1);
  return Tensor::times(t, vector.reshape(std::move(grid)), std::move(blocks), t.dtype());
}

// By a scalar, by one factor per row, or by blocks; in the type of the scale.
Tensor Evaluator::dequantise(const Expr& expr, const Tensor& t) {
  Tensor scale = tensor(*expr.args[1]);
  std::size_t rank = t.shape().size();
  Shape blocks = shape(expr, 2);
  if (blocks.empty()) {
    // Without blocks: one factor for all, or one per index of the first axes.
    Shape grid = scale.shape();
    if (scale.numel() == 1) grid.clear();
    if (grid.size() > rank) {
      shape_error(expr, "has a scale of more axes than the tensor: " + to_string(grid), t.shape());
    }
    grid.resize(rank, 1);
    blocks = t.shape();
    for (std::size_t k = 0; k < rank; ++k) {
      blocks[k] = std::max<std::uint64_t>(blocks[k], 1);
      if (grid[k] == 1) continue;
      if (grid[k] != t.shape()[k]) {
        shape_error(expr,
                    "has a scale " + to_string(scale.shape()) +
                        " that is neither one number nor one per row; give the sizes of its "
                        "blocks",
                    t.shape());
      }
      blocks[k] = 1;
    }
    scale = scale.reshape(std::move(grid));
  }
  return Tensor::times(t, scale, std::move(blocks), scale.dtype());
}

Value Evaluator::method(const Expr& expr) {
  const auto& args = expr.args;
  auto parts = [&] {
    std::vector<Tensor> out;
    for (std::size_t i = 1; i < args.size(); ++i) out.push_back(tensor(*args[i]));
    return out;
  };
  switch (expr.function->fn) {
    case Fn::concat:
      return Tensor::concat(static_cast<int>(whole(*args[0])), parts());
    case Fn::stack:
      return Tensor::stack(static_cast<int>(whole(*args[0])), parts());
    case Fn::concat_over:
      return over(expr, true);
    case Fn::stack_over:
      return over(expr, false);
    case Fn::every:
      return eval(*args[1]);
    case Fn::zeros:
      return Tensor::fill(DType::F32, shape(expr, 0), 0.0);
    case Fn::ones:
      return Tensor::fill(DType::F32, shape(expr, 0), 1.0);
    case Fn::full:
      return Tensor::fill(DType::F32, shape(expr, 1), real(*args[0]));
    case Fn::matmul: {
      Tensor a = tensor(*args[0]), b = tensor(*args[1]);
      return Tensor::matmul(a, b, a.dtype());
    }
    case Fn::add: {
      Tensor a = tensor(*args[0]), b = tensor(*args[1]);
      return Tensor::add(a, b, a.dtype());
    }
    case Fn::item:
      return item(expr);
    case Fn::inv_freq: {
      std::uint64_t dim = size(*args[0]);
      double base = real(*args[1]);
      return Generated{{dim / 2}, [dim, base](std::uint64_t begin, std::uint64_t end, double* out) {
                         for (std::uint64_t j = begin; j < end; ++j) {
                           *out++ = std::pow(
                               base, -2.0 * static_cast<double>(j) / static_cast<double>(dim));
                         }
                       }};
    }
    case Fn::rope_cos:
    case Fn::rope_sin:
      return rope_table(size(*args[0]), size(*args[1]), real(*args[2]),
                        expr.function->fn == Fn::rope_cos);
    case Fn::eye: {
      // Row by row, the ones are n + 1 elements apart.
      std::uint64_t n = size(*args[0]);
      Tensor rows = Tensor::concat(1, std::vector<Tensor>{Tensor::fill(DType::F32, {n, 1}, 1.0),
                                                          Tensor::fill(DType::F32, {n, n}, 0.0)});
      return rows.reshape({checked_mul(n, n + 1, "an identity")})
          .slice(0, 0, n * n)
          .reshape({n, n});
    }
    case Fn::tril: {
      std::uint64_t n = size(*args[0]);
      return Generated{{n, n}, [n](std::uint64_t begin, std::uint64_t end, double* out) {
                         std::uint64_t row = begin / n, column = begin % n;
                         for (std::uint64_t i = begin; i < end; ++i) {
                           *out++ = row >= column ? 1.0 : 0.0;
                           if (++column == n) {
                             column = 0;
                             ++row;
                           }
                         }
                       }};
    }
    default:
      break;
  }
  Value receiver = eval(*args[0]);
  if (auto* generated = std::get_if<Generated>(&receiver)) {
    Shape to = shape(expr, 1);
    if (numel(to) != numel(generated->shape))
      shape_error(expr, "changes the size", generated->shape);
    return Generated{std::move(to), std::move(generated->fill)};
  }
  auto* subject_tensor = std::get_if<Tensor>(&receiver);
  if (subject_tensor == nullptr) wrong_type(*args[0], "a tensor", receiver);
  const Tensor& t = *subject_tensor;
  auto at = [&] { return axis(*args[1], t); };
  auto length = [&](int a) { return t.shape()[static_cast<std::size_t>(a)]; };
  switch (expr.function->fn) {
    case Fn::reshape:
      return t.reshape(shape(expr, 1));
    case Fn::permute: {
      std::vector<int> axes;
      for (std::size_t i = 1; i < args.size(); ++i) axes.push_back(axis(*args[i], t));
      return t.permute(axes);
    }
    case Fn::t:
      // A vector is its own transpose: a module's line fits weight and bias alike.
      return t.shape().size() == 1 ? t : t.transpose();
    case Fn::slice:
      return t.slice(at(), size(*args[2]), size(*args[3]));
    case Fn::select: {
      int a = at();
      std::uint64_t i = size(*args[2]);
      if (i >= length(a)) {
        shape_error(expr, "selects " + std::to_string(i) + " of " + std::to_string(length(a)),
                    t.shape());
      }
      Shape shape = t.shape();
      shape.erase(shape.begin() + a);
      return t.slice(a, i, i + 1).reshape(std::move(shape));
    }
    case Fn::split: {
      int a = at();
      std::uint64_t n = size(*args[2]);
      if (n == 0 || length(a) % n != 0) {
        shape_error(expr,
                    "splits an axis of " + std::to_string(length(a)) + " into " +
                        std::to_string(n) + " equal parts",
                    t.shape());
      }
      return split_axis(t, static_cast<std::size_t>(a), n, length(a) / n);
    }
    case Fn::merge: {
      int a = at();
      if (static_cast<std::size_t>(a) + 1 >= t.shape().size()) {
        shape_error(expr, "merges the last axis with one after it", t.shape());
      }
      return merge_axis(t, static_cast<std::size_t>(a));
    }
    case Fn::pad:
      return t.pad(at(), size(*args[2]), size(*args[3]));
    case Fn::cast:
      return t.cast(dtype_of(args[1]->name));
    case Fn::scale:
      return t.scale(real(*args[1]));
    case Fn::scale_by:
      return scale_by(expr, t);
    case Fn::dequantise:
      return dequantise(expr, t);
    case Fn::unpack_int4:
      return t.unpack4();
    case Fn::half_split:
    case Fn::interleaved: {
      int a = at();
      std::uint64_t n = length(a);
      if (n % 2 != 0) shape_error(expr, "reorders pairs, but the axis is odd", t.shape());
      bool to_half = expr.function->fn == Fn::half_split;
      return shuffle_axis(t, static_cast<std::size_t>(a), to_half ? n / 2 : 2, to_half ? 2 : n / 2);
    }
    default:
      WB_BUG("a function without a meaning");
  }
}

}  // namespace wb
