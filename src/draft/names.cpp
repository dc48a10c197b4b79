// See names.h.
#include "draft/names.h"

#include <algorithm>
#include <optional>

#include "draft/indices.h"
#include "draft/prefix.h"
#include "draft/words.h"
#include "recipe/source.h"

namespace wb::draft {

namespace {

constexpr std::size_t kMostGroups = 5000;

std::string variable_kind(const Decided& d, std::size_t id, std::optional<std::size_t> layers) {
  const Family& f = d.families[id];
  if (layers && id == *layers) return "l";
  std::size_t brace = f.key.rfind('}');
  if (brace == std::string::npos)
    return contains(f.key, {"mtp", "predict", "next", "head"}) ? "m" : "x";
  std::string own = f.key.substr(brace + 1);
  if (contains(own, {"shared"})) return "s";
  if (contains(own, {"head"})) return "h";
  // A list in the attention, or of queries, keys or values, is one of heads.
  const Features words = features_of(own);
  if (!words.expert && !words.feed_forward &&
      (words.attention || words.q || words.k || words.v || words.kv || words.qkv))
    return "h";
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
