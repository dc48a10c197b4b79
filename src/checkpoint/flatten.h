// From a pickle's tree to named tensors and facts. Dicts, lists and tuples are
// walked, keys joined by '.'; tensors get names, numbers and strings go to the
// facts, everything else stays inert and is noted. Refuses trees that contain
// themselves, nest deeper than 64, or unfold to more than the limits.
#pragma once

#include "checkpoint/checkpoint.h"
#include "checkpoint/pickle_value.h"
#include "checkpoint/torch_objects.h"

namespace wb {

// Appends to `out`: tensors (unsorted, names checked but not yet known to be unique),
// facts, notes. Throws tensor_name, pickle_structure, limit_exceeded and what
// TensorReader::read throws.
void flatten(const Pickle& pickle, const TensorReader& reader, const OpenOptions& options,
             Checkpoint& out);

}  // namespace wb
