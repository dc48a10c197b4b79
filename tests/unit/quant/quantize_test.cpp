// Quantised layers as lazy tensors: shapes, any range of any part, refusals.
#include "quant/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "base/error.h"
#include "tensor/element.h"
#include "tensor/node.h"
#include "tensor/producer.h"
#include "tensor/read.h"
#include "unit/error_of.h"
#include "unit/quant/check_groups.h"

namespace wb {
namespace {

using namespace quant_check;
using ::testing::HasSubstr;

const GoldenFile& golden() {
  static const GoldenFile file(WB_SOURCE_DIR "/tests/fixtures/goldens/mlx-quantize.safetensors");
  return file;
}
Tensor stored(const std::string& name) {
  const auto& entry = golden().header().at(name);
  return Tensor::stored(name, memory_storage(golden()[name]),
                        *dtype_from_name(entry["dtype"].get<std::string>()),
                        entry["shape"].get<Shape>());
}
QuantizedTensors stored(const QuantFormat& f, const std::string& type) {
  const std::string name = golden_name(f, type);
  QuantizedTensors out{stored(name + "weight"), stored(name + "scales"), std::nullopt};
  if (has_biases(f)) out.biases = stored(name + "biases");
  return out;
}

// From a contiguous source, and from one that must be gathered: the same parts, as MLX has them.
TEST(Quantize, LazyPartsAreWhatMlxWrote) {
  for (const QuantFormat& f : formats()) {
    for (const std::string type : {"f32", "bf16"}) {
      const Tensor input = stored("input." + type);
      const Tensor turned = stored("input." + type).slice(1, 0, 256);
      const Tensor halves[] = {input.slice(0, 0, 7), input.slice(0, 7, 16)};
      for (const Tensor& values :
           {input, turned, Tensor::concat(0, halves), input.cast(DType::F64).cast(input.dtype())}) {
        const QuantizedTensors made = quantize("layer", values, f), want = stored(f, type);
        EXPECT_EQ(made.weight.shape(), want.weight.shape());
        EXPECT_EQ(made.scales.shape(), want.scales.shape());
        EXPECT_EQ(made.scales.dtype(), want.scales.dtype());
        EXPECT_EQ(read_all(made.weight), read_all(want.weight)) << golden_name(f, type);
        EXPECT_EQ(read_all(made.scales), read_all(want.scales)) << golden_name(f, type);
        ASSERT_EQ(made.biases.has_value(), want.biases.has_value());
        if (!made.biases) continue;
        EXPECT_EQ(read_all(*made.biases), read_all(*want.biases));
      }
    }
  }
}

TEST(Quantize, AnyRangeIsAPartOfTheWhole) {
  const QuantFormat f{QuantMode::affine, 3, 64};
  const QuantizedTensors made = quantize("layer", stored("input.f32"), f);
  const std::vector<std::byte> whole = read_all(made.weight);
  for (std::uint64_t begin = 0; begin < 40; ++begin) {
    for (std::uint64_t end = begin; end <= made.weight.numel(); end += 7) {
      std::vector<std::byte> part((end - begin) * 4, std::byte{0xa5});
      read_range(made.weight, begin, end, part);
      ASSERT_TRUE(std::equal(part.begin(), part.end(),
                             whole.begin() + static_cast<std::ptrdiff_t>(begin * 4)));
    }
  }
}

// A file's tensors begin at any byte: the words are made elsewhere then, and nothing beside them is
// touched.
TEST(Quantize, WordsMayBeAskedForAtAnyByte) {
  for (const QuantFormat& f : formats()) {
    const QuantizedTensors made = quantize("layer", stored("input.f32"), f);
    const std::vector<std::byte> whole = read_all(made.weight);
    const WholeOutput w = whole_output(made.weight);
    const std::uint64_t groups = w.producer->units();
    for (std::size_t shift : {1, 2, 3, 4}) {
      const std::byte mark{0xa5};
      std::vector<std::byte> at(shift + whole.size() + 8, mark);
      std::byte* const out[] = {at.data() + shift};
      w.producer->make(0, groups, out);
      const auto begin = at.begin() + static_cast<std::ptrdiff_t>(shift);
      const auto end = begin + static_cast<std::ptrdiff_t>(whole.size());
      ASSERT_TRUE(std::equal(begin, end, whole.begin())) << shift;
      ASSERT_TRUE(std::all_of(at.begin(), begin, [&](std::byte b) { return b == mark; })) << shift;
      ASSERT_TRUE(std::all_of(end, at.end(), [&](std::byte b) { return b == mark; })) << shift;
    }
  }
}

// Values are read where they stand in the source when they stand there in order, and gathered else:
// the parts are the same. Three times as many as are coded at once, so that pieces begin and end
// inside of what stands in order.
TEST(Quantize, WhereValuesStandMakesNoDifference) {
  constexpr std::uint64_t width = 64, rows = 3 * (1u << 15) / width;
  std::vector<float> numbers(rows * width);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = static_cast<float>(static_cast<int>(i * 2654435761u % 2001) - 1000) / 64;
  }
  const Tensor whole = Tensor::values("x", numbers, {rows, width});
  const QuantFormat f{QuantMode::affine, 4, 64};
  const auto same = [&](const Tensor& values, const Tensor& as, const char* what) {
    const QuantizedTensors made = quantize("layer", values, f), want = quantize("layer", as, f);
    EXPECT_EQ(read_all(made.weight), read_all(want.weight)) << what;
    EXPECT_EQ(read_all(made.scales), read_all(want.scales)) << what;
    EXPECT_EQ(read_all(*made.biases), read_all(*want.biases)) << what;
    for (const std::uint64_t row : {std::uint64_t{0}, made.weight.shape()[0] - 1}) {  // few groups
      EXPECT_EQ(read_all(made.weight.slice(0, row, row + 1)),
                read_all(want.weight.slice(0, row, row + 1)))
          << what;
    }
  };
  const auto copied = [](const Tensor& t) { return Tensor::values("y", read_f32(t), t.shape()); };
  for (std::uint64_t cut : {std::uint64_t{1}, rows / 3 + 5, rows / 2, rows - 1}) {
    // Two sources, each with nothing behind what is taken of it.
    const auto own = [&](std::uint64_t begin, std::uint64_t end) {
      return Tensor::values("z", read_f32(whole.slice(0, begin, end)), {end - begin, width});
    };
    const Tensor parts[] = {own(0, cut), own(cut, rows)};
    same(Tensor::concat(0, parts), whole, "two sources");
    const Tensor zeros[] = {Tensor::fill(DType::F32, {cut, width}, 0.0), whole};
    same(Tensor::concat(0, zeros), copied(Tensor::concat(0, zeros)), "zeros before");
    const Tensor after[] = {whole, Tensor::fill(DType::F32, {cut, width}, 0.0)};
    same(Tensor::concat(0, after), copied(Tensor::concat(0, after)), "zeros after");
  }
  same(whole.slice(0, 7, rows - 9), copied(whole.slice(0, 7, rows - 9)), "a part");
  const Tensor column = whole.slice(1, 3, 4);  // every 64th element, then as one row of them
  same(column.transpose(), copied(column.transpose()), "a column");
  std::vector<Tensor> columns;
  for (std::uint64_t k = 0; k < width; ++k) columns.push_back(whole.slice(1, k, k + 1));
  same(Tensor::concat(1, columns), whole, "columns");
  columns.clear();
  for (std::uint64_t k = 0; k < width; ++k) {  // each a source of its own, in order there
    columns.push_back(Tensor::values("c", read_f32(whole.slice(1, k, k + 1)), {rows, 1}));
  }
  same(Tensor::concat(1, columns), whole, "columns of their own");
}

TEST(Quantize, PartsKnowThatTheyAreMadeTogether) {
  const QuantizedTensors made =
      quantize("layer", stored("input.f32"), default_format(QuantMode::affine));
  const WholeOutput w = whole_output(made.weight), s = whole_output(made.scales),
                    b = whole_output(*made.biases);
  ASSERT_NE(w.producer, nullptr);
  EXPECT_EQ(w.producer, s.producer);
  EXPECT_EQ(w.producer, b.producer);
  EXPECT_EQ(w.output, 0u);
  EXPECT_EQ(b.output, 2u);
  EXPECT_EQ(whole_output(made.weight.slice(0, 0, 3)).producer, nullptr);
  EXPECT_EQ(whole_output(made.weight.transpose()).producer, nullptr);
  EXPECT_EQ(whole_output(stored("input.f32")).producer, nullptr);
  EXPECT_EQ(made.weight.sources(), std::vector<std::string>{"input.f32"});
  EXPECT_THAT(made.scales.describe(), HasSubstr("quantize(affine, 4 bits, groups of 64).scales"));
}

// Decoded values lie within what a step of the format can be off.
TEST(Dequantize, IsNearTheInput) {
  for (const QuantFormat& f : formats()) {
    const std::vector<float> input = read_f32(stored("input.f32"));
    const std::vector<float> back = read_f32(dequantize("layer", stored(f, "f32"), f));
    for (std::size_t g = 0; g < input.size() / f.group_size; ++g) {
      float high = -HUGE_VALF, low = HUGE_VALF;
      for (std::size_t i = g * f.group_size; i < (g + 1) * f.group_size; ++i) {
        high = std::max(high, input[i]);
        low = std::min(low, input[i]);
      }
      // affine: half a step inside the range, a whole one at the far end, which the rounding of
      // edge / scale may leave out. e2m1's widest step is 2 of 6, and its scale may be a factor
      // sqrt 2 below amax / 6 (mx) or 1/16 (nv). e4m3's is 1/8 of the value (half of it: 1/16).
      const float most = std::max(std::fabs(high), std::fabs(low));
      // nvfp4's scales saturate past 2688 and lose their precision below 2^-6.
      if (f.mode == QuantMode::nvfp4 && (most > 2688.0f || most < 6 * 0x1p-6f)) continue;
      // No step is below 1e-7.
      const float affine =
          std::max((high - low) / static_cast<float>((1u << f.bits) - 1), 1e-7f) * 1.01f;
      const float bound = f.mode == QuantMode::affine  ? affine
                          : f.mode == QuantMode::mxfp8 ? most * 0.34f
                                                       : most * 0.36f;
      for (std::size_t i = g * f.group_size; i < (g + 1) * f.group_size; ++i) {
        ASSERT_NEAR(back[i], input[i], bound) << golden_name(f, "f32") << i;
      }
    }
  }
}

// Programs that multiply with the packed form find it again under the decoded tensor.
TEST(Dequantize, TheCodesUnderADecodedTensorAreKnown) {
  const QuantFormat f = formats().front();
  const QuantizedTensors codes = stored(f, "f32");
  const auto storage_of = [](const Tensor& t) { return t.inputs()[0]->storage; };
  const auto found = stored_codes(*storage_of(dequantize("layer", codes, f)));
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->format, f);
  EXPECT_EQ(read_all(found->stored.weight), read_all(codes.weight));
  EXPECT_FALSE(stored_codes(*storage_of(codes.weight)).has_value());
}

