// The search for the assignment that reproduces one view of the evidence: descent one
// unknown at a time, kicks out of local minima, minimisation of numbers that no list
// holds, and, once rounding explains what is left, which other values it explains as
// well. Deterministic: neither threads nor time change what it finds, work is counted.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "solve/space.h"
#include "solve/view.h"

namespace wb {

// An unknown during the search.
struct Field {
  Unknown unknown;
  // What is left of its values; nothing = all of values_to_try, and `found`.
  std::optional<std::vector<nlohmann::json>> left;
  std::vector<nlohmann::json> found;  // by minimisation
  bool decided() const { return left && left->size() == 1; }
};

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

class Search {
 public:
  // `work` bounds the multiply-adds that are spent.
  Search(const Space& space, const View& view, std::vector<Field>& fields, unsigned threads,
         double work);

  struct Look {
    Fit fit;
    std::string impossible;
  };
  const Look& look(const Assignment& assignment);

  // The best assignment found from `start` when only `open` fields may change.
  Assignment descend(Assignment start, const std::vector<std::size_t>& open);
  // For a solved assignment: moves to values that are nearer beyond doubt, and to the more usual
  // of those that cannot be told apart; then narrows what is left of each open field.
  // tried[i] is about open[i].
  Assignment decide(Assignment at, const std::vector<std::size_t>& open,
                    std::vector<std::vector<Tried>>& tried);
  // How each value of the open fields fares with all else as in `at`; narrows nothing.
  std::vector<std::vector<Tried>> table(const Assignment& at, const std::vector<std::size_t>& open);
  std::size_t looks() const { return looks_; }

 private:
  std::vector<nlohmann::json> values(std::size_t field, const Assignment& at) const;
  void look_at_all(const std::vector<Assignment>& assignments);
  bool spent() const { return work_ <= 0; }
  bool better(const Assignment& a, const Assignment& than);
  bool sweep(Assignment& at, const std::vector<std::size_t>& open, std::size_t held);
  bool sweeps(Assignment& at, const std::vector<std::size_t>& open, std::size_t held);
  bool kick(Assignment& at, const std::vector<std::size_t>& open);
  bool refine(Assignment& at, std::size_t field);
  void polish(Assignment& at, const std::vector<std::size_t>& open);
  double minimum(Assignment at, std::size_t field);
  std::vector<float> predict(const Assignment& at) const;

  const Space& space_;
  const View& view_;
  std::vector<Field>& fields_;
  unsigned threads_;
  double work_;
  std::size_t looks_ = 0;
  std::map<std::string, Look> seen_;
};

}  // namespace wb
