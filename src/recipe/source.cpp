// See source.h.
#include "recipe/source.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace wb {

namespace {
constexpr std::string_view kWrapper = "_orig_mod";
}

std::string_view plain_view(std::string_view name, std::deque<std::string>& kept) {
  if (name.find(kWrapper) == name.npos) return name;
  return kept.emplace_back(plain_name(name));
}

std::string plain_name(std::string_view name) {
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

Source::Source(const Checkpoint& checkpoint, const std::string& prefix)
    : checkpoint_(checkpoint), prefix_(plain_name(prefix)) {
  std::size_t n = checkpoint.tensors.size();
  names_.resize(n);
  inside_.resize(n);
  table_.resize(std::bit_ceil(2 * n + 2));
  for (std::size_t i = 0; i < n; ++i) {
    const std::string_view name = plain_view(checkpoint.tensors[i].name, altered_);
    inside_[i] = name.starts_with(prefix_) && name.size() > prefix_.size();
    if (!inside_[i]) continue;
    names_[i] = name.substr(prefix_.size());
    std::size_t at = std::hash<std::string_view>{}(names_[i]) & (table_.size() - 1);
    while (table_[at] != 0 && names_[table_[at] - 1] != names_[i]) {
      at = (at + 1) & (table_.size() - 1);
    }
    if (table_[at] == 0) {
      table_[at] = static_cast<std::uint32_t>(i + 1);
      continue;
    }
    throw Error(Code::tensor_name,
                "two tensors have this name once the wrapper _orig_mod is taken "
                "out: " +
                    checkpoint.tensors[table_[at] - 1].name + " and " + checkpoint.tensors[i].name)
        .file(checkpoint.path)
        .tensor(names_[i])
        .advice("Save the state dict of the module that torch.compile wraps, and use that file.");
  }
}

std::size_t Source::find(std::string_view name) const {
  if (name.empty()) return kNone;
  std::size_t at = std::hash<std::string_view>{}(name) & (table_.size() - 1);
  for (; table_[at] != 0; at = (at + 1) & (table_.size() - 1)) {
    if (names_[table_[at] - 1] == name) return table_[at] - 1;
  }
  return kNone;
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

const Facts& Source::facts() const {
  if (!facts_) facts_.emplace(checkpoint_.facts);
  return *facts_;
}

std::vector<std::string> Source::wrapped(const std::string& name) const {
  std::vector<std::string> out{name};
  for (std::size_t at = prefix_.size(); at > 1;) {
    at = prefix_.rfind('.', at - 2) + 1;
    out.push_back(prefix_.substr(at) + name);
  }
  return out;
}

}  // namespace wb