TEST(Dequantize, RequantisingIsCodingAndDecoding) {
  std::vector<float> x(32);
  for (unsigned i = 0; i < 32; ++i) x[i] = static_cast<float>(i % 16);
  x[0] = 15;
  x[1] = 0;
  x[5] = 5.4f;  // rounds to 5 of 15 steps of 1
  const Tensor t = Tensor::values("x", x, {1, 32});
  const std::vector<float> out =
      read_f32(requantize("x", t, {QuantMode::affine, 4, 32}, DType::F32));
  x[5] = 5.0f;
  EXPECT_EQ(out, x);
}

Tensor u32(const Shape& shape) {
  return Tensor::stored("w", memory_storage(std::vector<std::byte>(numel(shape) * 4)), DType::U32,
                        shape);
}

TEST(QuantFormats, ModesHaveTheNamesThatMlxGivesThem) {
  const std::pair<const char*, QuantMode> names[] = {{"affine", QuantMode::affine},
                                                     {"mxfp4", QuantMode::mxfp4},
                                                     {"mxfp8", QuantMode::mxfp8},
                                                     {"nvfp4", QuantMode::nvfp4}};
  for (const auto& [text, mode] : names) {
    EXPECT_EQ(name(mode), text);
    EXPECT_EQ(quant_mode_from_name(text), mode);
    EXPECT_EQ(default_format(mode).mode, mode);
    EXPECT_NO_THROW(check_format(default_format(mode)));
  }
  for (const char* text : {"", "Affine", "mxfp", "int4"}) {
    EXPECT_EQ(quant_mode_from_name(text), std::nullopt) << text;
  }
}

