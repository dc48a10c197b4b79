// Comparisons of values for same(), equal() and close(); see eval.h.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/threads.h"
#include "recipe/eval.h"
#include "tensor/element.h"
#include "tensor/read.h"

namespace wb {

namespace {

constexpr std::uint64_t kPiece = 1u << 16;  // elements compared at a time

// Half a unit in the last place of the type, relative; and what its smallest steps may add.
struct Rounding {
  double relative, absolute;
};
Rounding rounding(DType dtype) {
  switch (dtype) {
    case DType::F16:
      return {std::ldexp(1.0, -11), std::ldexp(1.0, -25)};
    case DType::BF16:
      return {std::ldexp(1.0, -8), 0};
    case DType::F32:
      return {std::ldexp(1.0, -24), std::ldexp(1.0, -150)};
    default:
      return {0, 0};
  }
}

std::vector<double> read_doubles(const Tensor& tensor, std::uint64_t begin, std::uint64_t end) {
  std::size_t n = static_cast<std::size_t>(end - begin);
  std::vector<std::byte> raw(n * item_size(tensor.dtype()));
  read_range(tensor, begin, end, raw);
  std::vector<double> out(n);
  convert_elements(tensor.dtype(), raw.data(), DType::F64, reinterpret_cast<std::byte*>(out.data()),
                   n);
  return out;
}

std::string printed(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

// The elements of a stretch that differ: how many, and the one that differs most.
struct Worst {
  std::uint64_t bad = 0, at = 0;
  double difference = -1, a = 0, b = 0;

  void take(double d, double x, double y, std::uint64_t where) {
    if (d <= difference || std::isnan(difference)) return;  // a NaN is as bad as can be
    difference = d;
    a = x;
    b = y;
    at = where;
  }
  void join(const Worst& later) {
    bad += later.bad;
    if (later.bad > 0) take(later.difference, later.a, later.b, later.at);
  }
};

Worst worst_of(const std::vector<double>& left, const std::vector<double>& right,
               std::uint64_t begin, double relative, double absolute) {
  Worst worst;
  for (std::size_t i = 0; i < left.size(); ++i) {
    double x = left[i], y = right[i];
    // Infinities of one sign differ by NaN and are equal; a NaN equals nothing.
    if (x == y) continue;
    double difference = std::fabs(x - y);
    if (difference <= relative * std::fabs(y) + absolute) continue;
    ++worst.bad;
    worst.take(difference, x, y, begin + i);
  }
  return worst;
}

const Shape& shape_of(const Value& value) {
  if (const auto* generated = std::get_if<Generated>(&value)) return generated->shape;
  return std::get<Tensor>(value).shape();
}

}  // namespace

Comparison compare_values(const Tensor& a, const Value& b, double tolerance, double absolute) {
  if (a.shape() != shape_of(b)) {
    return {"its shape is " + to_string(a.shape()) + ", not " + to_string(shape_of(b))};
  }
  const auto* generated = std::get_if<Generated>(&b);
  const auto* other = std::get_if<Tensor>(&b);
  for (const Tensor* t : {&a, other}) {
    if (t != nullptr && t->dtype() != DType::F64 && !can_convert(t->dtype(), DType::F64)) {
      return {"its type " + std::string(name(t->dtype())) + " cannot be compared"};
    }
  }
  Rounding own = tolerance > 0 ? rounding(a.dtype()) : Rounding{0, 0};
  std::uint64_t n = a.numel();
  std::vector<Worst> pieces(static_cast<std::size_t>((n + kPiece - 1) / kPiece));
  parallel_for(pieces.size(), 0, [&](std::size_t p, unsigned) {
    std::uint64_t begin = p * kPiece, end = std::min(n, begin + kPiece);
    std::vector<double> left = read_doubles(a, begin, end), right(left.size());
    if (other != nullptr) {
      right = read_doubles(*other, begin, end);
    } else {
      generated->fill(begin, end, right.data());
    }
    pieces[p] = worst_of(left, right, begin, tolerance + own.relative, absolute + own.absolute);
  });
  Worst worst;
  for (const Worst& piece : pieces) worst.join(piece);
  if (worst.bad == 0) return {};
  return {std::to_string(worst.bad) + " of " + std::to_string(n) +
          " elements differ, the largest " + "difference is " + printed(worst.difference) +
          " at element " + std::to_string(worst.at) + " (" + printed(worst.a) + ", not " +
          printed(worst.b) + ")"};
}

bool equal_bytes(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  if (bits(a.dtype()) < 8) {
    throw Error(Code::dtype_unsupported,
                "tensors of " + std::string(name(a.dtype())) + " elements cannot be compared")
        .advice("Convert the tensor to a type of whole bytes first.");
  }
  std::uint64_t n = a.numel(), width = item_size(a.dtype());
  std::vector<std::byte> left, right;
  for (std::uint64_t begin = 0; begin < n; begin += kPiece) {
    std::uint64_t end = std::min(n, begin + kPiece);
    left.resize(static_cast<std::size_t>((end - begin) * width));
    right.resize(left.size());
    read_range(a, begin, end, left);
    read_range(b, begin, end, right);
    if (std::memcmp(left.data(), right.data(), left.size()) != 0) return false;
  }
  return true;
}

bool same_tensor(const SourceTensor& a, const SourceTensor& b) {
  if (&a == &b) return true;
  bool one_view = a.storage_id == b.storage_id && a.file == b.file &&
                  a.storage_offset == b.storage_offset && a.contiguous && b.contiguous &&
                  a.tensor.dtype() == b.tensor.dtype() && a.tensor.shape() == b.tensor.shape();
  return one_view || equal_bytes(a.tensor, b.tensor);
}

}  // namespace wb
