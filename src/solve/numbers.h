// Real settings that no list holds: found by minimisation of one, or of some together, and
// then the simple number or formula that is meant. Owns the numerics; which fields are
// open, and what else is tried, is search.h's.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "solve/looks.h"

namespace wb {

// `at` with those real fields among `open` moved that together bring the residual down most: least
// squares on the residual's sketch in the logarithms of the numbers, a few steps. Fields whose
// effect is the same as another's stay where they are. Nothing when no number helps. Ends when
// rounding explains what is left, unless `to_the_last` digit that helps.
std::optional<Assignment> fit_numbers(Looks& looks, const Assignment& at,
                                      const std::vector<std::size_t>& open,
                                      bool to_the_last = false);

// `at` with the real field at its best value in the whole of its range, all else as it is: a scan
// by equal factors, then golden section. Nothing when that is not better.
std::optional<Assignment> scan_number(Looks& looks, const Assignment& at, std::size_t field);

// `at`, where `field` was found by minimisation, with the simplest number or formula near it that
// the evidence cannot tell from it; `at` itself when there is none.
Assignment named_number(Looks& looks, const Assignment& at, std::size_t field);

// `at`, which rounding explains, with each real field that no list holds at the value that is
// meant: a usual one or a simple form near it, the other such numbers fitted again, where the
// evidence cannot tell it from the fitted one.
Assignment plain_numbers(Looks& looks, Assignment at, const std::vector<std::size_t>& open);

}  // namespace wb
