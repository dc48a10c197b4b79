// What this machine can do at best, measured: how fast memory is read, how fast the BLAS
// multiplies. Rooflines for `bench`; owns nothing beyond the call.
#pragma once

namespace wb::engine {

// Bytes per second that `threads` threads together read from memory (not from caches): the best of
// several passes over a buffer of some hundred MiB.
double read_bandwidth(unsigned threads);
// Floating-point operations per second of f32 matrix products on `threads` threads: the best of
// several products of 1024 x 1024 matrices, one product for each thread.
double product_peak(unsigned threads);

}  // namespace wb::engine
