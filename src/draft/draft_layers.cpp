// A layer's tensors handed to the attention and to the network, its norms, and the multi-token
// heads that hold one more layer each; see drafter.h.
#include <fmt/format.h>

#include <algorithm>

#include "draft/drafter.h"

namespace wb::draft {

namespace {

enum Side { attention_side, network_side, unsure };

Side side_by_words(const Module& m) {
  const Features& f = m.features;
  const bool expert_index =
      std::any_of(m.weight->variables.begin(), m.weight->variables.end(),
                  [](const std::string& v) { return v[0] == 'e' || v[0] == 's'; });
  if (expert_index || f.feed_forward || f.expert || f.shared) return network_side;
  if (f.attention || f.q || f.k || f.v || f.kv || f.qkv || m.weight->has("h"))
    return attention_side;
  if (f.router || f.gate || f.any({"up", "down", "fc", "fc1", "fc2", "fc3"})) return network_side;
  if (f.any({"wo", "o", "out"})) return attention_side;
  return unsure;
}

// A norm over the whole width stands before a part, whatever part it lies in ... unless it is a
// latent's, which may be as wide.
bool is_layer_norm(const Module& m, std::uint64_t hidden, Side side) {
  const Features& f = m.features;
  const Shape& shape = m.weight->shape;
  if (shape.size() != 1 || shape[0] != hidden || m.weight->variables.size() != 1) return false;
  if (f.q || f.k || f.v || f.kv || f.latent) return false;
  return f.norm || side == unsure || m.bias != nullptr;
}

}  // namespace

// What a layer holds, by what it is for.
struct Drafter::LayerParts {
  std::vector<Module*> attention, vectors, network, norms, unplaced;
};

// Each tensor belongs to the attention or to the network: by its words, or by what its neighbours
// are; matrices that neither places are left to layers().
Drafter::LayerParts Drafter::layer_parts() {
  const auto segment = [&](const Module& m) {
    std::string b = below_layer(m.weight->pattern);
    if (!b.empty() && b[0] == '.') b = b.substr(1);
    std::size_t dot = b.find('.');
    return dot == std::string::npos ? std::string() : b.substr(0, dot);
  };
  std::vector<Module*> all;
  for (Module& m : modules_) {
    if (in_layer(*m.weight) && !settled(m.weight) && no_weights_.count(m.weight) == 0)
      all.push_back(&m);
  }
  std::map<std::string, std::set<Side>> sides;
  for (const Module* m : all) {
    const Side s = side_by_words(*m);
    if (s != unsure && !segment(*m).empty()) sides[segment(*m)].insert(s);
  }
  LayerParts out;
  for (Module* m : all) {
    Side s = side_by_words(*m);
    if (s == unsure && sides[segment(*m)].size() == 1) s = *sides[segment(*m)].begin();
    const bool vector = m->weight->shape.size() == 1;
    if (is_layer_norm(*m, hidden_, s)) {
      out.norms.push_back(m);
    } else if (s == network_side) {
      out.network.push_back(m);
    } else if (s == attention_side) {
      (vector ? out.vectors : out.attention).push_back(m);
    } else if (!vector) {
      out.unplaced.push_back(m);
    }
  }
  const Module* counted = out.norms.empty() ? all.empty() ? nullptr : all[0] : out.norms[0];
  if (counted != nullptr) {
    dim("num_hidden_layers", fmt::format("count({})", first_of(counted->weight, "l")),
        names_.counts.at("l"));
  }
  return out;
}

void Drafter::layers() {
  LayerParts p = layer_parts();
  if (p.norms.size() + p.attention.size() + p.network.size() + p.unplaced.size() == 0) return;
  layer_norms(p.norms);
  // What no word places goes where it makes sense: first all with the attention.
  std::vector<Module*> with = p.attention;
  with.insert(with.end(), p.unplaced.begin(), p.unplaced.end());
  const bool nothing_else = p.network.empty() && !p.unplaced.empty();
  if (nothing_else) {
    part_by_shape(p);
  } else if (p.unplaced.empty() || !attention(with, p.vectors)) {
    if (!attention(p.attention, p.vectors)) no_attention();
    p.network.insert(p.network.end(), p.unplaced.begin(), p.unplaced.end());
  }
  feed_forward(p.network);
}

// Matrices without a word, and no network yet: the largest part that is an attention of its own and
// leaves the two or three matrices of a network.
void Drafter::part_by_shape(LayerParts& p) {
  const std::size_t n = p.unplaced.size(), least = p.attention.empty() ? 4 : 0;
  for (std::size_t take = n + 1; take-- > least;) {
    for (std::size_t mask = 0; mask < (1u << n) && n <= 10; ++mask) {
      std::vector<Module*> some = p.attention, rest;
      for (std::size_t i = 0; i < n; ++i)
        ((mask >> i & 1u) != 0 ? some : rest).push_back(p.unplaced[i]);
      if (n - rest.size() != take || rest.size() < 2 || rest.size() > 3) continue;
      std::vector<NetMatrix> matrices;
      for (const Module* m : rest) {
        if (m->weight->shape.size() != 2) continue;
        matrices.push_back({m->weight, m->weight->shape[0], m->weight->shape[1], false,
                            !m->plain_names, m->features});
      }
      if (!guess_network(matrices, hidden_) || !attention(some, p.vectors)) continue;
      p.network = rest;
      draft_.notes.push_back(
          "No name says which matrices are the attention's and which the network's; they are "
          "parted by shape alone.");
      return;
    }
  }
  no_attention();
}

void Drafter::no_attention() {
  draft_.notes.push_back(
      "The attention's matrices are not those of any attention that the model description "
      "knows; their lines are to be written by hand.");
  field("attention.num_attention_heads", toml_string("?"));
}

void Drafter::layer_norms(std::vector<Module*> norms) {
  std::stable_sort(norms.begin(), norms.end(),
                   [](const Module* a, const Module* b) { return a->stem < b->stem; });
  if (norms.size() != 2) {
    draft_.notes.push_back(fmt::format(
        "A layer has {} norms over the whole width; the model description has one before the "
        "attention and one before the network.",
        norms.size()));
    return;
  }
  const auto before_attention = [](const Module* m) {
    const Features& f = m->features;
    bool post = f.post && f.attention;  // "post_attention_layernorm" stands before the network
    return (f.attention && !post ? 2.0 : 0) + (f.pre && !f.feed_forward ? 1.5 : 0) -
           (post ? 2 : 0) - (f.feed_forward ? 2 : 0);
  };
  double straight = before_attention(norms[0]) - before_attention(norms[1]);
  if (straight == 0 && norms[0]->features.number >= 0 &&
      norms[0]->features.number + 1 == norms[1]->features.number) {
    straight = 1.5;
  }
  if (straight < 0) std::swap(norms[0], norms[1]);
  bool sure = std::fabs(straight) >= 1;
  double confidence = sure ? (std::fabs(straight) > 1.6 ? 0.97 : 0.9) : 0.5;
  const std::string why = sure ? "name" : "names do not tell: asked";
  settle(*norms[0], "norm before the attention", confidence, why);
  settle(*norms[1], "norm before the network", confidence, why);
  if (sure) {
    line("layers.{l}.attn_norm", *norms[0], "$", "", true);
    line("layers.{l}.mlp_norm", *norms[1], "$", "", true);
  } else {
    ask_choice(
        "norm_roles", "which norm stands where",
        {norms[0]->stem + " before the attention, " + norms[1]->stem + " before the network",
         norms[1]->stem + " before the attention, " + norms[0]->stem + " before the network"},
        "read the block's forward");
    line("layers.{l}.attn_norm", {norms[0], norms[1]}, "norm_roles", "$", "", true);
    line("layers.{l}.mlp_norm", {norms[1], norms[0]}, "norm_roles", "$", "", true);
  }
  for (const Module* m : norms) {
    shape(m->weight, {"hidden_size"});
    recognise_.push_back(spell(m->weight->pattern, m->weight->first));
  }
  bool all_bias =
      (norm_bias_ || !final_norm_) && norms[0]->bias != nullptr && norms[1]->bias != nullptr;
  bool any_bias = norm_bias_ || norms[0]->bias != nullptr || norms[1]->bias != nullptr;
  if (all_bias) {
    field("norm.kind", toml_string("layer"), "the norms have a shift");
    field("norm.bias", "true");
  } else {
    open("norm.kind");
    if (any_bias)
      draft_.notes.push_back(
          "Some norms have a shift and some have none; the model description wants all alike.");
  }
  open("norm.eps");
  open("norm.eps_outside_root");
}

// The heads fit when everything in them is a layer's, two norms and a matrix of twice the width.
void Drafter::multi_token_heads() {
  if (names_.mtp_prefix.empty()) return;
  std::vector<Module*> norms, combine, own;
  bool fits = true;
  std::vector<std::pair<const Group*, const Group*>> same;
  for (Module& m : modules_) {
    if (!of_mtp(*m.weight) || settled(m.weight)) continue;
    std::string rest = below_layer(m.weight->pattern);
    const Group* twin = nullptr;
    for (const Group& g : names_.groups) {
      if (in_layer(g) && g.pattern == names_.layer_prefix + rest) twin = &g;
    }
    const Shape& s = m.weight->shape;
    if (twin != nullptr && settled(twin) && twin->shape == s) {
      same.emplace_back(m.weight, twin);
      if (m.bias != nullptr) same.emplace_back(m.bias, twin);
    } else if (s.size() == 1 && s[0] == hidden_) {
      norms.push_back(&m);
    } else if (s.size() == 2 && s[0] == hidden_ && s[1] == 2 * hidden_) {
      combine.push_back(&m);
    } else {
      fits = false;
    }
  }
  const Module *attn = nullptr, *mlp = nullptr;
  std::vector<Module*> rest;
  for (Module* m : norms) {
    if (m->features.attention && !m->features.post) {
      attn = m;
    } else if (m->features.feed_forward || (m->features.post && m->features.attention)) {
      mlp = m;
    } else {
      rest.push_back(m);
    }
  }
  bool layer_norms_same = norms.size() == 2;
  if (layer_norms_same) rest = norms;
  fits &= combine.size() == 1 && rest.size() == 2 &&
          (layer_norms_same || (attn != nullptr && mlp != nullptr));
  // Which dims the blocks share only makes sense when every layer is alike.
  fits &= moe_layers_.empty() || moe_layers_.size() == names_.counts.at("l");
  if (!fits) return leave_mtp("multi-token heads, which play no part in the logits");
  mtp_fits_ = true;
  for (const auto& [group, twin] : same) {
    settle(group, roles_.at(twin).role, roles_.at(twin).confidence, "as in the layers");
  }
  dim("num_nextn_predict_layers", fmt::format("count({})", first_of(combine[0]->weight, "m")),
      names_.counts.at("m"));
  index_.emplace_back("m", "num_nextn_predict_layers");
  field("num_nextn_predict_layers", toml_string("num_nextn_predict_layers"));
  if (combine[0]->bias != nullptr) field("mtp_combine_bias", "true");
  settle(*combine[0], "multi-token head: combination", 0.95,
         "the only matrix [hidden, 2 * hidden]");
  line("mtp.{m}.combine", *combine[0], "$", "", false);
  shape(combine[0]->weight, {"hidden_size", "2 * hidden_size"});
  if (!layer_norms_same) {
    settle(*attn, "norm before the attention", 0.9, "name");
    settle(*mlp, "norm before the network", 0.9, "name");
    line("mtp.{m}.block.attn_norm", *attn, "$", "", false);
    line("mtp.{m}.block.mlp_norm", *mlp, "$", "", false);
  }
  // The logits do not hang on these two, so no experiment tells and nothing waits for an answer.
  std::stable_sort(rest.begin(), rest.end(), [](const Module* a, const Module* b) {
    return std::pair(a->features.embed, a->stem) < std::pair(b->features.embed, b->stem);
  });
  settle(*rest[0], "multi-token head: norm of the previous state", 0.6, "assumed");
  settle(*rest[1], "multi-token head: norm of the embedding", 0.6, "assumed");
  line("mtp.{m}.prev_norm", *rest[0], "$", "assumed: the other way round is as likely by name",
       false);
  line("mtp.{m}.embed_norm", *rest[1], "$", "", false);
  draft_.assumed.push_back("mtp: " + rest[0]->stem + " norms the previous state, " + rest[1]->stem +
                           " the embedding (no effect unless --mtp keep)");
}

void Drafter::leave_mtp(const std::string& reason) {
  // The heads' list, and what stands beside it under the same first part of the name.
  std::string list = names_.mtp_prefix;
  list.replace(list.find("{m}"), 3, "*");
  const std::string first = names_.mtp_prefix.substr(0, names_.mtp_prefix.find('.') + 1);
  bool beside = false;
  for (const Group& g : names_.groups) {
    if (!of_mtp(g) || settled(&g)) continue;
    beside |= !g.has("m");
    settle(&g, "multi-token head, left out", 0.8,
           "under " + (g.has("m") ? names_.mtp_prefix : first));
  }
  // Buffers among them are left out with the rest: no line may speak of an index without a count.
  std::erase_if(left_out_, [](const auto& l) { return l.key.find("{m}") != std::string::npos; });
  left_out_.push_back(
      {toml_string(beside ? first + "*" : list + ".*"), toml_string(reason), "", false});
}

}  // namespace wb::draft
