// Which recipe a checkpoint is for, and under which prefix: both by evidence, never
// by one name or a list of known wrappers.
#include <algorithm>
#include <deque>
#include <unordered_map>

#include "recipe/check_expr.h"
#include "recipe/recipe_impl.h"
#include "recipe/shipped.h"
#include "recipe/source.h"

namespace wb {

namespace {

constexpr std::size_t kShown = 12;  // lines of a list in a message

struct Fit {
  RecipePtr recipe;
  std::string prefix;  // as in the file
  std::vector<std::string> missing, refused;
  bool whole() const { return missing.empty() && refused.empty(); }
};

struct SeenNames {
  const Checkpoint& checkpoint;
  std::deque<std::string> altered;
  std::vector<std::string_view> plain;
  // Names by their last two segments, which stand for what they end with.
  std::unordered_map<std::string_view, std::vector<std::size_t>> by_tail;

  explicit SeenNames(const Checkpoint& c) : checkpoint(c) {
    plain.reserve(c.tensors.size());
    for (const SourceTensor& tensor : c.tensors) plain.push_back(plain_view(tensor.name, altered));
    for (std::size_t i = 0; i < plain.size(); ++i) by_tail[tail(plain[i])].push_back(i);
  }
  // After the last dot but one; all of a name that has fewer.
  static std::string_view tail(std::string_view name) {
    const std::size_t dot = name.rfind('.');
    if (dot == name.npos || dot == 0) return name;
    const std::size_t before = name.rfind('.', dot - 1);
    return before == name.npos ? name : name.substr(before + 1);
  }
  // Calls use(i) for names that end with `evidence`, until it returns true; whether it did.
  template <class Use>
  bool any_ending(std::string_view evidence, const Use& use) const {
    const auto hit = [&](std::size_t i) { return plain[i].ends_with(evidence) && use(i); };
    const std::string_view end = tail(evidence);
    // Evidence of three segments or more holds the name's last two whole.
    if (end.size() < evidence.size()) {
      const auto it = by_tail.find(end);
      return it != by_tail.end() && std::any_of(it->second.begin(), it->second.end(), hit);
    }
    for (std::size_t i = 0; i < plain.size(); ++i) {
      if (hit(i)) return true;
    }
    return false;
  }
  bool has(const std::string& prefix, const Pattern& pattern) const {
    if (!pattern.has_capture()) {
      const std::string name = prefix + pattern.text();
      const auto it = by_tail.find(tail(name));
      return it != by_tail.end() && std::any_of(it->second.begin(), it->second.end(),
                                                [&](std::size_t i) { return plain[i] == name; });
    }
    return std::any_of(plain.begin(), plain.end(), [&](std::string_view name) {
      return name.starts_with(prefix) && pattern.match(name.substr(prefix.size()));
    });
  }
};

// Every prefix under which one of the literal evidence names stands, as plain -> in the file.
std::map<std::string, std::string> prefixes(const Recipe& recipe, const SeenNames& names) {
  std::map<std::string, std::string> out;
  for (const Pattern& pattern : recipe.recognise) {
    if (pattern.has_capture()) continue;
    std::string evidence = pattern.text();
    names.any_ending(evidence, [&](std::size_t i) {
      const std::string_view name = names.plain[i];
      std::string prefix(name.substr(0, name.size() - evidence.size()));
      if (!prefix.empty() && prefix.back() != '.') return false;
      const std::string& raw = names.checkpoint.tensors[i].name;
      // A wrapper inside of the evidence name itself is no part of the prefix.
      bool whole = raw.ends_with(evidence);
      out.emplace(prefix, whole ? raw.substr(0, raw.size() - evidence.size()) : prefix);
      return false;
    });
  }
  return out;
}

std::vector<Fit> fits(const RecipePtr& recipe, const SeenNames& names, const std::string& forced) {
  std::map<std::string, std::string> candidates = prefixes(*recipe, names);
  if (!forced.empty()) {
    std::string plain = plain_name(forced);
    if (plain.back() != '.') plain += '.';
    auto it = candidates.find(plain);
    std::string raw = it == candidates.end() ? plain : it->second;
    candidates = {{plain, raw}};
  }
  if (candidates.empty()) candidates[""] = "";
  std::vector<Fit> out;
  for (const auto& [plain, raw] : candidates) {
    Fit fit{recipe, raw, {}, {}};
    for (const Pattern& pattern : recipe->recognise) {
      if (!names.has(plain, pattern)) fit.missing.push_back(plain + pattern.text());
    }
    for (const Pattern& pattern : recipe->refuse_if) {
      if (names.has(plain, pattern)) fit.refused.push_back(plain + pattern.text());
    }
    out.push_back(std::move(fit));
  }
  return out;
}

// Shipped recipes that could fit: those whose every literal evidence ends some name.
std::vector<RecipePtr> possible_recipes(const SeenNames& names) {
  std::vector<RecipePtr> out;
  for (std::size_t i = 0; i < embedded_recipes().size(); ++i) {
    const std::vector<std::string> evidence = literal_evidence(embedded_recipes()[i].text);
    const bool possible =
        std::all_of(evidence.begin(), evidence.end(), [&](const std::string& wanted) {
          return names.any_ending(wanted, [](std::size_t) { return true; });
        });
    if (possible) out.push_back(shipped_recipe(i));
  }
  return out;
}

std::string listed(const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < names.size() && i < kShown; ++i) {
    out += (i > 0 ? ", " : "") + names[i];
  }
  if (names.size() > kShown) out += " and " + std::to_string(names.size() - kShown) + " more";
  return out;
}

[[noreturn]] void unknown(const Checkpoint& checkpoint, const std::vector<Fit>& all) {
  std::string text = "no recipe recognises this checkpoint. It holds";
  std::vector<NameGroup> groups = group_names(checkpoint);
  for (std::size_t i = 0; i < groups.size() && i < kShown; ++i) {
    const NameGroup& g = groups[i];
    text += "\n  " + g.pattern + "  x" + std::to_string(g.count) + "  " + g.dtype + " " + g.shape;
  }
  if (groups.size() > kShown) {
    text += "\n  ... and " + std::to_string(groups.size() - kShown) + " more patterns";
  }
  auto near = std::min_element(all.begin(), all.end(), [](const Fit& a, const Fit& b) {
    auto share = [](const Fit& f) { return f.missing.size() * 1000 / f.recipe->recognise.size(); };
    return std::pair(share(a), a.refused.size()) < std::pair(share(b), b.refused.size());
  });
  if (near != all.end()) {
    text += "\nThe nearest recipe is " + near->recipe->name;
    if (!near->missing.empty()) text += "; it also looks for " + listed(near->missing);
    if (!near->refused.empty()) {
      text += "; it is for checkpoints without " + listed(near->refused);
    }
  }
  throw Error(Code::recipe_unknown, text + "\n")
      .file(checkpoint.path)
      .advice(
          "See `weightbridge recipes` for the layouts that are known; for another, `weightbridge "
          "recipes new SRC -o FILE` drafts a recipe, which --recipe FILE then applies.");
}

}  // namespace

