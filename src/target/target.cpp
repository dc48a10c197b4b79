// Names of the targets and the way from a name to its lowering.
#include "target/target.h"

#include <utility>

#include "target/lowering.h"

namespace wb {

namespace {
constexpr std::pair<std::string_view, TargetKind> kNames[] = {
    {"auto", TargetKind::automatic},
    {"exact", TargetKind::exact},
    {"stock", TargetKind::stock},
    {"shape-match", TargetKind::shape_match},
};
}  // namespace

TargetKind target_from_name(std::string_view name) {
  std::string known;
  for (const auto& [text, kind] : kNames) {
    if (text == name) return kind;
    known += (known.empty() ? "" : ", ") + std::string(text);
  }
  throw Error(Code::target_unknown, "there is no target of this name")
      .expected("one of " + known)
      .actual("\"" + std::string(name) + "\"")
      .advice("Give --target one of these names; auto chooses for you.");
}

LoweredModel lower(const CanonicalModel& model, TargetKind kind, const LowerOptions& options) {
  Lowering source(model, options);
  switch (kind) {
    case TargetKind::exact:
      return lower_exact(source);
    case TargetKind::shape_match:
      return lower_shape_match(source);
    case TargetKind::stock:
      return lower_stock(source);
    case TargetKind::automatic:
      return lower_automatic(source);
  }
  WB_BUG("a target kind that is no enumerator");
}

}  // namespace wb
