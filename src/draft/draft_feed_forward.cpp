// The network of a layer, dense or a mixture, as lines of a recipe; see drafter.h and
// feed_forward.h.
#include <fmt/format.h>

#include <algorithm>

#include "draft/drafter.h"

namespace wb::draft {

namespace {

std::string expert_variable(const Module& m) {
  for (const std::string& v : m.weight->variables) {
    if (v[0] == 'e') return v;
  }
  return "";
}
std::string shared_variable(const Module& m) {
  for (const std::string& v : m.weight->variables) {
    if (v[0] == 's') return v;
  }
  return "";
}

}  // namespace

void Drafter::feed_forward(std::vector<Module*> modules) {
  std::vector<const Module*> of_experts, of_shared, rest;
  std::set<std::uint64_t> indexed, stacked;
  for (const Module* m : modules) {
    if (m->features.shared) continue;
    if (std::string v = expert_variable(*m); !v.empty()) indexed.insert(names_.counts.at(v));
    if (m->weight->shape.size() == 3) stacked.insert(m->weight->shape[0]);
  }
  if (indexed.size() == 1) experts_ = *indexed.begin();
  if (indexed.empty() && stacked.size() == 1) experts_ = *stacked.begin();
  if (experts_ != 0) experts_in_one_list(modules);
  if (experts_ != 0) router(modules, experts_);
  for (const Module* m : modules) {
    if (settled(m->weight) || m->weight->shape.size() < 2) continue;
    if (m->features.shared || !shared_variable(*m).empty()) {
      of_shared.push_back(m);
    } else if (!expert_variable(*m).empty() || m->weight->shape.size() == 3) {
      of_experts.push_back(m);
    } else {
      rest.push_back(m);
    }
  }
  if (experts_ == 0) {
    field("moe.n_routed_experts", "0", "there is no index and no axis of experts");
  } else {
    routed(of_experts);
  }
  if (!of_shared.empty()) shared(of_shared);
  if (!rest.empty()) dense(rest);
}

// A router that knows fewer experts than the list has: the others are always on.
void Drafter::experts_in_one_list(const std::vector<Module*>& modules) {
  std::uint64_t rows = 0;
  for (const Module* m : modules) {
    const Shape& s = m->weight->shape;
    if (s.size() != 2 || !expert_variable(*m).empty() || m->features.shared) continue;
    if (s[0] == experts_ || s[1] == experts_) return;
    if ((m->features.router || m->features.gate) && s[1] == hidden_ && s[0] < experts_) rows = s[0];
  }
  if (rows == 0) return;
  in_list_ = experts_ - rows;
  experts_ = rows;
}

void Drafter::router(std::vector<Module*>& modules, std::uint64_t experts) {
  Module* found = nullptr;
  double best = -1e9;
  for (Module* m : modules) {
    const Shape& s = m->weight->shape;
    if (s.size() != 2 || !expert_variable(*m).empty() || m->features.shared) continue;
    bool rows = s[0] == experts && s[1] == hidden_, cols = s[1] == experts && s[0] == hidden_;
    if (!rows && !cols) continue;
    double score = (m->features.router ? 2 : 0) + (m->features.gate ? 1.5 : 0) + (rows ? 1 : 0) -
                   (m->features.noise ? 5 : 0);
    if (score > best) {
      best = score;
      found = m;
    }
  }
  if (found == nullptr) {
    draft_.notes.push_back(
        fmt::format("No router [{}, {}] is seen for the {} experts.", experts, hidden_, experts));
    return;
  }
  settle(*found, "router", best >= 2 ? 0.97 : 0.85,
         "its shape" + std::string(best >= 2 ? " and name" : ""));
  bool rows = found->weight->shape[0] == experts && found->weight->shape[1] == hidden_;
  if (rows) {
    line("layers.{l}.mlp.router", *found, "$", "", true);
    shape(found->weight, {"n_routed_experts", "hidden_size"});
  } else {
    tensors_.push_back({toml_string("layers.{l}.mlp.router.weight"),
                        toml_string(term(found->weight->pattern) + ".t()"), "[hidden, experts]",
                        true});
    if (found->bias != nullptr)
      tensors_.push_back({toml_string("layers.{l}.mlp.router.bias"),
                          toml_string(term(found->bias->pattern)), "", true});
  }
  recognise_.push_back(found->weight->first_name);
  moe_layers_ = found->weight->layers;
  dim("n_routed_experts", first_of(found->weight) + (rows ? "[0]" : "[1]"), experts);
  field("moe.n_routed_experts", toml_string("n_routed_experts"));
  if (found->bias != nullptr) field("router.bias", "true");
  mixture_layers(*found);
  Ask top{"num_experts_per_tok",
          "0",
          "experts that each token is sent to (top-k)",
          {},
          "1",
          toml_string("n_routed_experts"),
          facts({"num_experts_per_tok", "n_experts_per_token", "experts_per_token", "top_k", "topk",
                 "n_activated_experts", "num_experts_per_token"})};
  ask(std::move(top), "look for topk( in the router's forward");
  field("router.num_experts_per_tok", toml_string("num_experts_per_tok"));
  open("router.score");
  open("router.norm_topk_prob");
  open("router.norm_eps");
  open("router.routed_scaling_factor");
  assume("router.n_group", "1", "nothing in the weights speaks of groups of experts",
         {"router.topk_group", "router.group_score", "router.group_mask"});
  balancing_bias(modules, experts);
}

void Drafter::mixture_layers(const Module& router) {
  std::uint64_t layers = names_.counts.at("l");
  if (moe_layers_.size() < layers) {
    // The least step that gives these layers: with one mixture among three it is 2, not 1.
    const std::uint64_t first = *moe_layers_.begin();
    std::uint64_t freq = 1;
    const auto fits = [&] {
      for (std::uint64_t l = 0; l < layers; ++l) {
        if ((l >= first && l % freq == first % freq) != (moe_layers_.count(l) != 0)) return false;
      }
      return true;
    };
    while (freq <= layers && !fits()) ++freq;
    if (freq > layers) {
      freq = 1;
      draft_.notes.push_back(
          "Which layers are mixtures follows no rule that the model description has.");
    }
    if (first >= freq) {
      field("moe.first_k_dense_replace",
            toml_string(fmt::format("first({})", term(spell(router.weight->pattern, {})))),
            "the first layer with a router");
    }
    if (freq > 1)
      field("moe.moe_layer_freq", std::to_string(freq), "every so manyth layer has a router");
    if (first % freq != 0)
      field("moe.moe_layer_offset", std::to_string(first % freq), "counted from this layer");
  }
}

void Drafter::balancing_bias(const std::vector<Module*>& modules, std::uint64_t experts) {
  for (Module* m : modules) {
    const Shape& s = m->weight->shape;
    if (settled(m->weight) || s.size() != 1 || s[0] != experts || !expert_variable(*m).empty())
      continue;
    settle(*m, "balancing bias of the experts", m->features.bias ? 0.9 : 0.7,
           "its length and name");
    tensors_.push_back({toml_string("layers.{l}.mlp.router.expert_bias"),
                        toml_string(term(m->weight->pattern)), "", true});
    open("router.expert_bias");
    break;
  }
}

void Drafter::routed(const std::vector<const Module*>& modules) {
  if (modules.empty()) return;
  std::string variable = expert_variable(*modules[0]);
  Network n{"", "moe.routed", "routed experts", "moe_intermediate_size", "expert", variable, ""};
  if (variable.empty()) n.expert = variable = "e";
  n.canonical = "layers.{l}.mlp.experts.{" + variable + "}";
  index_.emplace_back(variable, "n_routed_experts");
  if (in_list_ == 0) return network(modules, n);
  ask_choice("shared_place",
             fmt::format("the router knows {} of {} experts: where the others, which are always "
                         "on, are in the list",
                         experts_, experts_ + in_list_),
             {"first", "last"}, "look for the loop over shared experts in the mixture's forward");
  dim("n_experts", fmt::format("count({})", first_of(modules[0]->weight, variable)),
      experts_ + in_list_);
  dim("n_shared_experts", "n_experts - n_routed_experts", in_list_);
  dim("routed_begin", "if(shared_place == 1, n_shared_experts, 0)", 0);
  dim("shared_begin", "if(shared_place == 1, 0, n_routed_experts)", 0);
  index_.emplace_back(kList, "n_experts");
  index_.emplace_back("s", "n_shared_experts");
  n.list_begin = "routed_begin";
  network(modules, n);
  network(modules, {"layers.{l}.mlp.shared", "moe.shared", "experts", "shared_intermediate_size",
                    "expert", variable, "s", "shared_begin", true});
  if (in_list_ > 1) {
    open("moe.shared_scale");
  } else {
    assume("moe.shared_scale", "1.0", "the shared network is added as it is");
  }
}

void Drafter::shared(const std::vector<const Module*>& modules) {
  Network n{"layers.{l}.mlp.shared",     "moe.shared", "shared experts",
            "shared_intermediate_size",  "shared",     "",
            shared_variable(*modules[0])};
  if (!n.shared.empty()) {
    index_.emplace_back(n.shared, std::to_string(names_.counts.at(n.shared)));
    if (names_.counts.at(n.shared) > 1) {
      open("moe.shared_scale");
    }
  }
  network(modules, n);
  if (n.shared.empty() || names_.counts.at(n.shared) == 1) {
    assume("moe.shared_scale", "1.0", "the shared network is added as it is");
  }
}

void Drafter::dense(const std::vector<const Module*>& modules) {
  network(modules,
          {"layers.{l}.mlp.dense", "dense", "dense network", "intermediate_size", "dense", "", ""});
}

}  // namespace wb::draft