Recognition recognise(const Checkpoint& checkpoint, const RecipePtr& only,
                      const std::string& forced_prefix) {
  SeenNames names(checkpoint);
  std::vector<Fit> all, whole;
  const auto see = [&](const std::vector<RecipePtr>& recipes) {
    for (const RecipePtr& recipe : recipes) {
      for (Fit& fit : fits(recipe, names, forced_prefix)) {
        if (fit.whole()) whole.push_back(fit);
        all.push_back(std::move(fit));
      }
    }
  };
  see(only ? std::vector<RecipePtr>{only} : possible_recipes(names));
  if (whole.empty() && !only) {  // the message names the nearest of all
    all.clear();
    see(shipped_recipes());
  }
  if (whole.empty()) unknown(checkpoint, all);
  if (whole.size() == 1) return {whole[0].recipe, whole[0].prefix};
  // What is known not to be convertible is not made convertible by another recipe's fit.
  for (const Fit& fit : whole) {
    if (fit.recipe->always_refused) return {fit.recipe, fit.prefix};
  }
  std::vector<std::string> candidates;
  for (const Fit& fit : whole) {
    candidates.push_back(fit.recipe->name + " under " +
                         (fit.prefix.empty() ? "no prefix" : "\"" + fit.prefix + "\""));
  }
  throw Error(Code::recipe_ambiguous,
              "more than one reading of the checkpoint fits: " + listed(candidates))
      .file(checkpoint.path)
      .advice("Say which is meant with --prefix or --recipe.");
}

std::vector<NameGroup> group_names(const Checkpoint& checkpoint) {
  struct Group {
    std::size_t count = 0;
    std::string dtype;
    std::vector<Shape> shapes;  // smallest and largest per axis; empty when ranks differ
    bool ranks_differ = false;
  };
  std::map<std::string, Group> groups;
  for (const SourceTensor& tensor : checkpoint.tensors) {
    Pattern pattern;
    pattern.parts.push_back({Pattern::Kind::literal, tensor.name});
    Group& group = groups[pattern.anonymous()];
    ++group.count;
    std::string dtype(name(tensor.tensor.dtype()));
    if (group.dtype.find(dtype) == std::string::npos) {
      group.dtype += (group.dtype.empty() ? "" : "/") + dtype;
    }
    const Shape& shape = tensor.tensor.shape();
    if (group.shapes.empty()) group.shapes = {shape, shape};
    group.ranks_differ |= shape.size() != group.shapes[0].size();
    for (std::size_t i = 0; i < shape.size() && !group.ranks_differ; ++i) {
      group.shapes[0][i] = std::min(group.shapes[0][i], shape[i]);
      group.shapes[1][i] = std::max(group.shapes[1][i], shape[i]);
    }
  }
  std::vector<NameGroup> out;
  for (const auto& [pattern, group] : groups) {
    std::string shape = "[";
    for (std::size_t i = 0; i < group.shapes[0].size(); ++i) {
      std::uint64_t low = group.shapes[0][i], high = group.shapes[1][i];
      shape += (i > 0 ? ", " : "") + std::to_string(low);
      if (low != high) shape += ".." + std::to_string(high);
    }
    out.push_back(
        {pattern, group.count, group.dtype, group.ranks_differ ? "ranks differ" : shape + "]"});
  }
  return out;
}

}  // namespace wb
