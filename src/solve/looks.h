// Readings held to one view of the evidence: each assignment is run once and its fit
// remembered. Owns the memory and the count of work, and what a field may be set to;
// decides nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "solve/space.h"
#include "solve/view.h"

namespace wb {

// An unknown during the search.
struct Field {
  Unknown unknown;
  // What is left of its values; nothing = all of values_to_try, and what it is now.
  std::optional<std::vector<nlohmann::json>> left;
  bool decided() const { return left && left->size() == 1; }
};

Assignment with(Assignment at, std::size_t field, const nlohmann::json& value);

struct Look {
  Fit fit;
  std::string impossible;  // why the weights do not fit these values; "" when they do
};

class Looks {
 public:
  // `work` is what may be spent, in multiply-adds; it is counted down and may be shared by many.
  // All of it must outlive the object.
  Looks(const Space& space, const View& view, std::vector<Field>& fields, unsigned threads,
        double& work);

  const Look& at(const Assignment& assignment);
  void at_all(const std::vector<Assignment>& assignments);
  // The same, with View::sketch() of each; empty where impossible.
  std::vector<std::vector<float>> sketches(const std::vector<Assignment>& assignments);
  double score(const Assignment& assignment) { return at(assignment).fit.score; }
  // Whether `a` is nearer to the evidence by more than chance in the last digits.
  bool better(const Assignment& a, const Assignment& than);

  // What `field` can be, most usual first, with its value in `at` among them.
  std::vector<nlohmann::json> values(std::size_t field, const Assignment& at) const;
  // The same without a value that minimisation found.
  std::vector<nlohmann::json> usual(std::size_t field, const Assignment& at) const;
  ModelSpec spec(const Assignment& at) const;              // of a reading that is possible
  std::vector<float> predict(const Assignment& at) const;  // likewise

  const View& view() const { return view_; }
  std::vector<Field>& fields() { return fields_; }
  bool spent() const { return work_ <= 0; }
  std::size_t count() const { return count_; }

 private:
  void run(const std::vector<const Assignment*>& assignments, std::vector<Look*>& into,
           std::vector<std::vector<float>>* sketches);

  const Space& space_;
  const View& view_;
  std::vector<Field>& fields_;
  unsigned threads_;
  double& work_;
  std::size_t count_ = 0;
  std::unordered_map<std::string, Look> seen_;     // by assignment
  std::unordered_map<std::string, Fit> computed_;  // by Reading::effect
};

}  // namespace wb
