// The fast versions, compiled once per instruction set, and the plain ones of what is not a
// plain conversion; see kernels.h. A product is one product of f32 and rounding is to nearest
// even, so that every processor gives the oracle's bits.
#include <hwy/base.h>

#include <bit>
#include <cstring>

#include "base/error.h"
#include "tensor/element.h"
#include "tensor/kernels.h"

static_assert(std::endian::native == std::endian::little, "files hold little-endian numbers");

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/kernels.cpp"
#include <hwy/foreach_target.h>
// Below the line above, the file is compiled again for each target.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace wb::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<D>;
using DU = hn::RebindToUnsigned<D>;
using V = hn::Vec<D>;
constexpr std::size_t kMostLanes = 16;

template <DType T>
constexpr std::size_t kSize = T == DType::F32                       ? 4
                              : T == DType::F16 || T == DType::BF16 ? 2
                                                                    : 1;

// As many elements as there are lanes, widened to f32, which holds each exactly.
template <DType T>
HWY_INLINE V Load(D d, const std::byte* p) {
  const DU du;
  if constexpr (T == DType::F32) {
    return hn::LoadU(d, reinterpret_cast<const float*>(p));
  } else if constexpr (T == DType::I8) {
    const hn::Rebind<std::int8_t, D> d8;
    return hn::ConvertTo(
        d, hn::PromoteTo(DI(), hn::LoadU(d8, reinterpret_cast<const std::int8_t*>(p))));
  } else if constexpr (T == DType::F8_E4M3) {
    const hn::Rebind<std::uint8_t, D> d8;
    const auto c = hn::PromoteTo(du, hn::LoadU(d8, reinterpret_cast<const std::uint8_t*>(p)));
    const auto magnitude = hn::And(c, hn::Set(du, 0x7fu));
    const auto sign = hn::ShiftLeft<24>(hn::And(c, hn::Set(du, 0x80u)));
    // The exponents' offset is a product with a power of two, exact for subnormals as well.
    const V a = hn::Mul(hn::BitCast(d, hn::ShiftLeft<20>(magnitude)), hn::Set(d, 0x1p120f));
    const auto nan = hn::Eq(magnitude, hn::Set(du, 0x7fu));
    const auto bits = hn::IfThenElse(nan, hn::Set(du, 0x7fc00000u), hn::BitCast(du, a));
    return hn::BitCast(d, hn::Or(bits, sign));
  } else {
    const hn::Rebind<std::uint16_t, D> d16;
    const auto h = hn::PromoteTo(du, hn::LoadU(d16, reinterpret_cast<const std::uint16_t*>(p)));
    if constexpr (T == DType::BF16) {
      return hn::BitCast(d, hn::ShiftLeft<16>(h));
    } else {
      const auto magnitude = hn::ShiftLeft<13>(hn::And(h, hn::Set(du, 0x7fffu)));
      const auto sign = hn::ShiftLeft<16>(hn::And(h, hn::Set(du, 0x8000u)));
      const V a = hn::Mul(hn::BitCast(d, magnitude), hn::Set(d, 0x1p112f));
      const auto largest = hn::Set(du, 0x0f800000u);  // an infinity or NaN
      const auto special = hn::Eq(hn::And(magnitude, largest), largest);
      const auto bits =
          hn::IfThenElse(special, hn::Or(magnitude, hn::Set(du, 0x7f800000u)), hn::BitCast(du, a));
      return hn::BitCast(d, hn::Or(bits, sign));
    }
  }
}

