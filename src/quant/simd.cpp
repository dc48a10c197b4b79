// The fast version, compiled once per instruction set; see groups.h. Works on chunks that stay
// in the first cache, in steps that each run over full vectors whatever the group size: the
// extremes of every group, then scales and biases of many groups at once, then codes as bytes,
// then packing. Division is division, products and sums are kept apart, and rounding is to
// nearest even, so that every processor gives the oracle's bits.
#include <hwy/base.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/checked.h"
#include "base/error.h"
#include "quant/plain.h"

static_assert(std::endian::native == std::endian::little, "packing writes little-endian words");

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/simd.cpp"
#include <hwy/foreach_target.h>
// Below the line above, the file is compiled again for each target.
#include "quant/affine-inl.h"
#include "quant/floats-inl.h"

HWY_BEFORE_NAMESPACE();
namespace wb::quant {
namespace HWY_NAMESPACE {

template <DType T>
HWY_INLINE std::size_t QuantizeT(const QuantFormat& f, const std::byte* values, std::size_t groups,
                                 const QuantizedGroups& out) {
  const std::size_t step = kChunk / f.group_size;
  for (std::size_t g = 0; g < groups; g += step) {
    const std::size_t count = std::min(step, groups - g);
    const bool good = f.mode == QuantMode::affine ? AffineChunk<T>(f, values, g, count, out)
                                                  : FloatChunk<T>(f, values, g, count, out);
    if (good) continue;
    const std::byte* from = values + g * f.group_size * item_size(T);
    QuantizedGroups rest = out;
    if (out.words != nullptr) rest.words += g * words_per_group(f);
    if (out.scales != nullptr) rest.scales += g * item_size(scales_dtype(f, T));
    if (out.biases != nullptr) rest.biases += g * item_size(T);
    return g + quantize_groups_plain(f, T, from, count, rest);  // finds it
  }
  return groups;
}

std::size_t Quantize(const QuantFormat& f, DType dtype, const std::byte* values, std::size_t groups,
                     const QuantizedGroups& out) {
  if (dtype == DType::F32) return QuantizeT<DType::F32>(f, values, groups, out);
  if (dtype == DType::F16) return QuantizeT<DType::F16>(f, values, groups, out);
  return QuantizeT<DType::BF16>(f, values, groups, out);
}

// A group's words as bytes, one code each.
HWY_INLINE void Unpack(const std::uint32_t* words, std::size_t size, unsigned bits,
                       std::uint8_t* codes) {
  const auto* in = reinterpret_cast<const std::uint8_t*>(words);
  if (bits == 8) {
    std::memcpy(codes, in, size);
    return;
  }
  const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
  for (std::size_t i = 0; i < size; i += 8, in += bits) {  // eight codes are `bits` bytes
    std::uint64_t v = 0;
    std::memcpy(&v, in, bits);
    for (std::size_t k = 0; k < 8; ++k) {
      codes[i + k] = static_cast<std::uint8_t>((v >> (k * bits)) & mask);
    }
  }
}

template <DType T>
HWY_INLINE void DequantizeT(const QuantFormat& f, const QuantizedInput& in, std::size_t groups,
                            float* out) {
  const D d;
  const DI di;
  const DU du;
  const hn::Rebind<std::uint8_t, D> d8;
  HWY_ALIGN std::uint8_t codes[128];
  for (std::size_t g = 0; g < groups; ++g, out += f.group_size) {
    Unpack(in.words + g * words_per_group(f), f.group_size, f.bits, codes);
    if (f.mode == QuantMode::affine) {
      const V s = hn::Set(d, element(T, in.scales, g)), b = hn::Set(d, element(T, in.biases, g));
      for (std::size_t i = 0; i < f.group_size; i += hn::Lanes(d)) {
        const V c = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(d8, codes + i)));
        const V y = RoundToAny<T>(d, hn::Mul(c, s));
        hn::StoreU(RoundToAny<T>(d, hn::Add(y, b)), d, out + i);
      }
      continue;
    }
    const auto raw = std::to_integer<std::uint8_t>(in.scales[g]);
    const float scale =
        round_to(T, f.mode == QuantMode::nvfp4 ? mlx_e4m3_to_f32(raw) : e8m0_to_f32(raw));
    if (f.bits == 4) {
      std::array<float, 16> table{};
      for (std::size_t c = 0; c < 16; ++c) table[c] = round_to(T, kE2m1[c] * scale);
      for (std::size_t i = 0; i < f.group_size; ++i) out[i] = table[codes[i]];
      continue;
    }
    const V s = hn::Set(d, scale);
    for (std::size_t i = 0; i < f.group_size; i += hn::Lanes(d)) {
      const auto c = hn::BitCast(du, hn::PromoteTo(di, hn::LoadU(d8, codes + i)));
      const auto magnitude = hn::ShiftLeft<20>(hn::And(c, hn::Set(du, 0x7fu)));
      const V a = hn::Mul(hn::BitCast(d, magnitude), hn::Set(d, 0x1p120f));
      const auto sign = hn::ShiftLeft<24>(hn::And(c, hn::Set(du, 0x80u)));
      const V x = hn::BitCast(d, hn::Or(hn::BitCast(du, a), sign));
      hn::StoreU(RoundToAny<T>(d, hn::Mul(x, s)), d, out + i);
    }
  }
}

void Dequantize(const QuantFormat& f, DType dtype, const QuantizedInput& in, std::size_t groups,
                float* out) {
  if (dtype == DType::F32) return DequantizeT<DType::F32>(f, in, groups, out);
  if (dtype == DType::F16) return DequantizeT<DType::F16>(f, in, groups, out);
  return DequantizeT<DType::BF16>(f, in, groups, out);
}

const char* Target() { return hwy::TargetName(HWY_TARGET); }

}  // namespace HWY_NAMESPACE
}  // namespace wb::quant
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace wb {

namespace quant {
HWY_EXPORT(Quantize);
HWY_EXPORT(Dequantize);
HWY_EXPORT(Target);
}  // namespace quant

std::size_t quantize_groups(const QuantFormat& format, DType dtype, const std::byte* values,
                            std::size_t groups, const QuantizedGroups& out) {
  WB_CHECK(is_quantizable(dtype));
  using namespace quant;
  return HWY_DYNAMIC_DISPATCH(Quantize)(format, dtype, values, groups, out);
}

void dequantize_groups(const QuantFormat& format, DType dtype, const QuantizedInput& in,
                       std::size_t groups, float* out) {
  WB_CHECK(is_quantizable(dtype));
  using namespace quant;
  HWY_DYNAMIC_DISPATCH(Dequantize)(format, dtype, in, groups, out);
}

const char* quantize_target() {
  using namespace quant;
  return HWY_DYNAMIC_DISPATCH(Target)();
}

}  // namespace wb
#endif