TEST(QuantErrors, ShapesTypesAndFormats) {
  const Tensor scales = Tensor::fill(DType::F32, {2, 2}, 1.0);
  const QuantFormat affine{QuantMode::affine, 4, 64};
  Error e = error_of([&] { dequantize("layer", {u32({2, 8}), scales, scales}, affine); });
  EXPECT_EQ(e.code(), Code::shape_mismatch);
  EXPECT_THAT(e.sentence(), HasSubstr("layer: the scales of a quantised layer have the wrong "
                                      "shape: expected [2, 1], found [2, 2]"));
  EXPECT_THAT(e.advice(), HasSubstr("group_size"));
  // 3 words are 24 codes of 4 bits, no group of 64; 11 hold 70 of 5 bits, and a rest.
  e = error_of([&] { dequantize("layer", {u32({2, 3}), scales, scales}, affine); });
  EXPECT_EQ(e.code(), Code::shape_mismatch);
  EXPECT_THAT(e.sentence(), HasSubstr("the weights of a quantised layer have the wrong shape"));
  e = error_of([&] {
    dequantize("layer", {u32({2, 11}), scales, scales}, {QuantMode::affine, 5, 32});
  });
  EXPECT_THAT(e.sentence(), HasSubstr("the weights of a quantised layer have the wrong shape"));
  const Tensor ints = Tensor::fill(DType::I32, {2, 1}, 0.0);
  e = error_of([&] { dequantize("layer", {u32({2, 8}), ints, ints}, affine); });
  EXPECT_EQ(e.code(), Code::dtype_unsupported);
  EXPECT_THAT(e.sentence(), HasSubstr("found U32, I32 and I32"));
  e = error_of([&] { dequantize("layer", {scales, scales, scales}, affine); });
  EXPECT_EQ(e.code(), Code::dtype_unsupported);
  EXPECT_THAT(e.sentence(), HasSubstr("expected weight U32"));
  e = error_of([&] {
    dequantize("layer", {u32({2, 8}), scales, scales}, {QuantMode::mxfp4, 4, 32});
  });
  EXPECT_THAT(e.sentence(), HasSubstr("expected weight U32, scales U8 and no biases"));
  e = error_of([&] {
    dequantize("layer", {u32({2, 8}), scales, scales}, {QuantMode::affine, 7, 32});
  });
  EXPECT_EQ(e.code(), Code::config_invalid);
  EXPECT_THAT(e.sentence(), HasSubstr("found bits 7, group_size 32"));
  e = error_of([&] { check_format({QuantMode::nvfp4, 4, 32}); });
  EXPECT_THAT(e.sentence(), HasSubstr("nvfp4 quantisation has no such format"));
  EXPECT_THAT(e.sentence(), HasSubstr("expected bits 4 and group_size 16"));
  e = error_of([&] { quantize("layer", Tensor::fill(DType::F32, {2, 40}, 0), affine); });
  EXPECT_EQ(e.code(), Code::shape_mismatch);
  e = error_of([&] { quantize("layer", u32({2, 64}), affine); });
  EXPECT_EQ(e.code(), Code::dtype_unsupported);
}