// Rounded to T, as element.h rounds one value.
template <DType T>
HWY_INLINE void Store(D d, V v, std::byte* p) {
  const DU du;
  if constexpr (T == DType::F32) {
    hn::StoreU(v, d, reinterpret_cast<float*>(p));
  } else {
    const hn::Rebind<std::uint16_t, D> d16;
    const auto b = hn::BitCast(du, v);
    auto half = hn::Zero(du);
    if constexpr (T == DType::BF16) {
      const auto even = hn::And(hn::ShiftRight<16>(b), hn::Set(du, 1u));
      const auto rounded = hn::ShiftRight<16>(hn::Add(b, hn::Add(even, hn::Set(du, 0x7fffu))));
      const auto nan = hn::Or(hn::ShiftRight<16>(b), hn::Set(du, 0x40u));
      half = hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(v)), nan, rounded);
    } else {
      const V a = hn::Abs(v);
      const auto m = hn::BitCast(du, a);
      const auto sign = hn::And(hn::ShiftRight<16>(b), hn::Set(du, 0x8000u));
      const auto even = hn::And(hn::ShiftRight<13>(m), hn::Set(du, 1u));
      const auto rounded = hn::Add(m, hn::Add(even, hn::Set(du, 0xfffu)));
      half = hn::ShiftRight<13>(hn::Sub(rounded, hn::Set(du, 0x38000000u)));
      // Below 2^-14: as many steps of 2^-24. (What is larger is not used, but must convert.)
      const V steps = hn::Mul(hn::Min(a, hn::Set(d, 1.0f)), hn::Set(d, 0x1p24f));
      const auto small = hn::BitCast(du, hn::NearestInt(steps));
      half = hn::IfThenElse(hn::Lt(m, hn::Set(du, 0x38800000u)), small, half);
      half = hn::IfThenElse(hn::Gt(m, hn::Set(du, 0x477fefffu)), hn::Set(du, 0x7c00u), half);
      half = hn::IfThenElse(hn::Gt(m, hn::Set(du, 0x7f800000u)), hn::Set(du, 0x7e00u), half);
      half = hn::Or(half, sign);
    }
    hn::StoreU(hn::TruncateTo(d16, half), d16, reinterpret_cast<std::uint16_t*>(p));
  }
}

// Store(step(Load)) over `n` elements; the last few go through memory of a vector's size.
template <DType F, DType T, class Step>
HWY_INLINE void Each(const std::byte* in, std::byte* out, std::size_t n, const Step& step) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    Store<T>(d, step(Load<F>(d, in + i * kSize<F>)), out + i * kSize<T>);
  }
  if (i == n) return;
  std::byte from[kMostLanes * 4] = {}, to[kMostLanes * 4];
  std::memcpy(from, in + i * kSize<F>, (n - i) * kSize<F>);
  Store<T>(d, step(Load<F>(d, from)), to);
  std::memcpy(out + i * kSize<T>, to, (n - i) * kSize<T>);
}

template <DType F, DType T>
HWY_INLINE void ConvertPair(const std::byte* in, std::byte* out, std::size_t n) {
  Each<F, T>(in, out, n, [](V v) HWY_ATTR { return v; });
}
template <DType F>
HWY_INLINE void ConvertFrom(const std::byte* in, DType to, std::byte* out, std::size_t n) {
  if (to == DType::F32) return ConvertPair<F, DType::F32>(in, out, n);
  if (to == DType::F16) return ConvertPair<F, DType::F16>(in, out, n);
  return ConvertPair<F, DType::BF16>(in, out, n);
}
void Convert(DType from, const std::byte* in, DType to, std::byte* out, std::size_t n) {
  if (from == DType::F32) return ConvertFrom<DType::F32>(in, to, out, n);
  if (from == DType::F16) return ConvertFrom<DType::F16>(in, to, out, n);
  if (from == DType::BF16) return ConvertFrom<DType::BF16>(in, to, out, n);
  return ConvertFrom<DType::F8_E4M3>(in, to, out, n);
}

