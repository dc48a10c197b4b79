// The comparison of tensors.h: one pass over the values, grouped afterwards.
#include "verify/tensors.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <map>
#include <tuple>

#include "base/threads.h"
#include "tensor/element.h"
#include "tensor/read.h"

namespace wb {

namespace {

constexpr std::uint64_t kPiece = 1u << 16;  // elements compared at a time

// "layers.3.mlp.experts.11.gate.weight" -> "layers.{}.mlp.experts.{}.gate.weight".
std::string pattern_of(const std::string& name) {
  std::string out;
  for (std::size_t at = 0; at <= name.size();) {
    const std::size_t dot = std::min(name.find('.', at), name.size());
    const std::string part = name.substr(at, dot - at);
    const bool digits = !part.empty() && std::all_of(part.begin(), part.end(), [](unsigned char c) {
      return std::isdigit(c) != 0;
    });
    out += (at == 0 ? "" : ".") + (digits ? std::string("{}") : part);
    at = dot + 1;
  }
  return out;
}

std::string type_and_shape(const Tensor& tensor) {
  return std::string(name(tensor.dtype())) + " " + to_string(tensor.shape());
}

// Half a unit in the last place, relative, and half of the smallest step.
struct Roundoff {
  double relative, absolute;
};
Roundoff roundoff(DType dtype) {
  switch (dtype) {
    case DType::F16:
      return {0x1p-11, 0x1p-25};
    case DType::BF16:
      return {0x1p-8, 0x1p-134};
    case DType::F32:
      return {0x1p-24, 0x1p-150};
    default:
      return {0, 0};
  }
}

void read_doubles(const Tensor& tensor, std::uint64_t begin, std::uint64_t end,
                  std::vector<std::byte>& raw, std::vector<double>& out) {
  const std::size_t n = static_cast<std::size_t>(end - begin);
  raw.resize(n * item_size(tensor.dtype()));
  out.resize(n);
  read_range(tensor, begin, end, raw);
  if (tensor.dtype() == DType::F64) {
    std::memcpy(out.data(), raw.data(), n * sizeof(double));
    return;
  }
  convert_elements(tensor.dtype(), raw.data(), DType::F64, reinterpret_cast<std::byte*>(out.data()),
                   n);
}

struct Found {
  TensorOutcome outcome = TensorOutcome::equal;
  double relative = 0;
};

// Both sides, of one shape. NaN counts as equal to NaN: whether a model should hold one is
// not asked here.
Found compare_pair(const Tensor& a, const Tensor& b) {
  const Roundoff u = bits(b.dtype()) <= bits(a.dtype()) ? roundoff(b.dtype()) : roundoff(a.dtype());
  std::vector<std::byte> raw_a, raw_b;
  std::vector<double> x, y;
  bool same_bits = a.dtype() == b.dtype(), same_values = true, rounded = true;
  double difference = 0, norm = 0;
  const std::uint64_t n = a.numel();
  for (std::uint64_t begin = 0; begin < n; begin += kPiece) {
    const std::uint64_t end = std::min(n, begin + kPiece);
    read_doubles(a, begin, end, raw_a, x);
    read_doubles(b, begin, end, raw_b, y);
    same_bits = same_bits && raw_a == raw_b;
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (std::isnan(x[i]) && std::isnan(y[i])) continue;
      const double d = std::abs(x[i] - y[i]);
      norm += x[i] * x[i];
      if (x[i] == y[i]) continue;
      difference += d * d;
      same_values = false;
      rounded = rounded && d <= u.relative * std::abs(x[i]) + u.absolute;
    }
  }
  const double relative = norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
  if (same_bits) return {TensorOutcome::equal, 0};
  if (same_values) return {TensorOutcome::equal_value, 0};
  return {rounded ? TensorOutcome::rounded : TensorOutcome::changed, relative};
}

}  // namespace

std::string_view name(TensorOutcome outcome) {
  switch (outcome) {
    case TensorOutcome::equal:
      return "equal bit for bit";
    case TensorOutcome::equal_value:
      return "equal in value";
    case TensorOutcome::rounded:
      return "rounded once";
    case TensorOutcome::changed:
      return "other values";
    case TensorOutcome::reshaped:
      return "another form";
    case TensorOutcome::only_source:
      return "only in the source";
    case TensorOutcome::only_folder:
      return "only in the folder";
  }
  return "";
}

std::uint64_t TensorComparison::count(TensorOutcome outcome) const {
  std::uint64_t n = 0;
  for (const TensorRow& row : rows) n += row.outcome == outcome ? row.count : 0;
  return n;
}

TensorComparison compare_tensors(const CanonicalModel& source, const CanonicalModel& folder,
                                 unsigned threads) {
  struct Pair {
    const Tensor *a = nullptr, *b = nullptr;
    Found found;
  };
  std::map<std::string, Pair> pairs;
  for (const auto& [tensor, value] : source.tensors) pairs[tensor].a = &value;
  for (const auto& [tensor, value] : folder.tensors) pairs[tensor].b = &value;
  std::vector<Pair*> work;
  for (auto& [tensor, pair] : pairs) {
    if (pair.a == nullptr) {
      pair.found.outcome = TensorOutcome::only_folder;
    } else if (pair.b == nullptr) {
      pair.found.outcome = TensorOutcome::only_source;
    } else if (pair.a->shape() != pair.b->shape()) {
      pair.found.outcome = TensorOutcome::reshaped;
    } else {
      work.push_back(&pair);
    }
  }
  parallel_for(work.size(), threads, [&](std::size_t i, unsigned) {
    work[i]->found = compare_pair(*work[i]->a, *work[i]->b);
  });

  using Key = std::tuple<std::string, std::string, std::string, TensorOutcome>;
  std::map<Key, TensorRow> groups;
  TensorComparison out;
  for (const auto& [tensor, pair] : pairs) {
    const std::string a = pair.a != nullptr ? type_and_shape(*pair.a) : "";
    const std::string b = pair.b != nullptr ? type_and_shape(*pair.b) : "";
    out.outcomes.emplace(tensor, pair.found.outcome);
    TensorRow& row = groups[{pattern_of(tensor), a, b, pair.found.outcome}];
    row.pattern = pattern_of(tensor);
    row.source = a;
    row.folder = b;
    row.outcome = pair.found.outcome;
    row.relative = std::max(row.relative, pair.found.relative);
    ++row.count;
  }
  for (auto& [key, row] : groups) out.rows.push_back(std::move(row));
  return out;
}

std::map<std::string, TensorOutcome> source_outcomes(const CanonicalModel& source,
                                                     const TensorComparison& comparison) {
  std::map<std::string, TensorOutcome> out;
  for (const auto& [tensor, value] : source.tensors) {
    const TensorOutcome outcome = comparison.outcomes.at(tensor);
    for (const std::string& from : value.sources()) {
      auto [it, fresh] = out.emplace(from, outcome);
      if (!fresh) it->second = std::max(it->second, outcome);
    }
  }
  return out;
}

nlohmann::ordered_json to_json(const TensorComparison& comparison) {
  using Json = nlohmann::ordered_json;
  Json rows = Json::array();
  for (const TensorRow& row : comparison.rows) {
    rows.push_back({{"tensors", row.pattern},
                    {"count", row.count},
                    {"source", row.source.empty() ? Json(nullptr) : Json(row.source)},
                    {"folder", row.folder.empty() ? Json(nullptr) : Json(row.folder)},
                    {"outcome", name(row.outcome)},
                    {"relative", row.relative}});
  }
  return rows;
}

}  // namespace wb
