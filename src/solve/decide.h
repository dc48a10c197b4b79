// What a reading that reproduces one view says of each open field: which other values rounding
// explains as well, and which of those that cannot be told apart is the usual one.
#pragma once

#include <string>
#include <vector>

#include "solve/looks.h"

namespace wb {

enum class TriedAs {
  chosen,
  ruled_out,   // further from the evidence than rounding explains
  same,        // as near as the chosen one
  impossible,  // the weights do not fit it
};
struct Tried {
  nlohmann::json value;
  TriedAs as = TriedAs::chosen;
  double relative = 0;  // error of the view with all else as chosen
  std::string why;      // impossible: the reason
};

// For a solved assignment: moves to values that are nearer beyond doubt, and to the more usual
// of those that cannot be told apart; then narrows what is left of each open field. tried[i] is
// about open[i].
Assignment decide(Looks& looks, Assignment at, const std::vector<std::size_t>& open,
                  std::vector<std::vector<Tried>>& tried);
// How each value of the open fields fares with all else as in `at`; narrows nothing.
std::vector<std::vector<Tried>> table(Looks& looks, const Assignment& at,
                                      const std::vector<std::size_t>& open);

}  // namespace wb
