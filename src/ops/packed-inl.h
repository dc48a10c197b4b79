// What the kernels of packed matrices share, for each instruction set: types, loads that end where
// they must, and rows of plain numbers. Included by packed_dense.cpp and packed_groups-inl.h only.
#if defined(WB_OPS_PACKED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef WB_OPS_PACKED_INL_H_
#undef WB_OPS_PACKED_INL_H_
#else
#define WB_OPS_PACKED_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace wb::ops {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
// At most 16 lanes: a window of one code per lane must not span more than a group of 128 needs.
using D = hn::CappedTag<float, 16>;
using DU = hn::Rebind<std::uint32_t, D>;
using DI = hn::Rebind<std::int32_t, D>;
using V = hn::Vec<D>;
using VU = hn::Vec<DU>;

// The first n of as many elements as there are lanes; the rest zero, and not touched.
template <class DT, class T = hn::TFromD<DT>>
HWY_INLINE hn::Vec<DT> LoadN(DT d, const T* p, std::size_t n) {
#if HWY_TARGET <= HWY_AVX3
  return hn::MaskedLoad(hn::FirstN(d, n), d, p);
#else
  if (n >= hn::Lanes(d)) return hn::LoadU(d, p);
  HWY_ALIGN T some[16] = {};
  std::memcpy(some, p, n * sizeof(T));
  return hn::LoadU(d, some);
#endif
}

struct F32Row {
  using T = float;
  static HWY_INLINE V Load(D d, const T* p) { return hn::LoadU(d, p); }
  static HWY_INLINE V First(D d, const T* p, std::size_t n) { return LoadN(d, p, n); }
};
struct Bf16Row {
  using T = std::uint16_t;
  static HWY_INLINE V Widen(hn::Vec<hn::Rebind<T, D>> v) {
    return hn::BitCast(D(), hn::ShiftLeft<16>(hn::PromoteTo(DU(), v)));
  }
  static HWY_INLINE V Load(D, const T* p) { return Widen(hn::LoadU(hn::Rebind<T, D>(), p)); }
  static HWY_INLINE V First(D, const T* p, std::size_t n) {
    return Widen(LoadN(hn::Rebind<T, D>(), p, n));
  }
};
struct F16Row {
  using T = std::uint16_t;
  static HWY_INLINE V Widen(D d, hn::Vec<hn::Rebind<T, D>> v) {
    return hn::PromoteTo(d, hn::BitCast(hn::Rebind<hwy::float16_t, D>(), v));
  }
  static HWY_INLINE V Load(D d, const T* p) { return Widen(d, hn::LoadU(hn::Rebind<T, D>(), p)); }
  static HWY_INLINE V First(D d, const T* p, std::size_t n) {
    return Widen(d, LoadN(hn::Rebind<T, D>(), p, n));
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace wb::ops
HWY_AFTER_NAMESPACE();

#endif  // the include guard of this target
