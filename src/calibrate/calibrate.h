// Calibration of the stock target on text: the source is run, and what the stock class
// has no place for is folded into what it has, by least squares. Owns the statistics
// and the fits; target/ owns what is done with them (docs/mappings.md, "Calibration").
// How close it comes is measured by verify, never promised here.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/canonical.h"
#include "target/target.h"

namespace wb {

// Each step can be left out, so that its worth can be measured.
struct CalibrationSteps {
  bool biases = true;     // biases of experts and router, through a direction that reads 1
  bool router = true;     // softmax weights from the class's sigmoid, by lowering every logit
  bool positions = true;  // the mean of the position table joins the embeddings
  bool spare = true;      // hidden dimensions that hold a constant, for a closer fit of 1
};
// "biases,router": only those; "all"; "none". Throws Code::usage with the names.
CalibrationSteps steps_from_names(const std::string& names);

struct CalibrationResult {
  StockCalibration values;
  std::uint64_t tokens = 0;
  // Per layer: root mean square of 1 - one.x over the calibration text; 0 where there was no fit.
  std::vector<double> fit_error;
};

// `sequences`: token windows, each from position 0. Throws what Decoder does for tokens and
// lengths that the model does not take.
CalibrationResult calibrate_stock(const CanonicalModel& model,
                                  std::span<const std::vector<std::uint32_t>> sequences,
                                  const CalibrationSteps& steps, unsigned threads);

// The solution of (gram + ridge * mean diagonal * I) x = right by Cholesky, gram symmetric
// positive semi-definite, [n, n] row-major, f64. Exposed for its test.
std::vector<double> solve_ridge(std::vector<double> gram, std::vector<double> right, double ridge);

}  // namespace wb
