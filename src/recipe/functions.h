// Every function and method of the expression language as one table: what the
// checker holds calls against and docs/recipes.md lists. What each does is in eval*.cpp.
#pragma once

#include <string_view>
#include <vector>

namespace wb {

// What an expression yields, or what a place calls for.
enum class Type {
  number,  // whole or real
  boolean,
  symbol,  // an enum value or other word
  tensor,
  generated,  // values by formula, only to compare with: inv_freq(), tril()
  scalar,     // number, boolean or symbol: known when the checkpoint is
};
std::string_view in_words(Type type);

enum class ArgKind {
  number,
  boolean,
  tensor,
  same_as_context,  // what the whole call is to yield (the branches of if)
  source,           // a source name, not read: captures are free
  variable,         // an index variable's bare name; bound in the arguments after it
  key,              // a name looked up elsewhere
  dtype,            // f32, f16, bf16, f64
  comparable,       // a tensor or generated values
  scalar,
};

enum class Fn {
  count,
  first,
  has,
  same,
  equal,
  close,
  if_,
  config,
  fact,
  min,
  max,
  sqrt,
  pow,
  concat,
  stack,
  concat_over,
  stack_over,
  every,
  zeros,
  ones,
  full,
  matmul,
  add,
  item,
  mod,
  log,
  inv_freq,
  rope_cos,
  rope_sin,
  near,
  eye,
  tril,
  reshape,
  permute,
  t,
  slice,
  select,
  split,
  merge,
  pad,
  cast,
  scale,
  scale_by,
  dequantise,
  unpack_int4,
  half_split,
  interleaved,
};

struct Function {
  std::string_view name;
  bool method;
  Fn fn;
  std::string_view usage;     // "concat(axis, a, b, ...)"
  std::vector<ArgKind> args;  // without the receiver
  unsigned required;          // the first so many of args are; the others may be left out
  bool repeats;               // the last of args may occur any number of times
  Type result;                // scalar with same_as_context: as the context
};
const std::vector<Function>& functions();
const Function* find_function(std::string_view name, bool method);

// "did you mean 'x'?" material: the candidate nearest to `name`, or "" when none is near.
std::string_view nearest(std::string_view name, const std::vector<std::string_view>& candidates);

}  // namespace wb
