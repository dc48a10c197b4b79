// See prefix.h.
#include "draft/prefix.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "draft/indices.h"

namespace wb::draft {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Every name in `below` ends in ".{n}.leaf" and the ranks of a leaf change with n: the state of
// an optimizer, which numbers the parameters.
bool numbered_state(const std::vector<std::pair<std::string, const SourceTensor*>>& below) {
  std::map<std::string, std::set<std::size_t>> ranks;
  std::set<std::uint64_t> numbers;
  for (const auto& [name, tensor] : below) {
    std::size_t leaf = name.rfind('.');
    if (leaf == std::string::npos || leaf == 0) return false;
    std::size_t begin = name.rfind('.', leaf - 1);
    begin = begin == std::string::npos ? 0 : begin + 1;
    std::optional<std::uint64_t> n;
    std::string digits = name.substr(begin, leaf - begin);
    if (!digits.empty() && std::all_of(digits.begin(), digits.end(), is_digit))
      n = index_of(digits);
    if (!n) return false;
    numbers.insert(*n);
    ranks[name.substr(leaf)].insert(tensor->tensor.shape().size());
  }
  return std::any_of(ranks.begin(), ranks.end(),
                     [](const auto& r) { return r.second.size() > 1; }) ||
         std::all_of(below.begin(), below.end(), [](const auto& b) {
           // {"state": {0: ...}}, as torch.optim saves it, or a list of such: Lightning's way
           std::size_t list = b.first.find_first_not_of("0123456789");
           if (list == 0 || list == std::string::npos || b.first[list] != '.') list = 0;
           return b.first.substr(list == 0 ? 0 : list + 1).starts_with("state.");
         });
}

// Whether `below` could be a whole model: layers, and a matrix beside them.
bool model_like(const std::vector<std::pair<std::string, const SourceTensor*>>& below) {
  if (numbered_state(below)) return false;
  std::vector<std::string> names;
  std::vector<const Shape*> shapes;
  for (const auto& [name, tensor] : below) {
    names.push_back(name);
    shapes.push_back(&tensor->tensor.shape());
  }
  Decided d = decide(names, std::vector<bool>(names.size(), true), shapes);
  std::optional<std::size_t> layers = layer_family(d);
  if (!layers) return false;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (d.values[i].empty() && shapes[i]->size() == 2) return true;
  }
  return false;
}

bool is_float(DType dtype) { return info(dtype).is_float; }

}  // namespace

Root find_root(const std::vector<std::string>& plain, const Checkpoint& checkpoint) {
  Root root;
  for (;;) {
    using Below = std::vector<std::pair<std::string, const SourceTensor*>>;
    std::map<std::string, Below> children;
    bool joins = false;  // something here belongs to the model
    for (std::size_t i = 0; i < plain.size(); ++i) {
      if (!plain[i].starts_with(root.prefix)) continue;
      std::string rest = plain[i].substr(root.prefix.size());
      std::size_t dot = rest.find('.');
      if (dot == std::string::npos) {
        joins |= is_float(checkpoint.tensors[i].tensor.dtype()) &&
                 !checkpoint.tensors[i].tensor.shape().empty();
        continue;
      }
      children[rest.substr(0, dot)].emplace_back(rest.substr(dot + 1), &checkpoint.tensors[i]);
    }
    std::vector<std::string> models;
    std::vector<std::string> states;
    for (const auto& [segment, below] : children) {
      if (std::all_of(segment.begin(), segment.end(), is_digit)) {
        joins = true;
      } else if (model_like(below)) {
        models.push_back(segment);
      } else if (numbered_state(below)) {
        states.push_back(segment);
      } else {
        joins |= std::any_of(below.begin(), below.end(), [](const auto& b) {
          return is_float(b.second->tensor.dtype()) && !b.second->tensor.shape().empty();
        });
      }
    }
    if (models.size() > 1) {
      throw Error(Code::recipe_ambiguous, "two models lie side by side: under \"" + root.prefix +
                                              models[0] + ".\" and \"" + root.prefix + models[1] +
                                              ".\"")
          .file(checkpoint.path)
          .advice("Say which one is meant with --prefix.");
    }
    for (const std::string& s : states) root.optimizer.push_back(root.prefix + s + ".*");
    if (models.size() != 1 || joins) return root;
    root.prefix += models[0] + ".";
    root.optimizer.clear();
  }
}

}  // namespace wb::draft
