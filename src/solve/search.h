// The search for the assignment that reproduces one view of the evidence: best first, over
// moves of one field, of those together whose effects add up to what is missing, and of
// numbers that no list holds. Deterministic: neither threads nor time change what it finds,
// work is counted.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "solve/looks.h"

namespace wb {

// The best assignment found from `start` when only `open` fields may change. Ends when rounding
// explains what is left, when the work is spent, or when nothing new comes nearer.
Assignment descend(Looks& looks, const Assignment& start, const std::vector<std::size_t>& open);

}  // namespace wb
