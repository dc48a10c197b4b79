// Finding stored rows behind a canonical tensor; see matrix.h.
#include "engine/matrix.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "base/error.h"
#include "quant/quantize.h"
#include "tensor/node.h"
#include "tensor/read.h"

namespace wb::engine {

namespace {

// The rows of a [out, in] tensor as elements of one stored node.
struct StoredRows {
  std::shared_ptr<const Storage> storage;
  DType dtype;
  std::vector<std::uint64_t> first;  // [out]: element where the row begins
};

// Places of one axis of a box, in order.
std::vector<std::int64_t> places(const BoxAxis& axis) {
  std::vector<std::int64_t> out{0};
  for (const SubDim& d : axis.dims) {
    std::vector<std::int64_t> next;
    next.reserve(out.size() * d.count);
    for (std::int64_t base : out) {
      for (std::uint64_t i = 0; i < d.count; ++i) {
        next.push_back(base + static_cast<std::int64_t>(i) * d.stride);
      }
    }
    out = std::move(next);
  }
  return out;
}

bool is_run(const BoxAxis& axis, std::uint64_t n) {
  BoxAxis whole = axis;
  normalise(whole.dims);
  if (n == 1) return whole.dims.empty();
  return axis.start == 0 && whole.dims.size() == 1 && whole.dims[0].count == n &&
         whole.dims[0].stride == 1;
}

std::optional<StoredRows> stored_rows(const Tensor& t) {
  const std::uint64_t out = t.shape()[0], in = t.shape()[1];
  StoredRows rows{nullptr, t.dtype(), std::vector<std::uint64_t>(out)};
  for (const Box& box : t.boxes()) {
    const Node& node = *t.inputs()[box.input];
    if (node.op != NodeKind::stored || !is_run(box.axes[1], in)) return std::nullopt;
    if (rows.storage == nullptr) rows.storage = node.storage;
    if (rows.storage != node.storage || node.dtype != t.dtype()) return std::nullopt;
    std::size_t r = box.axes[0].start;
    for (std::int64_t place : places(box.axes[0])) {
      rows.first[r++] = static_cast<std::uint64_t>(box.base + place);
    }
  }
  if (rows.storage == nullptr) return std::nullopt;
  return rows;
}

// The bytes of a tensor that lies in its storage as it is.
const std::byte* standing(const Tensor& t, std::shared_ptr<const Storage>& keep) {
  const Tensor flat = t.reshape({1, t.numel()});
  const std::optional<StoredRows> rows = stored_rows(flat);
  if (!rows) return nullptr;
  keep = rows->storage;
  return rows->storage->bytes().data() + rows->first[0] * item_size(t.dtype());
}

// Row numbers in units of `unit` elements from the lowest on; a null table when they simply
// count up.
void number_rows(const std::vector<std::uint64_t>& first, std::uint64_t lowest, std::uint64_t unit,
                 Matrix& m) {
  bool counting = true;
  m.rows.resize(first.size());
  for (std::size_t r = 0; r < first.size(); ++r) {
    m.rows[r] = static_cast<std::uint32_t>((first[r] - lowest) / unit);
    counting = counting && m.rows[r] == r;
  }
  if (counting) m.rows.clear();
  m.packed.rows = counting ? nullptr : m.rows.data();
}

std::optional<ops::Packing> dense_packing(DType dtype) {
  if (dtype == DType::F32) return ops::Packing::f32;
  if (dtype == DType::F16) return ops::Packing::f16;
  if (dtype == DType::BF16) return ops::Packing::bf16;
  return std::nullopt;
}

bool bind_dense(const StoredRows& rows, Matrix& m) {
  const auto packing = dense_packing(rows.dtype);
  if (!packing) return false;
  const std::size_t size = item_size(rows.dtype);
  const std::uint64_t lowest = *std::min_element(rows.first.begin(), rows.first.end());
  std::uint64_t unit = 0;
  for (std::uint64_t f : rows.first) unit = std::gcd(unit, f - lowest);
  if (unit == 0) unit = m.packed.in;
  const std::byte* data = rows.storage->bytes().data() + lowest * size;
  if (reinterpret_cast<std::uintptr_t>(data) % size != 0) return false;
  m.packed.packing = *packing;
  m.packed.bits = static_cast<unsigned>(size * 8);
  m.packed.data = data;
  m.packed.row_bytes = unit * size;
  number_rows(rows.first, lowest, unit, m);
  m.storages.push_back(rows.storage);
  return true;
}

bool bind_codes(const StoredRows& rows, const StoredCodes& codes, Matrix& m) {
  const QuantFormat& f = codes.format;
  const std::uint64_t width = codes.stored.weight.shape().back() * 32 / f.bits;
  if (width != m.packed.in) return false;
  for (std::uint64_t f0 : rows.first) {
    if (f0 % width != 0) return false;
  }
  ops::PackedMatrix& p = m.packed;
  std::shared_ptr<const Storage> keep[3];
  p.data = standing(codes.stored.weight, keep[0]);
  p.scales = standing(codes.stored.scales, keep[1]);
  if (codes.stored.biases) p.biases = standing(*codes.stored.biases, keep[2]);
  const auto misaligned = [](const std::byte* at, std::size_t size) {
    return at == nullptr || reinterpret_cast<std::uintptr_t>(at) % size != 0;
  };
  const std::size_t scale_size = item_size(codes.stored.scales.dtype());
  if (misaligned(p.data, 4) || misaligned(p.scales, scale_size)) return false;
  if (codes.stored.biases && misaligned(p.biases, scale_size)) return false;
  p.bits = f.bits;
  p.group = f.group_size;
  p.row_bytes = width * f.bits / 8;
  p.scale_bytes = width / f.group_size * scale_size;
  p.packing = f.mode == QuantMode::affine  ? ops::Packing::affine
              : f.mode == QuantMode::mxfp8 ? ops::Packing::e4m3
                                           : ops::Packing::e2m1;
  const DType scales = codes.stored.scales.dtype();
  p.scale_type = f.mode == QuantMode::nvfp4 ? ops::ScaleType::e4m3
                 : scales == DType::F32     ? ops::ScaleType::f32
                 : scales == DType::F16     ? ops::ScaleType::f16
                 : scales == DType::BF16    ? ops::ScaleType::bf16
                                            : ops::ScaleType::e8m0;
  number_rows(rows.first, 0, width, m);
  for (auto& storage : keep) {
    if (storage != nullptr) m.storages.push_back(std::move(storage));
  }
  return true;
}

void bind_copy(const Tensor& t, Matrix& m) {
  const Tensor values = dense_packing(t.dtype()) ? t : t.cast(DType::F32);
  m.copy = read_all(values);
  m.rows.clear();
  m.packed.rows = nullptr;
  m.packed.group = 0;
  m.packed.scales = m.packed.biases = nullptr;
  m.packed.packing = *dense_packing(values.dtype());
  m.packed.bits = item_size(values.dtype()) * 8;
  m.packed.data = m.copy.data();
  m.packed.row_bytes = m.packed.in * item_size(values.dtype());
}

}  // namespace

Matrix make_matrix(const Tensor& weight, std::size_t in, const Tensor* bias) {
  WB_CHECK(in > 0 && weight.numel() % in == 0);
  Matrix m;
  m.packed.in = in;
  m.packed.out = static_cast<std::size_t>(weight.numel() / in);
  const Tensor t = weight.reshape({m.packed.out, in});
  if (const std::optional<StoredRows> rows = stored_rows(t)) {
    const std::optional<StoredCodes> codes = stored_codes(*rows->storage);
    m.mapped = codes ? bind_codes(*rows, *codes, m) : bind_dense(*rows, m);
  }
  if (!m.mapped) bind_copy(t, m);
  if (bias != nullptr) {
    m.bias = read_f32(*bias);
    m.packed.bias = m.bias.data();
  }
  return m;
}

}  // namespace wb::engine
