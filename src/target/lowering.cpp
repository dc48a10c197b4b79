// Helpers of lowering.h: element types, names, the account.
#include "target/lowering.h"

#include <algorithm>
#include <charconv>

namespace wb {

namespace {

// What MLX cannot load as a number, and the type that holds each of its values exactly
// (F64 excepted, which MLX does not have at all).
struct Replacement {
  DType from, to;
};
constexpr Replacement kReplacements[] = {
    {DType::F64, DType::F32},
    {DType::F8_E5M2, DType::BF16},
    {DType::F8_E4M3, DType::BF16},
};
// Types without a reading of their own: scales, packed halves of bytes, foreign variants.
constexpr DType kRefused[] = {DType::F4,      DType::F6_E2M3,     DType::F6_E3M2,
                              DType::F8_E8M0, DType::F8_E4M3FNUZ, DType::F8_E5M2FNUZ};

bool is_balancing_bias(std::string_view canonical) { return canonical.ends_with(".expert_bias"); }

std::uint64_t number_after(std::string_view text, std::size_t position) {
  std::uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data() + position, text.data() + text.size(), value);
  WB_CHECK(error == std::errc());
  static_cast<void>(end);
  return value;
}

}  // namespace

DType written_dtype(DType from, std::optional<DType> asked, bool never_narrow,
                    std::string_view tensor) {
  if (std::find(std::begin(kRefused), std::end(kRefused), from) != std::end(kRefused)) {
    throw Error(Code::dtype_unsupported, "this element type has no place in an MLX folder")
        .tensor(tensor)
        .expected("F32, F16, BF16, F64, F8_E4M3 or F8_E5M2")
        .actual(name(from))
        .advice("Dequantise the tensor in the recipe, or save it in one of these types.");
  }
  if (!info(from).is_float) return from;
  if (asked) return never_narrow ? DType::F32 : *asked;
  for (const Replacement& r : kReplacements) {
    if (r.from == from) return r.to;
  }
  return from;
}

DType Lowering::dtype_of(const std::string& name) const {
  return written_dtype(raw(name).dtype(), options_.dtype, is_balancing_bias(name), name);
}

Tensor Lowering::get(const std::string& name) const {
  const Tensor& tensor = raw(name);
  DType dtype = dtype_of(name);
  return tensor.dtype() == dtype ? tensor : tensor.cast(dtype);
}

namespace {
void unify(std::vector<Tensor>& parts) {
  bool same = std::all_of(parts.begin(), parts.end(),
                          [&](const Tensor& t) { return t.dtype() == parts.front().dtype(); });
  if (same) return;
  for (Tensor& part : parts) {
    if (part.dtype() != DType::F32) part = part.cast(DType::F32);
  }
}
}  // namespace

Tensor concat_any(int axis, std::vector<Tensor> parts) {
  unify(parts);
  return Tensor::concat(axis, parts);
}

Tensor stack_any(int axis, std::vector<Tensor> parts) {
  unify(parts);
  return Tensor::stack(axis, parts);
}

Tensor flatten_heads(const Tensor& tensor) {
  Shape shape = tensor.shape();
  WB_CHECK(shape.size() >= 2);
  shape[1] = checked_mul(shape[0], shape[1], "heads times their width");
  shape.erase(shape.begin());
  return tensor.reshape(shape);
}

Tensor pad_to(const Tensor& tensor, int axis, std::uint64_t width) {
  std::uint64_t now = tensor.shape()[static_cast<std::size_t>(axis)];
  return now == width ? tensor : tensor.pad(axis, 0, checked_sub(width, now, "padding"));
}

BlockPlace place_of(std::string_view canonical) {
  BlockPlace place;
  if (canonical.starts_with("layers.")) {
    std::size_t end = canonical.find('.', 7);
    place.block = std::string(canonical.substr(0, end));
  } else if (is_mtp(canonical)) {
    place.mtp = number_after(canonical, 4);
    std::size_t end = canonical.find(".block.");
    if (end != std::string_view::npos) place.block = std::string(canonical.substr(0, end + 6));
  }
  constexpr std::string_view kExperts = ".experts.";
  std::size_t at = canonical.find(kExperts);
  if (at != std::string_view::npos) place.expert = number_after(canonical, at + kExperts.size());
  return place;
}

nlohmann::json field_value(const ModelSpec& spec, std::string_view path) {
  std::string pointer = "/" + std::string(path);
  std::replace(pointer.begin(), pointer.end(), '.', '/');
  return to_json(spec).at(nlohmann::json::json_pointer(pointer));
}

namespace {

// Why a source tensor that the canonical model uses has no place in this target.
std::map<std::string, std::string> reasons_by_source(const Lowering& source,
                                                     const LoweredModel& lowered) {
  std::map<std::string, std::string> reasons;
  for (const auto& [canonical, tensor] : source.model().tensors) {
    if (!is_mtp(canonical)) continue;
    tensor.each_source([&](const std::string& leaf) {
      reasons[leaf] = "multi-token head: used in training only, never for the next token";
    });
  }
  for (const Loss& loss : lowered.losses) {
    for (const std::string& leaf : loss.tensors) {
      reasons.emplace(leaf, "loss " + std::to_string(loss.number) + ": " + loss.target_makes);
    }
  }
  return reasons;
}

}  // namespace

void fill_account(const Lowering& source, LoweredModel& lowered) {
  // Names of sources and where they are used, the latter in the order of the output.
  std::vector<std::pair<std::string_view, const TargetTensor*>> places;
  for (const auto* list : {&lowered.tensors, &lowered.extra}) {
    for (const TargetTensor& target : *list) {
      target.tensor.each_source(
          [&](const std::string& leaf) { places.emplace_back(leaf, &target); });
    }
  }
  std::stable_sort(places.begin(), places.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  places.erase(std::unique(places.begin(), places.end()), places.end());
  const auto reasons = reasons_by_source(source, lowered);
  lowered.account = source.model().account;
  for (AccountLine& line : lowered.account) {
    if (line.fate != Fate::used && line.fate != Fate::left_out) continue;
    auto place =
        std::lower_bound(places.begin(), places.end(), line.source,
                         [](const auto& a, const std::string& name) { return a.first < name; });
    if (place != places.end() && place->first == line.source) {
      line.fate = Fate::used;  // a multi-token layer that is kept was left out of the model only
      line.detail.clear();
      for (; place != places.end() && place->first == line.source; ++place) {
        line.detail += (line.detail.empty() ? "" : ", ") + place->second->name;
      }
      continue;
    }
    if (line.fate == Fate::left_out) continue;
    line.fate = Fate::left_out;
    auto it = reasons.find(line.source);
    line.detail = it != reasons.end() ? it->second : "the class has no place for it";
  }
}

}  // namespace wb
