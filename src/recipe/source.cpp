// See source.h.
#include "recipe/source.h"

#include <algorithm>

namespace wb {

std::string plain_name(std::string_view name) {
  constexpr std::string_view kWrapper = "_orig_mod";
  if (name.find(kWrapper) == name.npos) return std::string(name);
  std::string out;
  for (std::size_t i = 0; i <= name.size();) {
    std::size_t end = std::min(name.find('.', i), name.size());
    std::string_view segment = name.substr(i, end - i);
    bool last = end == name.size();
    if (segment != kWrapper) {
      out += segment;
      if (!last) out += '.';
    }
    i = end + 1;
  }
  return out;
}

Source::Source(const Checkpoint& checkpoint, const std::string& prefix) : checkpoint_(checkpoint) {
  std::string plain = plain_name(prefix);
  std::size_t n = checkpoint.tensors.size();
  names_.resize(n);
  inside_.resize(n);
  index_.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    std::string name = plain_name(checkpoint.tensors[i].name);
    inside_[i] = name.starts_with(plain) && name.size() > plain.size();
    if (!inside_[i]) continue;
    names_[i] = name.substr(plain.size());
    // names_ is never resized again, so views into its strings stay good.
    auto [it, added] = index_.try_emplace(names_[i], i);
    if (added) continue;
    throw Error(Code::tensor_name,
                "two tensors have this name once the wrapper _orig_mod is taken "
                "out: " +
                    checkpoint.tensors[it->second].name + " and " + checkpoint.tensors[i].name)
        .file(checkpoint.path)
        .tensor(names_[i])
        .advice("Save the state dict of the module that torch.compile wraps, and use that file.");
  }
}

std::size_t Source::find(std::string_view name) const {
  auto it = index_.find(name);
  return it == index_.end() ? kNone : it->second;
}

bool Source::any(const Pattern& pattern) const {
  if (!pattern.has_capture() && !pattern.has_star()) return find(pattern.text()) != kNone;
  for (std::size_t i = 0; i < names_.size(); ++i) {
    if (inside_[i] && pattern.match(names_[i])) return true;
  }
  return false;
}

const std::set<std::uint64_t>& Source::indices(const Pattern& pattern,
                                               const std::string& variable) const {
  auto [it, added] = counted_.try_emplace(variable + " in " + pattern.text());
  if (added) {
    Indices captured;
    for (std::size_t i = 0; i < names_.size(); ++i) {
      if (inside_[i] && pattern.match(names_[i], &captured))
        it->second.insert(captured.at(variable));
    }
  }
  return it->second;
}

}  // namespace wb
