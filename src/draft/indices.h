// Which numbers in names are indices, and which of them is the layer: by what recurs behind each
// value, what is contiguous, and whose shapes agree. Knows nothing of words but that "mtp" is no
// layer's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace wb::draft {

// One place of a name at which a number stands; what stands before it is decided already.
struct Family {
  std::map<std::uint64_t, std::set<std::string>> rests;  // value -> what follows, anonymous
  std::map<std::string, std::vector<Shape>> shapes;      // by what follows
  // By what follows, by the same with its numbers: fc1 and fc2 differ in nothing else.
  std::map<std::string, std::map<std::string, std::vector<Shape>>> spelled;
  std::vector<std::size_t> members;
  bool whole = true;   // the number is a whole segment of the name
  bool number = true;  // every member's digits are an index (no leading zero, not huge)
  std::string key;
  std::size_t leaves() const { return shapes.size(); }
};

struct Decided {
  std::vector<std::string> canon;                            // by tensor; "" = outside
  std::vector<std::map<std::size_t, std::uint64_t>> values;  // by tensor: family -> value
  std::vector<Family> families;                              // those that are indices
  std::vector<std::string> keys;                             // text before each, with {id}
};

// The digits as an index: no leading zero, at most six of them.
std::optional<std::uint64_t> index_of(const std::string& digits);
// `text` has one of the words somewhere, whatever its case.
bool contains(const std::string& text, std::initializer_list<const char*> words);
// By tensor: the name, whether it is looked at, the shape.
Decided decide(const std::vector<std::string>& names, const std::vector<bool>& inside,
               const std::vector<const Shape*>& shapes);
// The family whose index is the layer: at the top of the names, with the most recurring in it.
std::optional<std::size_t> layer_family(const Decided& decided);

}  // namespace wb::draft
