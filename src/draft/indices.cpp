// See indices.h.
#include "draft/indices.h"

#include <algorithm>

namespace wb::draft {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// A name as text and runs of digits in turn: texts.size() == numbers.size() + 1.
struct Pieces {
  std::vector<std::string> texts{""}, numbers;
};
Pieces pieces_of(const std::string& name) {
  Pieces out;
  for (std::size_t i = 0; i < name.size();) {
    std::size_t end = i;
    while (end < name.size() && is_digit(name[end])) ++end;
    if (end == i) {
      out.texts.back() += name[i++];
      continue;
    }
    out.numbers.push_back(name.substr(i, end - i));
    out.texts.emplace_back();
    i = end;
  }
  return out;
}

bool shapes_agree(const std::vector<Shape>& shapes) {
  return std::all_of(shapes.begin(), shapes.end(), [&](const Shape& s) { return s == shapes[0]; });
}
bool ranks_agree(const std::vector<Shape>& shapes) {
  return std::all_of(shapes.begin(), shapes.end(),
                     [&](const Shape& s) { return s.size() == shapes[0].size(); });
}

// Whether the number is an index: contiguous from 0, and what follows it recurs with the same
// shapes. w1, w2, w3 and the parts of an nn.Sequential are not.
bool is_index(const Family& f) {
  if (!f.number || f.rests.begin()->first != 0 || f.rests.rbegin()->first + 1 != f.rests.size()) {
    return false;
  }
  std::size_t n = f.rests.size(), filled = 0, agreeing = 0;
  bool matrices = false;
  for (const auto& [value, rests] : f.rests) filled += rests.size();
  for (const auto& [rest, shapes] : f.shapes) {
    if (!ranks_agree(shapes)) return false;
    const auto& spelled = f.spelled.at(rest);
    agreeing += std::all_of(spelled.begin(), spelled.end(),
                            [](const auto& s) { return shapes_agree(s.second); })
                    ? 1u
                    : 0u;
    matrices |= shapes[0].size() >= 2;
  }
  std::size_t leaves = f.leaves();
  if (2 * agreeing < leaves) return false;
  if (n == 1) return f.whole && leaves >= 2 && matrices;
  if (!f.whole) return matrices && filled == n * leaves;
  // A list of two norms is two norms; parts of a Sequential hardly share a name.
  if (leaves == 1 && !matrices && n <= 3) return false;
  return 10 * filled > 6 * n * leaves;
}

// The earlier index that always has this family's value, as in "expert_3.w3".
std::optional<std::size_t> repeated(const Family& f, const Decided& d,
                                    const std::vector<std::uint64_t>& values) {
  if (f.rests.size() < 2) return std::nullopt;
  for (const auto& [id, first] : d.values[f.members[0]]) {
    bool same = true;
    for (std::size_t i = 0; i < f.members.size() && same; ++i) {
      auto it = d.values[f.members[i]].find(id);
      same = it != d.values[f.members[i]].end() && it->second == values[i];
    }
    if (same) return id;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::uint64_t> index_of(const std::string& digits) {
  if (digits.size() > 6 || (digits.size() > 1 && digits[0] == '0')) return std::nullopt;
  return std::stoull(digits);
}

Decided decide(const std::vector<std::string>& names, const std::vector<bool>& inside,
               const std::vector<const Shape*>& shapes) {
  Decided d;
  std::vector<Pieces> pieces(names.size());
  d.canon.resize(names.size());
  d.values.resize(names.size());
  std::size_t rounds = 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (!inside[i]) continue;
    pieces[i] = pieces_of(names[i]);
    rounds = std::max(rounds, pieces[i].numbers.size());
  }
  for (std::size_t r = 0; r <= rounds; ++r) {
    std::map<std::string, Family> families;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (!inside[i] || pieces[i].texts.size() <= r) continue;
      d.canon[i] += pieces[i].texts[r];
      if (pieces[i].numbers.size() <= r) continue;
      Family& f = families[d.canon[i]];
      f.members.push_back(i);
      const std::string &before = pieces[i].texts[r], &after = pieces[i].texts[r + 1];
      bool opens = before.empty() ? r == 0 : before.back() == '.';
      bool closes = after.empty() ? pieces[i].texts.size() == r + 2 : after[0] == '.';
      f.whole &= opens && closes;
      std::optional<std::uint64_t> value = index_of(pieces[i].numbers[r]);
      f.number &= value.has_value();
      std::string rest, spelled;
      for (std::size_t k = r + 1; k < pieces[i].texts.size(); ++k) {
        rest += (k > r + 1 ? "#" : "") + pieces[i].texts[k];
        spelled += (k > r + 1 ? pieces[i].numbers[k - 1] : "") + pieces[i].texts[k];
      }
      f.rests[value.value_or(0)].insert(rest);
      f.shapes[rest].push_back(*shapes[i]);
      f.spelled[rest][spelled].push_back(*shapes[i]);
    }
    for (auto& [key, f] : families) {
      std::vector<std::uint64_t> values;
      for (std::size_t i : f.members) values.push_back(index_of(pieces[i].numbers[r]).value_or(0));
      bool index = is_index(f);
      std::optional<std::size_t> id = index ? repeated(f, d, values) : std::nullopt;
      if (index && !id) {
        id = d.families.size();
        f.key = key;
        d.families.push_back(f);
      }
      for (std::size_t k = 0; k < f.members.size(); ++k) {
        std::size_t i = f.members[k];
        d.canon[i] += index ? "{" + std::to_string(*id) + "}" : pieces[i].numbers[r];
        if (index) d.values[i][*id] = values[k];
      }
    }
  }
  return d;
}

bool contains(const std::string& text, std::initializer_list<const char*> words) {
  std::string lower;
  for (char c : text) lower += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return std::any_of(words.begin(), words.end(),
                     [&](const char* w) { return lower.find(w) != std::string::npos; });
}

std::optional<std::size_t> layer_family(const Decided& d) {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < d.families.size(); ++i) {
    const Family& f = d.families[i];
    if (f.key.find('{') != std::string::npos || contains(f.key, {"mtp"}) || f.leaves() < 3)
      continue;
    auto rank = [&](std::size_t k) {
      return std::pair(
          d.families[k].leaves() * std::min<std::size_t>(4, d.families[k].rests.size()),
          d.families[k].rests.size());
    };
    if (!best || rank(i) > rank(*best)) best = i;
  }
  return best;
}

}  // namespace wb::draft
