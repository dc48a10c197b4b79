// Lazy coding and decoding; see quantize.h.
#include "quant/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "base/once.h"
#include "quant/groups.h"
#include "tensor/element.h"
#include "tensor/node.h"
#include "tensor/producer.h"
#include "tensor/read.h"

namespace wb {

namespace {

constexpr std::uint64_t kPiece = std::uint64_t{1} << 15;  // elements coded at once

// f32 elements decoded when they are first asked for, and kept.
class DecodedStorage final : public Storage {
 public:
  DecodedStorage(std::uint64_t bytes, StoredCodes codes)
      : bytes_(bytes), codes_(std::move(codes)) {}
  std::uint64_t size() const override { return bytes_; }
  std::span<const std::byte> bytes() const override {
    once_.run([&] {
      values_.resize(static_cast<std::size_t>(bytes_ / sizeof(float)));
      decode(values_);
    });
    return std::as_bytes(std::span<const float>(values_));
  }

  const StoredCodes& codes() const { return codes_; }

 private:
  void decode(std::span<float> out) const {
    const QuantizedTensors& stored = codes_.stored;
    const QuantFormat& f = codes_.format;
    const std::vector<std::byte> raw = read_all(stored.weight), scales = read_all(stored.scales);
    const std::vector<std::byte> biases =
        stored.biases ? read_all(*stored.biases) : std::vector<std::byte>();
    std::vector<std::uint32_t> words(raw.size() / 4);
    if (!raw.empty()) std::memcpy(words.data(), raw.data(), raw.size());
    // The small floats times their scales are exact in every type; F32 says so.
    const DType dtype = has_biases(f) ? stored.scales.dtype() : DType::F32;
    dequantize_groups(f, dtype,
                      {words.data(), scales.data(), stored.biases ? biases.data() : nullptr},
                      out.size() / f.group_size, out.data());
  }

  std::uint64_t bytes_;
  StoredCodes codes_;
  mutable Once once_;
  mutable std::vector<float> values_;
};

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

[[noreturn]] void not_finite(const std::string& name, DType dtype, const std::byte* group,
                             std::uint64_t size, std::uint64_t first, const Shape& shape) {
  std::vector<float> values(size);
  convert_elements(dtype, group, DType::F32, reinterpret_cast<std::byte*>(values.data()), size);
  std::uint64_t i = 0;
  while (i + 1 < size && std::isfinite(values[i])) ++i;
  std::uint64_t at = first + i;
  Shape place(shape.size());
  for (std::size_t k = shape.size(); k-- > 0; at /= shape[k]) place[k] = at % shape[k];
  throw Error(Code::not_finite, "a weight is not a finite number and cannot be quantised")
      .tensor(name)
      .expected("finite numbers")
      .actual((std::isnan(values[i]) ? "NaN"
               : values[i] > 0       ? "infinity"
                                     : "-infinity") +
              std::string(" at ") + to_string(place))
      .advice("Leave the layer out of the quantisation (--quant-rules), or repair the checkpoint.");
}

// Makes words, scales and biases of the same groups from one reading of the values.
class Quantizer final : public Producer {
 public:
  Quantizer(std::string name, Tensor values, const QuantFormat& format)
      : name_(std::move(name)), values_(std::move(values)), format_(format) {
    if (!values_.is_movement()) return;
    for (Copy& copy : movement(values_)) {
      const bool run = copy.source->op == NodeKind::stored && copy.dims.size() == 1 &&
                       copy.dims[0].src_stride == 1 && copy.dims[0].dst_stride == 1;
      if (run) runs_.push_back({copy.dst_offset, copy.dims[0].count, copy.src_offset, copy.source});
    }
    std::sort(runs_.begin(), runs_.end(), [](const Run& a, const Run& b) { return a.at < b.at; });
  }
  std::uint64_t units() const override { return values_.numel() / format_.group_size; }
  unsigned outputs() const override { return has_biases(format_) ? 3 : 2; }
  std::uint64_t per_unit(unsigned output) const override {
    return output == 0 ? words_per_group(format_) : 1;
  }
  DType dtype(unsigned output) const override {
    return output == 0 ? DType::U32 : scales_dtype(format_, values_.dtype());
  }

  void make(std::uint64_t begin, std::uint64_t end,
            std::span<std::byte* const> out) const override {
    const std::uint64_t group = format_.group_size, size = item_size(values_.dtype());
    const std::uint64_t step = kPiece / group;
    std::vector<std::byte> buffer;
    std::vector<std::uint32_t> words;
    for (std::uint64_t g = begin; g < end; g += step) {
      const std::uint64_t count = std::min(step, end - g);
      const std::byte* values = standing(g * group, (g + count) * group);
      if (values == nullptr) {
        buffer.resize(count * group * size);
        reader().read(g * group, (g + count) * group, buffer);
        values = buffer.data();
      }
      const auto part = [&](unsigned output) {
        std::byte* to = output < out.size() ? out[output] : nullptr;
        return to == nullptr ? nullptr : to + (g - begin) * bytes_per_unit(output);
      };
      std::byte* to = part(0);
      const bool aligned = reinterpret_cast<std::uintptr_t>(to) % alignof(std::uint32_t) == 0;
      if (!aligned) words.resize(count * words_per_group(format_));
      auto* packed = aligned ? reinterpret_cast<std::uint32_t*>(to) : words.data();
      const std::size_t done =
          quantize_groups(format_, values_.dtype(), values, count, {packed, part(1), part(2)});
      if (done < count) {
        not_finite(name_, values_.dtype(), values + done * group * size, group, (g + done) * group,
                   values_.shape());
      }
      if (!aligned) std::memcpy(to, words.data(), count * words_per_group(format_) * 4);
    }
  }