template <DType F, DType T>
HWY_INLINE void ScalePair(const std::byte* in, float factor, std::byte* out, std::size_t n) {
  const V f = hn::Set(D(), factor);
  Each<F, T>(in, out, n, [f](V v) HWY_ATTR { return hn::Mul(v, f); });
}
template <DType F>
HWY_INLINE void ScaleFrom(const std::byte* in, float factor, DType to, std::byte* out,
                          std::size_t n) {
  if (to == DType::F32) return ScalePair<F, DType::F32>(in, factor, out, n);
  if (to == DType::F16) return ScalePair<F, DType::F16>(in, factor, out, n);
  return ScalePair<F, DType::BF16>(in, factor, out, n);
}
void Scale(DType from, const std::byte* in, float factor, DType to, std::byte* out, std::size_t n) {
  if (from == DType::I8) return ScaleFrom<DType::I8>(in, factor, to, out, n);
  return ScaleFrom<DType::F8_E4M3>(in, factor, to, out, n);
}

void Unpack(const std::byte* in, std::byte* out, std::size_t n) {
  const hn::ScalableTag<std::uint8_t> d;
  const auto eight = hn::Set(d, std::uint8_t{8}), low = hn::Set(d, std::uint8_t{15});
  const std::size_t lanes = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto v = hn::LoadU(d, reinterpret_cast<const std::uint8_t*>(in) + i);
    hn::StoreInterleaved2(hn::Sub(hn::And(v, low), eight), hn::Sub(hn::ShiftRight<4>(v), eight), d,
                          reinterpret_cast<std::uint8_t*>(out) + 2 * i);
  }
  unpack_nibbles_plain(in + i, out + 2 * i, n - i);
}

const char* Target() { return hwy::TargetName(HWY_TARGET); }

}  // namespace HWY_NAMESPACE
}  // namespace wb::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace wb {

namespace kernels {
HWY_EXPORT(Convert);
HWY_EXPORT(Scale);
HWY_EXPORT(Unpack);
HWY_EXPORT(Target);

bool is_half_or_single(DType d) { return d == DType::F32 || d == DType::F16 || d == DType::BF16; }
}  // namespace kernels

bool is_fast_pair(DType from, DType to) {
  using kernels::is_half_or_single;
  return from != to && is_half_or_single(to) && (is_half_or_single(from) || from == DType::F8_E4M3);
}

void convert_elements_fast(DType from, const std::byte* in, DType to, std::byte* out,
                           std::size_t count) {
  WB_CHECK(is_fast_pair(from, to));
  using namespace kernels;
  HWY_DYNAMIC_DISPATCH(Convert)(from, in, to, out, count);
}

void scale_codes(DType from, const std::byte* in, float factor, DType to, std::byte* out,
                 std::size_t count) {
  WB_CHECK(item_size(from) == 1 && kernels::is_half_or_single(to));
  if (from != DType::F8_E4M3 && from != DType::I8) {
    return scale_codes_plain(from, in, factor, to, out, count);
  }
  using namespace kernels;
  HWY_DYNAMIC_DISPATCH(Scale)(from, in, factor, to, out, count);
}

void scale_codes_plain(DType from, const std::byte* in, float factor, DType to, std::byte* out,
                       std::size_t count) {
  const unsigned size = item_size(to);
  for (std::size_t i = 0; i < count; ++i) {
    float x = 0;
    convert_elements_plain(from, in + i, DType::F32, reinterpret_cast<std::byte*>(&x), 1);
    x *= factor;
    convert_elements_plain(DType::F32, reinterpret_cast<const std::byte*>(&x), to, out + i * size,
                           1);
  }
}

void unpack_nibbles(const std::byte* in, std::byte* out, std::size_t count) {
  using namespace kernels;
  HWY_DYNAMIC_DISPATCH(Unpack)(in, out, count);
}

void unpack_nibbles_plain(const std::byte* in, std::byte* out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const auto byte = std::to_integer<unsigned>(in[i]);
    out[2 * i] = std::byte{static_cast<std::uint8_t>((byte & 15u) - 8)};
    out[2 * i + 1] = std::byte{static_cast<std::uint8_t>((byte >> 4) - 8)};
  }
}

const char* kernels_target() {
  using namespace kernels;
  return HWY_DYNAMIC_DISPATCH(Target)();
}

}  // namespace wb
#endif
