// Packing and arithmetic of affine groups; see affine.h.
#include "quant/affine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <mutex>

#include "base/error.h"
#include "tensor/element.h"
#include "tensor/read.h"

namespace wb {

namespace {

float round_to(DType dtype, float v) {
  switch (dtype) {
    case DType::F16:
      return f16_to_f32(f32_to_f16(v));
    case DType::BF16:
      return bf16_to_f32(f32_to_bf16(v));
    default:
      return v;
  }
}

// f32 elements made by a function when they are first asked for, and kept.
class MadeStorage final : public Storage {
 public:
  MadeStorage(std::uint64_t bytes, std::function<void(std::span<float>)> make)
      : bytes_(bytes), make_(std::move(make)) {}
  std::uint64_t size() const override { return bytes_; }
  std::span<const std::byte> bytes() const override {
    std::call_once(once_, [&] {
      values_.resize(static_cast<std::size_t>(bytes_ / sizeof(float)));
      make_(values_);
    });
    return std::as_bytes(std::span<const float>(values_));
  }

 private:
  std::uint64_t bytes_;
  std::function<void(std::span<float>)> make_;
  mutable std::once_flag once_;
  mutable std::vector<float> values_;
};

Tensor made(const std::string& name, const Shape& shape,
            std::function<void(std::span<float>)> make) {
  const std::uint64_t bytes = byte_size(DType::F32, numel(shape));
  return Tensor::stored(name, std::make_shared<MadeStorage>(bytes, std::move(make)), DType::F32,
                        shape);
}

bool is_scale_dtype(DType d) { return d == DType::F32 || d == DType::F16 || d == DType::BF16; }

[[noreturn]] void wrong_shape(const std::string& name, const std::string& what, const Shape& want,
                              const Shape& got) {
  throw Error(Code::shape_mismatch, "the " + what + " of a quantised layer have the wrong shape")
      .tensor(name)
      .expected(to_string(want))
      .actual(to_string(got))
      .advice(
          "Check \"quantization\" in config.json: group_size and bits must be those that the "
          "weights were quantised with.");
}

}  // namespace

void check_affine_format(const AffineFormat& f) {
  const bool bits_ok = f.bits >= 2 && f.bits <= 8 && f.bits != 7;
  const bool group_ok = f.group_size == 32 || f.group_size == 64 || f.group_size == 128;
  if (bits_ok && group_ok) return;
  throw Error(Code::config_invalid, "affine quantisation has no such format")
      .expected("bits 2, 3, 4, 5, 6 or 8 and group_size 32, 64 or 128")
      .actual("bits " + std::to_string(f.bits) + ", group_size " + std::to_string(f.group_size))
      .advice("Correct \"quantization\" in config.json.");
}

void dequantize_affine_row(std::span<const std::uint32_t> words, std::span<const float> scales,
                           std::span<const float> biases, const AffineFormat& format, DType dtype,
                           std::span<float> out) {
  const std::uint64_t bits = format.bits, mask = (std::uint64_t{1} << bits) - 1;
  WB_CHECK(out.size() * bits == words.size() * 32);
  WB_CHECK(out.size() == scales.size() * format.group_size && scales.size() == biases.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::uint64_t at = i * bits;
    std::uint64_t window = words[at / 32];
    if (at % 32 + bits > 32) window |= std::uint64_t{words[at / 32 + 1]} << 32;
    const float code = static_cast<float>((window >> (at % 32)) & mask);
    const std::size_t g = i / format.group_size;
    out[i] = round_to(dtype, round_to(dtype, code * scales[g]) + biases[g]);
  }
}

void quantize_affine_row(std::span<const float> values, const AffineFormat& format, DType dtype,
                         std::span<std::uint32_t> words, std::span<float> scales,
                         std::span<float> biases) {
  const std::size_t bits = format.bits, size = format.group_size;
  const float n = static_cast<float>((1u << bits) - 1);
  std::fill(words.begin(), words.end(), 0u);
  for (std::size_t g = 0; g * size < values.size(); ++g) {
    const auto group = values.subspan(g * size, size);
    const float high = *std::max_element(group.begin(), group.end());
    const float low = *std::min_element(group.begin(), group.end());
    const bool low_is_edge = std::fabs(low) > std::fabs(high);
    float scale = std::max((high - low) / n, 1e-7f);
    if (!low_is_edge) scale = -scale;
    const float edge = low_is_edge ? low : high;
    const float q0 = std::nearbyint(edge / scale);
    float bias = 0.0f;
    if (q0 != 0.0f) {
      scale = edge / q0;
      bias = edge;
    }
    for (std::size_t i = 0; i < size; ++i) {
      // Codes are computed with the scale before it is rounded to T.
      const float code = std::clamp(std::nearbyint((group[i] - bias) / scale), 0.0f, n);
      const std::uint64_t at = (g * size + i) * bits;
      const std::uint64_t shifted = static_cast<std::uint64_t>(code) << (at % 32);
      words[at / 32] |= static_cast<std::uint32_t>(shifted);
      if (at % 32 + bits > 32) words[at / 32 + 1] |= static_cast<std::uint32_t>(shifted >> 32);
    }
    scales[g] = round_to(dtype, scale);
    biases[g] = round_to(dtype, bias);
  }
}

Tensor dequantize_affine(const std::string& name, const Tensor& weight, const Tensor& scales,
                         const Tensor& biases, const AffineFormat& format) {
  check_affine_format(format);
  if (weight.dtype() != DType::U32 || !is_scale_dtype(scales.dtype()) ||
      scales.dtype() != biases.dtype()) {
    throw Error(Code::dtype_unsupported, "is not stored as affine quantisation is")
        .tensor(name)
        .expected("weight U32, scales and biases of one type of F32, F16, BF16")
        .actual(std::string(wb::name(weight.dtype())) + ", " +
                std::string(wb::name(scales.dtype())) + " and " +
                std::string(wb::name(biases.dtype())))
        .advice("Quantise the model again.");
  }
  Shape shape = weight.shape();
  if (shape.empty()) wrong_shape(name, "weights", {1, 1}, shape);
  const std::uint64_t bit_count = checked_mul(shape.back(), 32, "a packed row");
  shape.back() = bit_count / format.bits;
  Shape groups = shape;
  groups.back() = shape.back() / format.group_size;
  if (shape.back() % format.group_size != 0 || bit_count % format.bits != 0) {
    wrong_shape(name, "weights", groups, weight.shape());
  }
  if (scales.shape() != groups) wrong_shape(name, "scales", groups, scales.shape());
  if (biases.shape() != groups) wrong_shape(name, "biases", groups, biases.shape());
  return made(name, shape, [=](std::span<float> out) {
    const std::vector<std::byte> raw = read_all(weight);
    std::vector<std::uint32_t> words(raw.size() / 4);
    std::memcpy(words.data(), raw.data(), raw.size());
    const std::vector<float> s = read_f32(scales), b = read_f32(biases);
    const std::size_t row = shape.back(), row_words = weight.shape().back();
    const std::size_t row_groups = groups.back();
    for (std::size_t r = 0; row > 0 && r * row < out.size(); ++r) {
      dequantize_affine_row(std::span(words).subspan(r * row_words, row_words),
                            std::span(s).subspan(r * row_groups, row_groups),
                            std::span(b).subspan(r * row_groups, row_groups), format,
                            scales.dtype(), out.subspan(r * row, row));
    }
  });
}

Tensor requantize_affine(const std::string& name, const Tensor& values, const AffineFormat& format,
                         DType dtype) {
  check_affine_format(format);
  const Shape& shape = values.shape();
  if (shape.empty() || shape.back() % format.group_size != 0) {
    Shape want = shape.empty() ? Shape{format.group_size} : shape;
    want.back() = round_up(want.back(), format.group_size, "a row");
    wrong_shape(name, "values", want, shape);
  }
  return made(name, shape, [=](std::span<float> out) {
    const std::vector<float> in = read_f32(values);
    const std::size_t row = shape.back(), groups = row / format.group_size;
    std::vector<std::uint32_t> words(row * format.bits / 32);
    std::vector<float> s(groups), b(groups);
    for (std::size_t r = 0; row > 0 && r * row < out.size(); ++r) {
      quantize_affine_row(std::span(in).subspan(r * row, row), format, dtype, words, s, b);
      dequantize_affine_row(words, s, b, format, dtype, out.subspan(r * row, row));
    }
  });
}

}  // namespace wb
