// See names.h.
#include "draft/names.h"

#include <algorithm>
#include <optional>

#include "recipe/source.h"

namespace wb::draft {

namespace {

constexpr std::size_t kMostGroups = 5000;

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

// One place of a name at which a number stands; what stands before it is decided already.
struct Family {
  std::map<std::uint64_t, std::set<std::string>> rests;  // value -> what follows, anonymous
  std::map<std::string, std::vector<Shape>> shapes;      // by what follows
  std::vector<std::size_t> members;
  bool whole = true;   // the number is a whole segment of the name
  bool number = true;  // every member's digits are an index (no leading zero, not huge)
  std::string key;
  std::size_t leaves() const { return shapes.size(); }
};

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
    agreeing += shapes_agree(shapes) ? 1u : 0u;
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

struct Decided {
  std::vector<std::string> canon;                            // by tensor; "" = outside
  std::vector<std::map<std::size_t, std::uint64_t>> values;  // by tensor: family -> value
  std::vector<Family> families;                              // those that are indices
  std::vector<std::string> keys;                             // text before each, with {id}
};

std::optional<std::uint64_t> index_of(const std::string& digits) {
  if (digits.size() > 6 || (digits.size() > 1 && digits[0] == '0')) return std::nullopt;
  return std::stoull(digits);
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
      std::string rest;
      for (std::size_t k = r + 1; k < pieces[i].texts.size(); ++k) {
        rest += (k > r + 1 ? "#" : "") + pieces[i].texts[k];
      }
      f.rests[value.value_or(0)].insert(rest);
      f.shapes[rest].push_back(*shapes[i]);
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

// The family whose index is the layer: at the top of the names, with the most recurring in it.
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

// ------------------------------------------------------------------ the prefix

// Every name in `below` ends in ".{n}.leaf" and the ranks of a leaf change with n: the state of
// an optimizer, which numbers the parameters.
bool numbered_state(const std::vector<std::pair<std::string, const SourceTensor*>>& below) {
  std::map<std::string, std::set<std::size_t>> ranks;
  std::set<std::uint64_t> numbers;
  for (const auto& [name, tensor] : below) {
    std::size_t leaf = name.rfind('.');
    if (leaf == std::string::npos || leaf == 0) return false;
    std::size_t begin = name.rfind('.', leaf - 1);
    begin = begin == std::string::npos ? 0 : begin + 1;
    std::optional<std::uint64_t> n;
    std::string digits = name.substr(begin, leaf - begin);
    if (!digits.empty() && std::all_of(digits.begin(), digits.end(), is_digit))
      n = index_of(digits);
    if (!n) return false;
    numbers.insert(*n);
    ranks[name.substr(leaf)].insert(tensor->tensor.shape().size());
  }
  return std::any_of(ranks.begin(), ranks.end(),
                     [](const auto& r) { return r.second.size() > 1; }) ||
         std::all_of(below.begin(), below.end(), [](const auto& b) {
           return b.first.starts_with("state.");  // {"state": {0: ...}}, as torch.optim saves it
         });
}

// Whether `below` could be a whole model: layers, and a matrix beside them.
bool model_like(const std::vector<std::pair<std::string, const SourceTensor*>>& below) {
  if (numbered_state(below)) return false;
  std::vector<std::string> names;
  std::vector<const Shape*> shapes;
  for (const auto& [name, tensor] : below) {
    names.push_back(name);
    shapes.push_back(&tensor->tensor.shape());
  }
  Decided d = decide(names, std::vector<bool>(names.size(), true), shapes);
  std::optional<std::size_t> layers = layer_family(d);
  if (!layers) return false;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (d.values[i].empty() && shapes[i]->size() == 2) return true;
  }
  return false;
}

bool is_float(DType dtype) { return info(dtype).is_float; }

struct Root {
  std::string prefix;
  std::vector<std::string> optimizer;
};

Root find_root(const std::vector<std::string>& plain, const Checkpoint& checkpoint) {
  Root root;
  for (;;) {
    using Below = std::vector<std::pair<std::string, const SourceTensor*>>;
    std::map<std::string, Below> children;
    bool joins = false;  // something here belongs to the model
    for (std::size_t i = 0; i < plain.size(); ++i) {
      if (!plain[i].starts_with(root.prefix)) continue;
      std::string rest = plain[i].substr(root.prefix.size());
      std::size_t dot = rest.find('.');
      if (dot == std::string::npos) {
        joins |= is_float(checkpoint.tensors[i].tensor.dtype()) &&
                 !checkpoint.tensors[i].tensor.shape().empty();
        continue;
      }
      children[rest.substr(0, dot)].emplace_back(rest.substr(dot + 1), &checkpoint.tensors[i]);
    }
    std::vector<std::string> models;
    std::vector<std::string> states;
    for (const auto& [segment, below] : children) {
      if (std::all_of(segment.begin(), segment.end(), is_digit)) {
        joins = true;
      } else if (model_like(below)) {
        models.push_back(segment);
      } else if (numbered_state(below)) {
        states.push_back(segment);
      } else {
        joins |= std::any_of(below.begin(), below.end(), [](const auto& b) {
          return is_float(b.second->tensor.dtype()) && !b.second->tensor.shape().empty();
        });
      }
    }
    if (models.size() > 1) {
      throw Error(Code::recipe_ambiguous, "two models lie side by side: under \"" + root.prefix +
                                              models[0] + ".\" and \"" + root.prefix + models[1] +
                                              ".\"")
          .file(checkpoint.path)
          .advice("Say which one is meant with --prefix.");
    }
    for (const std::string& s : states) root.optimizer.push_back(root.prefix + s + ".*");
    if (models.size() != 1 || joins) return root;
    root.prefix += models[0] + ".";
    root.optimizer.clear();
  }
}

// ------------------------------------------------------------------ variables and groups

std::string variable_kind(const Decided& d, std::size_t id, std::optional<std::size_t> layers) {
  const Family& f = d.families[id];
  if (layers && id == *layers) return "l";
  std::size_t brace = f.key.rfind('}');
  if (brace == std::string::npos)
    return contains(f.key, {"mtp", "predict", "next", "head"}) ? "m" : "x";
  std::string own = f.key.substr(brace + 1);
  if (contains(own, {"shared"})) return "s";
  if (contains(own, {"head"})) return "h";
  return "e";
}

std::string replaced(const std::string& canon, const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < canon.size();) {
    std::size_t end = canon[i] == '{' ? canon.find('}', i) : std::string::npos;
    if (end == std::string::npos) {
      out += canon[i++];
      continue;
    }
    out += "{" + names[std::stoull(canon.substr(i + 1, end - i - 1))] + "}";
    i = end + 1;
  }
  return out;
}

}  // namespace

