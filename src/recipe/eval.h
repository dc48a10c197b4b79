// What checked expressions yield for one checkpoint. Owns the meaning of every
// function and method; throws wb::Error where the checkpoint does not fit the
// recipe, and MissingSource where a tensor that an expression names is not there.
#pragma once

#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "recipe/recipe_impl.h"
#include "recipe/source.h"

namespace wb {

// Values by formula that nothing is stored of, to compare tensors with.
struct Generated {
  Shape shape;
  // Values [begin, end) by row-major index, into `out`; safe from many threads.
  std::function<void(std::uint64_t begin, std::uint64_t end, double* out)> fill;
};
using Numbers = std::vector<double>;  // a list in config.json
using Value = std::variant<std::int64_t, double, bool, std::string, Tensor, Generated, Numbers>;

struct MissingSource {
  std::string name;  // under the prefix
};

nlohmann::json to_json(const Value& scalar);
// Nothing when `json` is null, an object or a list of anything but numbers.
std::optional<Value> from_json(const nlohmann::json& json);

// How two tensors differ; empty `difference` = they do not.
struct Comparison {
  std::string difference;
};
// Element by element: |a - b| <= tolerance * |b| + absolute, with what rounding to a's own type
// may add where tolerance > 0. Reads a (and b) in pieces.
Comparison compare_values(const Tensor& a, const Value& b, double tolerance, double absolute = 0);
// Same type, shape and bytes.
bool equal_bytes(const Tensor& a, const Tensor& b);
// equal_bytes, which is known without reading when both view one storage in the same way.
bool same_tensor(const SourceTensor& a, const SourceTensor& b);

class Evaluator {
 public:
  Evaluator(const Recipe& recipe, const Source& source) : recipe_(recipe), source_(source) {}

  // What the names in an expression stand for; the owner fills these in as it learns them.
  std::vector<Value> scalars;                                // by slot
  std::map<std::string, std::uint64_t, std::less<>> counts;  // of index variables
  Indices indices;                                           // values of those that are bound
  std::string suffix;                                        // added to source names
  const Tensor* subject = nullptr;                           // `this`
  std::vector<std::size_t> used;  // source tensors that were read as tensors, in order
  std::string difference;         // of the last equal() or close() that was false

  // The name that a pattern stands for, with what it computes filled in.
  std::string expand(const Pattern& pattern);
  // The pattern with bound variables and computed indices as literals.
  Pattern filled(const Pattern& pattern);
  Value eval(const Expr& expr);
  bool boolean(const Expr& expr);
  Tensor tensor(const Expr& expr);
  // What a line gets that reads the source tensor of this name: by [encoded], or as it is stored.
  Tensor read(const std::string& name);
  std::int64_t whole(const Expr& expr);  // a whole number
  std::uint64_t size(const Expr& expr);  // and not negative
  double real(const Expr& expr);

 private:
  Value name(const Expr& expr);
  Value binary(const Expr& expr);
  Value arithmetic(const Expr& expr, const Value& a, const Value& b);
  Value call(const Expr& expr);
  Value method(const Expr& expr);
  Value lookup(const Expr& expr);
  const nlohmann::json* fact(const Pattern& path);  // nullptr when there is none
  Value count(const Expr& expr, bool first);
  Value compare(const Expr& expr, double tolerance, double absolute = 0);
  Tensor over(const Expr& expr, bool concat);
  Value item(const Expr& expr);
  Tensor scale_by(const Expr& expr, const Tensor& t);
  Tensor dequantise(const Expr& expr, const Tensor& t);
  std::size_t source_index(const Expr& expr);
  // The expression that spells `name` by a line of [encoded], and what {any} is in it.
  const Expr* encoding(const std::string& name, std::string& any);
  int axis(const Expr& expr, const Tensor& of);
  Shape shape(const Expr& expr, std::size_t first);
  [[noreturn]] void wrong_type(const Expr& expr, const char* wanted, const Value& got) const;
  std::string found_name(const Expr& expr);

  const Recipe& recipe_;
  const Source& source_;
  const std::string* any_ = nullptr;  // inside of a line of [encoded]: what {any} is
};

}  // namespace wb
