// What this machine can do at best, measured: how fast memory is read, how fast the BLAS
// multiplies. Rooflines for `bench`; owns nothing beyond the call, or a buffer while there is one.
#pragma once

#include <vector>

#include "engine/pool.h"

namespace wb::engine {

// How fast `threads` threads together read from memory (not from caches).
class ReadBandwidth {
 public:
  explicit ReadBandwidth(unsigned threads);
  double pass();  // bytes per second of one pass over some hundred MiB

 private:
  Pool pool_;
  std::vector<float> buffer_, found_;
};
// Floating-point operations per second of f32 matrix products on `threads` threads: the best of
// several products of 1024 x 1024 matrices, one product for each thread.
double product_peak(unsigned threads);

}  // namespace wb::engine
