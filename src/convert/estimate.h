// What a conversion will take, before anything is written: sizes from the layout, and
// a rate that is measured by making a sample of the output's tiles, evenly spread over
// all of it, without writing them. Reads source bytes for that and nothing else.
#pragma once

#include <cstdint>

#include "convert/layout.h"

namespace wb {

struct Estimate {
  std::uint64_t output_bytes = 0;   // of all weight files, headers included
  std::uint64_t sampled_bytes = 0;  // that were made to measure
  double bytes_per_second = 0;      // made on all threads; 0 when nothing was sampled
  // Writing comes on top, and the disk's own speed where it is slower.
  double seconds = 0;
  std::uint64_t tile_bytes = 0;  // memory of tiles while converting, all threads
};
// Samples for about `seconds`. threads: 0 = all cores. Throws what reading throws.
Estimate estimate(const FolderLayout& layout, unsigned threads, double seconds);

}  // namespace wb