bool Group::has(const std::string& variable) const {
  return std::find(variables.begin(), variables.end(), variable) != variables.end();
}

std::string spell(const std::string& pattern, const std::map<std::string, std::uint64_t>& indices,
                  const std::string& keep) {
  std::string out = pattern;
  for (const auto& [variable, value] : indices) {
    if (variable == keep) continue;
    std::string text = "{" + variable + "}";
    for (std::size_t at = out.find(text); at != std::string::npos; at = out.find(text, at)) {
      out.replace(at, text.size(), std::to_string(value));
    }
  }
  return out;
}

Names read_names(const Checkpoint& checkpoint, const std::string& forced_prefix) {
  std::vector<std::string> plain;
  for (const SourceTensor& t : checkpoint.tensors) {
    plain.push_back(plain_name(t.name));
    if (plain.back().find_first_of("{}") == std::string::npos) continue;
    throw Error(Code::tensor_name, "a name with braces has no spelling in a recipe")
        .file(checkpoint.path)
        .tensor(t.name)
        .advice("Rename the tensor in the program that saves it.");
  }
  Names out;
  std::string plain_prefix;
  if (forced_prefix.empty()) {
    Root root = find_root(plain, checkpoint);
    plain_prefix = root.prefix;
    for (const std::string& s : root.optimizer)
      out.optimizer.push_back(s.substr(root.prefix.size()));
  } else {
    plain_prefix = plain_name(forced_prefix);
    if (!plain_prefix.empty() && plain_prefix.back() != '.') plain_prefix += '.';
  }
  out.prefix = plain_prefix;
  std::vector<std::string> names(plain.size());
  std::vector<bool> inside(plain.size());
  for (std::size_t i = 0; i < plain.size(); ++i) {
    inside[i] = plain[i].starts_with(plain_prefix) && plain[i].size() > plain_prefix.size();
    if (!inside[i]) {
      ++out.outside;
      continue;
    }
    names[i] = plain[i].substr(plain_prefix.size());
    for (const std::string& star : out.optimizer) {
      if (names[i].starts_with(star.substr(0, star.size() - 1))) inside[i] = false;
    }
  }
  std::vector<const Shape*> shapes;
  for (const SourceTensor& t : checkpoint.tensors) shapes.push_back(&t.tensor.shape());
  Decided d = decide(names, inside, shapes);
  std::optional<std::size_t> layers = layer_family(d);
  out.has_layers = layers.has_value();
  std::vector<std::string> variable(d.families.size());
  std::map<std::string, std::size_t> kinds;
  for (std::size_t id = 0; id < d.families.size(); ++id) {
    std::string kind = variable_kind(d, id, layers);
    std::uint64_t count = d.families[id].rests.size();
    for (std::size_t n = 1;; ++n) {  // a second count of one kind gets a variable of its own
      std::string name = kind + (n == 1 ? "" : std::to_string(n));
      auto [it, fresh] = out.counts.try_emplace(name, count);
      // ... and so does an index below another of the same kind.
      bool taken =
          replaced(d.families[id].key, variable).find("{" + name + "}") != std::string::npos;
      if (taken || (!fresh && it->second != count)) continue;
      variable[id] = name;
      break;
    }
    const std::string& key = d.families[id].key;
    if (variable[id] == "l") out.layer_prefix = replaced(key, variable) + "{l}";
    if (variable[id] == "m") out.mtp_prefix = replaced(key, variable) + "{m}";
  }
  std::map<std::string, std::size_t> index;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (!inside[i]) continue;
    std::string pattern = replaced(d.canon[i], variable);
    auto [it, fresh] = index.try_emplace(pattern, out.groups.size());
    const Tensor& tensor = checkpoint.tensors[i].tensor;
    if (fresh) {
      Group g;
      g.pattern = pattern;
      g.shape = tensor.shape();
      g.dtype = tensor.dtype();
      g.first_name = names[i];
      for (const auto& [id, value] : d.values[i]) {
        g.variables.push_back(variable[id]);
        g.first[variable[id]] = value;
      }
      out.groups.push_back(std::move(g));
    }
    if (out.groups.size() > kMostGroups) {
      throw Error(Code::limit_exceeded, "the names hardly repeat: no model has so many patterns")
          .file(checkpoint.path)
          .expected("at most " + std::to_string(kMostGroups))
          .actual("more")
          .advice("`weightbridge inspect` lists the names; --prefix picks a part of them.");
    }
    Group& g = out.groups[it->second];
    g.shapes_differ |= g.shape != tensor.shape();
    g.tensors.push_back(i);
    for (const auto& [id, value] : d.values[i]) {
      if (variable[id] == "l") g.layers.insert(value);
    }
  }
  return out;
}

}  // namespace wb::draft
