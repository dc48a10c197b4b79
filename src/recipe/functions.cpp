// The table of functions.h.
#include "recipe/functions.h"

#include <algorithm>
#include <cstddef>

namespace wb {

std::string_view in_words(Type type) {
  switch (type) {
    case Type::number:
      return "a number";
    case Type::boolean:
      return "true or false";
    case Type::symbol:
      return "a word";
    case Type::tensor:
      return "a tensor";
    case Type::generated:
      return "values to compare with";
    case Type::scalar:
      break;
  }
  return "a number, true or false, or a word";
}

const std::vector<Function>& functions() {
  using A = ArgKind;
  using T = Type;
  constexpr bool kCall = false, kMethod = true, kOnce = false, kRepeats = true;
  static const std::vector<Function> table = {
      // What the checkpoint holds.
      {"count",
       kCall,
       Fn::count,
       "count(name with one {variable})",
       {A::source},
       1,
       kOnce,
       T::number},
      {"first",
       kCall,
       Fn::first,
       "first(name with one {variable})",
       {A::source},
       1,
       kOnce,
       T::number},
      {"has", kCall, Fn::has, "has(name)", {A::source}, 1, kOnce, T::boolean},
      {"same", kCall, Fn::same, "same(a, b)", {A::tensor, A::tensor}, 2, kOnce, T::boolean},
      {"equal",
       kCall,
       Fn::equal,
       "equal(a, b)",
       {A::comparable, A::comparable},
       2,
       kOnce,
       T::boolean},
      {"close",
       kCall,
       Fn::close,
       "close(a, b, tolerance)",
       {A::comparable, A::comparable, A::number},
       3,
       kOnce,
       T::boolean},
      {"item", kCall, Fn::item, "item(tensor, index)", {A::tensor, A::number}, 1, kOnce, T::number},
      {"near",
       kCall,
       Fn::near,
       "near(a, b, difference)",
       {A::comparable, A::comparable, A::number},
       3,
       kOnce,
       T::boolean},
      {"config",
       kCall,
       Fn::config,
       "config(key, default)",
       {A::key, A::scalar},
       1,
       kOnce,
       T::scalar},
      {"fact", kCall, Fn::fact, "fact(key, default)", {A::key, A::scalar}, 1, kOnce, T::scalar},
      // Numbers.
      {"if",
       kCall,
       Fn::if_,
       "if(condition, a, b)",
       {A::boolean, A::same_as_context, A::same_as_context},
       3,
       kOnce,
       T::scalar},
      {"min", kCall, Fn::min, "min(a, b, ...)", {A::number, A::number}, 2, kRepeats, T::number},
      {"max", kCall, Fn::max, "max(a, b, ...)", {A::number, A::number}, 2, kRepeats, T::number},
      {"sqrt", kCall, Fn::sqrt, "sqrt(x)", {A::number}, 1, kOnce, T::number},
      {"pow", kCall, Fn::pow, "pow(x, exponent)", {A::number, A::number}, 2, kOnce, T::number},
      {"log", kCall, Fn::log, "log(x)", {A::number}, 1, kOnce, T::number},
      {"mod", kCall, Fn::mod, "mod(x, divisor)", {A::number, A::number}, 2, kOnce, T::number},
      // Tensors from tensors.
      {"concat",
       kCall,
       Fn::concat,
       "concat(axis, a, b, ...)",
       {A::number, A::tensor},
       2,
       kRepeats,
       T::tensor},
      {"stack",
       kCall,
       Fn::stack,
       "stack(axis, a, b, ...)",
       {A::number, A::tensor},
       2,
       kRepeats,
       T::tensor},
      {"concat_over",
       kCall,
       Fn::concat_over,
       "concat_over(variable, axis, expression)",
       {A::variable, A::number, A::tensor},
       3,
       kOnce,
       T::tensor},
      {"stack_over",
       kCall,
       Fn::stack_over,
       "stack_over(variable, expression)",
       {A::variable, A::tensor},
       2,
       kOnce,
       T::tensor},
      {"every",
       kCall,
       Fn::every,
       "every(variable, expression)",
       {A::variable, A::tensor},
       2,
       kOnce,
       T::tensor},
      {"matmul", kCall, Fn::matmul, "matmul(a, b)", {A::tensor, A::tensor}, 2, kOnce, T::tensor},
      {"add", kCall, Fn::add, "add(a, b)", {A::tensor, A::tensor}, 2, kOnce, T::tensor},
      // Tensors from nothing.
      {"zeros", kCall, Fn::zeros, "zeros(d0, d1, ...)", {A::number}, 1, kRepeats, T::tensor},
      {"ones", kCall, Fn::ones, "ones(d0, d1, ...)", {A::number}, 1, kRepeats, T::tensor},
      {"full",
       kCall,
       Fn::full,
       "full(value, d0, d1, ...)",
       {A::number, A::number},
       2,
       kRepeats,
       T::tensor},
      {"inv_freq",
       kCall,
       Fn::inv_freq,
       "inv_freq(dim, base)",
       {A::number, A::number},
       2,
       kOnce,
       T::generated},
      {"rope_cos",
       kCall,
       Fn::rope_cos,
       "rope_cos(positions, dim, base)",
       {A::number, A::number, A::number},
       3,
       kOnce,
       T::generated},
      {"rope_sin",
       kCall,
       Fn::rope_sin,
       "rope_sin(positions, dim, base)",
       {A::number, A::number, A::number},
       3,
       kOnce,
       T::generated},
      {"eye", kCall, Fn::eye, "eye(n)", {A::number}, 1, kOnce, T::tensor},
      {"tril", kCall, Fn::tril, "tril(n)", {A::number}, 1, kOnce, T::generated},
      // Methods.
      {"reshape",
       kMethod,
       Fn::reshape,
       ".reshape(d0, d1, ...)",
       {A::number},
       1,
       kRepeats,
       T::tensor},
      {"permute",
       kMethod,
       Fn::permute,
       ".permute(axis0, axis1, ...)",
       {A::number},
       1,
       kRepeats,
       T::tensor},
      {"t", kMethod, Fn::t, ".t()", {}, 0, kOnce, T::tensor},
      {"slice",
       kMethod,
       Fn::slice,
       ".slice(axis, begin, end)",
       {A::number, A::number, A::number},
       3,
       kOnce,
       T::tensor},
      {"select",
       kMethod,
       Fn::select,
       ".select(axis, index)",
       {A::number, A::number},
       2,
       kOnce,
       T::tensor},
      {"split",
       kMethod,
       Fn::split,
       ".split(axis, parts)",
       {A::number, A::number},
       2,
       kOnce,
       T::tensor},
      {"merge", kMethod, Fn::merge, ".merge(axis)", {A::number}, 1, kOnce, T::tensor},
      {"pad",
       kMethod,
       Fn::pad,
       ".pad(axis, before, after)",
       {A::number, A::number, A::number},
       3,
       kOnce,
       T::tensor},
      {"cast", kMethod, Fn::cast, ".cast(dtype)", {A::dtype}, 1, kOnce, T::tensor},
      {"scale", kMethod, Fn::scale, ".scale(factor)", {A::number}, 1, kOnce, T::tensor},
      {"scale_by",
       kMethod,
       Fn::scale_by,
       ".scale_by(vector, axis)",
       {A::tensor, A::number},
       2,
       kOnce,
       T::tensor},
      {"dequantise",
       kMethod,
       Fn::dequantise,
       ".dequantise(scale, block0, block1, ...)",
       {A::tensor, A::number},
       1,
       kRepeats,
       T::tensor},
      {"unpack_int4", kMethod, Fn::unpack_int4, ".unpack_int4()", {}, 0, kOnce, T::tensor},
      {"half_split",
       kMethod,
       Fn::half_split,
       ".half_split(axis)",
       {A::number},
       1,
       kOnce,
       T::tensor},
      {"interleaved",
       kMethod,
       Fn::interleaved,
       ".interleaved(axis)",
       {A::number},
       1,
       kOnce,
       T::tensor},
  };
  return table;
}

const Function* find_function(std::string_view name, bool method) {
  for (const Function& function : functions()) {
    if (function.method == method && function.name == name) return &function;
  }
  return nullptr;
}

namespace {
// Optimal string alignment distance: insertions, deletions, changes, neighbours swapped.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}
}  // namespace

std::string_view nearest(std::string_view name, const std::vector<std::string_view>& candidates) {
  std::string_view best;
  if (name.size() > 200) return best;  // no one's typing
  std::size_t best_distance = std::max<std::size_t>(2, name.size() / 3) + 1;
  for (std::string_view candidate : candidates) {
    if (candidate.size() > 200) continue;
    std::size_t distance = edit_distance(name, candidate);
    if (distance < best_distance && distance < std::max(name.size(), candidate.size())) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace wb
