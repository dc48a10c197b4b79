// A tiny checkpoint of the reference layout out of a fuzzer's bytes: whole and valid first, as a
// list of pieces, then changed as little or as much as the bytes say, and written as a file of any
// container that is read.
#pragma once

#include <fuzzer/FuzzedDataProvider.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "scratch.h"
#include "tensor/dtype.h"

namespace wb::fuzz {

// A tensor as a file describes it; every number may be a lie.
struct Piece {
  std::string name, data;
  DType dtype = DType::F32;
  std::vector<std::int64_t> shape, strides;
  std::int64_t offset = 0;  // elements
  std::int64_t numel = 0;   // of the storage
};

struct TinyCheckpoint {
  std::vector<Piece> pieces;
  bool changed = false;  // else it has to convert
};

// Layer sizes, element type and changes are the bytes' choice.
TinyCheckpoint tiny_checkpoint(FuzzedDataProvider& choose);

// Writes it into `folder`; returns what to open. The bytes choose container and, at times, places
// in the file that are damaged, which sets `changed`.
std::string write_tiny(TinyCheckpoint& tiny, FuzzedDataProvider& choose, const Scratch& folder);

}  // namespace wb::fuzz