TEST(QuantErrors, ANumberThatIsNotFiniteIsNamed) {
  std::vector<float> x(3 * 128);
  std::iota(x.begin(), x.end(), 0.0f);
  for (const auto& [value, word] :
       {std::pair(std::nanf(""), "NaN"), std::pair(HUGE_VALF, "infinity"),
        std::pair(-HUGE_VALF, "-infinity")}) {
    x[2 * 128 + 77] = value;
    for (const QuantFormat& f : formats()) {
      for (const auto& [type, dtype] : types()) {
        const Tensor values = Tensor::values("w", x, {3, 128}).cast(dtype);
        const Error e = error_of([&] { read_all(quantize("layer", values, f).scales); });
        EXPECT_EQ(e.code(), Code::not_finite);
        EXPECT_THAT(e.sentence(),
                    HasSubstr("layer: a weight is not a finite number and cannot be quantised: "
                              "expected finite numbers, found " +
                              std::string(word) + " at [2, 77]"));
      }
    }
  }
}

// Symmetric 4-bit numbers (code - 8) * scale as MLX's affine format has them: bias -8 * scale. With
// f32 scales the sum is exact; with bf16 ones code * scale is rounded before the bias takes most
// of it away, so that docs/quantisation.md does not call it lossless.
TEST(Int4Repack, IsExactWithF32ScalesOnly) {
  const QuantFormat f{QuantMode::affine, 4, 32};
  for (const DType dtype : {DType::F32, DType::BF16}) {
    std::size_t changed = 0, compared = 0;
    for (unsigned m = 128; m < 256; ++m) {  // every mantissa of a bf16
      const float scale = static_cast<float>(m) * 0x1p-15f, bias = -8.0f * scale;
      std::vector<std::byte> scales(4), biases(4);
      for (auto [value, out] : {std::pair(scale, &scales), std::pair(bias, &biases)}) {
        convert_elements(DType::F32, reinterpret_cast<const std::byte*>(&value), dtype, out->data(),
                         1);
      }
      const std::uint32_t words[] = {0x76543210u, 0xfedcba98u, 0x76543210u, 0xfedcba98u};
      std::vector<float> got(32);
      dequantize_groups(f, dtype, {words, scales.data(), biases.data()}, 1, got.data());
      for (std::size_t i = 0; i < got.size(); ++i, ++compared) {
        const float exact = (static_cast<float>(i % 16) - 8.0f) * scale;
        const float source = dtype == DType::F32 ? exact : bf16_to_f32(f32_to_bf16(exact));
        if (got[i] != source) ++changed;
      }
    }
    EXPECT_EQ(compared, 128u * 32u);
    if (dtype == DType::F32) {
      EXPECT_EQ(changed, 0u);
    } else {
      EXPECT_GT(changed, compared / 4);
    }
  }
}

}  // namespace
}  // namespace wb