 private:
  struct Run {
    std::uint64_t at, count;
    std::int64_t from;
    const Node* source;
  };
  // Elements [begin, end) where they stand in the source as they are, or nullptr.
  const std::byte* standing(std::uint64_t begin, std::uint64_t end) const {
    auto run = std::partition_point(runs_.begin(), runs_.end(),
                                    [&](const Run& r) { return r.at + r.count <= begin; });
    if (run == runs_.end() || run->at > begin || run->at + run->count < end) return nullptr;
    const std::uint64_t first = static_cast<std::uint64_t>(run->from) + begin - run->at;
    const std::uint64_t size = item_size(values_.dtype());
    const std::byte* bytes = run->source->storage->bytes().data() + first * size;
    return reinterpret_cast<std::uintptr_t>(bytes) % size == 0 ? bytes : nullptr;
  }

  // Made when it is first asked for: a plan has thousands of these and reads with none.
  const RangeReader& reader() const {
    once_.run([&] { reader_ = std::make_unique<const RangeReader>(values_); });
    return *reader_;
  }

  std::string name_;
  Tensor values_;
  QuantFormat format_;
  mutable Once once_;
  mutable std::unique_ptr<const RangeReader> reader_;
  std::vector<Run> runs_;  // by `at`: where values stand in the source as they are
};

// Shape of the values, after checking that the three parts fit each other.
Shape stored_shape(const std::string& name, const QuantizedTensors& stored, const QuantFormat& f) {
  check_format(f);
  const DType scales = stored.scales.dtype();
  const bool types_fit = stored.weight.dtype() == DType::U32 &&
                         stored.biases.has_value() == has_biases(f) &&
                         (has_biases(f) ? is_quantizable(scales) && stored.biases->dtype() == scales
                                        : scales == DType::U8);
  if (!types_fit) {
    throw Error(Code::dtype_unsupported,
                "is not stored as " + std::string(wb::name(f.mode)) + " quantisation is")
        .tensor(name)
        .expected(has_biases(f) ? "weight U32, scales and biases of one type of F32, F16, BF16"
                                : "weight U32, scales U8 and no biases")
        .actual(std::string(wb::name(stored.weight.dtype())) + ", " +
                std::string(wb::name(scales)) + " and " +
                (stored.biases ? std::string(wb::name(stored.biases->dtype())) : "no biases"))
        .advice("Quantise the model again.");
  }
  Shape shape = stored.weight.shape();
  if (shape.empty()) wrong_shape(name, "weights", {1, 1}, shape);
  const std::uint64_t bit_count = checked_mul(shape.back(), 32, "a packed row");
  shape.back() = bit_count / f.bits;
  Shape groups = shape;
  groups.back() = shape.back() / f.group_size;
  if (shape.back() % f.group_size != 0 || bit_count % f.bits != 0) {
    wrong_shape(name, "weights", groups, stored.weight.shape());
  }
  if (stored.scales.shape() != groups) wrong_shape(name, "scales", groups, stored.scales.shape());
  if (stored.biases && stored.biases->shape() != groups) {
    wrong_shape(name, "biases", groups, stored.biases->shape());
  }
  return shape;
}

void check_values(const std::string& name, const Tensor& values, const QuantFormat& f) {
  check_format(f);
  const Shape& shape = values.shape();
  if (shape.empty() || shape.back() % f.group_size != 0) {
    Shape want = shape.empty() ? Shape{f.group_size} : shape;
    want.back() = round_up(want.back(), f.group_size, "a row");
    wrong_shape(name, "values", want, shape);
  }
}

}  // namespace

QuantizedTensors quantize(const std::string& name, const Tensor& values, const QuantFormat& f) {
  check_values(name, values, f);
  if (!is_quantizable(values.dtype())) {
    throw Error(Code::dtype_unsupported, "weights of this type are not quantised")
        .tensor(name)
        .expected("F32, F16 or BF16")
        .actual(std::string(wb::name(values.dtype())))
        .advice("Convert them first, for example with --dtype bf16.");
  }
  const auto quantizer = std::make_shared<const Quantizer>(name, values, f);
  const std::string what = "quantize(" + std::string(wb::name(f.mode)) + ", " +
                           std::to_string(f.bits) + " bits, groups of " +
                           std::to_string(f.group_size) + ")";
  Shape shape = values.shape();
  shape.back() = values.shape().back() / f.group_size * words_per_group(f);
  Shape groups = values.shape();
  groups.back() /= f.group_size;
  QuantizedTensors out;
  out.weight = produced(quantizer, 0, shape, {values}, what + ".weight");
  out.scales = produced(quantizer, 1, groups, {values}, what + ".scales");
  if (has_biases(f)) out.biases = produced(quantizer, 2, groups, {values}, what + ".biases");
  return out;
}

Tensor dequantize(const std::string& name, const QuantizedTensors& stored, const QuantFormat& f) {
  const Shape shape = stored_shape(name, stored, f);
  return Tensor::stored(
      name,
      std::make_shared<DecodedStorage>(byte_size(DType::F32, numel(shape)), StoredCodes{stored, f}),
      DType::F32, shape);
}

std::optional<StoredCodes> stored_codes(const Storage& storage) {
  const auto* decoded = dynamic_cast<const DecodedStorage*>(&storage);
  if (decoded == nullptr) return std::nullopt;
  return decoded->codes();
}

Tensor requantize(const std::string& name, const Tensor& values, const QuantFormat& f,
                  DType dtype) {
  check_values(name, values, f);
  return dequantize(name, quantize(name, values.cast(dtype), f), f).named(name);
}

}  // namespace wb
