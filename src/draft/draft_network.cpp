// One network (dense, a routed expert, the shared ones) as lines of a recipe; see drafter.h and
// feed_forward.h.
#include <fmt/format.h>

#include <algorithm>

#include "draft/drafter.h"

namespace wb::draft {

namespace {

using N = NetRole;

std::string renamed(std::string name, const std::string& from) {
  std::string text = "{" + from + "}";
  for (std::size_t at = name.find(text); at != std::string::npos; at = name.find(text)) {
    name.replace(at, text.size(), std::string("{") + kList + "}");
  }
  return name;
}

}  // namespace

void Drafter::network(const std::vector<const Module*>& modules, const Network& network) {
  std::vector<NetMatrix> matrices;
  for (const Module* m : modules) {
    const Shape& s = m->weight->shape;
    std::size_t rank = s.size();
    matrices.push_back(
        {m->weight, s[rank - 2], s[rank - 1], rank == 3, !m->plain_names, m->features});
  }
  std::optional<NetGuess> guess = guess_network(matrices, hidden_);
  if (!guess) {
    draft_.notes.push_back("The matrices of the " + network.what +
                           " are not those of a network with or without a gate; their lines are to "
                           "be written by hand.");
    return;
  }
  if (guess->orientation_unsure) {
    draft_.notes.push_back("Whether the matrices of the " + network.what +
                           " are [out, in] or [in, out] " +
                           "is not clear; if no answer fits, try the other.");
  }
  for (std::size_t r = 0; r < guess->roles.size() && !network.again; ++r) {
    const Module& m = *modules[guess->assignments[0][r]];
    settle(m, network.what + ": " + in_words(guess->roles[r]), guess->confidence[r], guess->why[r]);
    if (recognise_.size() < 12) recognise_.push_back(m.weight->first_name);
  }
  if (!network.again) {
    std::vector<std::string> roles;
    for (N role : guess->roles) roles.emplace_back(in_words(role));
    ask_roles(network.key + "_roles", "which matrix of the " + network.what + " is which", roles,
              guess->assignments, modules,
              "the gate is the one inside of the activation, e.g. silu(gate(x)) * up(x)");
  }
  network_fields(modules, network, *guess);
  network_lines(modules, network, *guess);
}

void Drafter::network_fields(const std::vector<const Module*>& modules, const Network& network,
                             const NetGuess& guess) {
  const auto index = [&](N role) {
    return static_cast<std::size_t>(std::find(guess.roles.begin(), guess.roles.end(), role) -
                                    guess.roles.begin());
  };
  bool fused = index(N::gate_up) < guess.roles.size();
  const Module& up = *modules[guess.assignments[0][index(fused ? N::gate_up : N::up)]];
  std::size_t rank = up.weight->shape.size();
  std::string rows = fmt::format("{}[{}]", first_of(up.weight), rank - (guess.transposed ? 1 : 2));
  std::string unit = fused ? rows + " / 2" : rows;
  std::uint64_t times = network.shared.empty() ? 1
                        : in_list_ != 0        ? in_list_
                                               : names_.counts.at(network.shared);
  if (network.again) {
    dim(network.width_name, "n_shared_experts * moe_intermediate_size", times * guess.width);
  } else if (times > 1) {
    dim(network.key + "_unit", unit, guess.width, "one of them");
    dim(network.width_name, fmt::format("{} * {}_unit", times, network.key), times * guess.width);
  } else {
    dim(network.width_name, unit, guess.width);
  }
  field(network.field + ".intermediate_size", toml_string(network.width_name));
  field(network.field + ".gated", guess.roles.size() == 3 || fused ? "true" : "false",
        "by the number and shapes of its matrices");
  open(network.field + ".activation");
  std::size_t biases = 0;
  for (const Module* m : modules) biases += m->bias != nullptr ? 1u : 0u;
  if (biases == modules.size()) field(network.field + ".bias", "true");
  if (biases != 0 && biases != modules.size()) {
    draft_.notes.push_back("Some matrices of the " + network.what +
                           " have a bias and some have none: zeros(...) has to stand in.");
    field(network.field + ".bias", "true");
  }
}

void Drafter::network_lines(const std::vector<const Module*>& modules, const Network& network,
                            const NetGuess& guess) {
  const std::string key = network.key + "_roles", order = network.key + "_order";
  std::uint64_t times = network.shared.empty() ? 1
                        : in_list_ != 0        ? in_list_
                                               : names_.counts.at(network.shared);
  const std::string width = network.again ? "moe_intermediate_size"
                            : times > 1   ? network.key + "_unit"
                                          : network.width_name;
  const auto put = [&](const std::string& role, std::size_t r, const std::string& inner, int axis) {
    std::vector<const Module*> choice;
    for (const auto& assignment : guess.assignments) choice.push_back(modules[assignment[r]]);
    std::string comment = fmt::format("{:.0f} %: {}", 100 * guess.confidence[r], guess.why[r]);
    bool stacked = choice[0]->weight->shape.size() == 3;
    const auto wrapped = [&](const std::string& base, int along) {
      std::string out = filled(inner, base);
      return network.shared.empty()
                 ? out
                 : fmt::format("concat_over({}, {}, {})", network.shared, along, out);
    };
    const auto listed = [&](const Group* g) {
      return fmt::format(
          "stack_over({}, {}).select(0, {} + {})", kList, term(renamed(g->pattern, network.expert)),
          network.shared.empty() ? network.expert : network.shared, network.list_begin);
    };
    if (!network.list_begin.empty()) {
      std::vector<std::string> weights, biases;
      for (const Module* m : choice) {
        weights.push_back(listed(m->weight));
        if (m->bias != nullptr) biases.push_back(listed(m->bias));
      }
      tensors_.push_back({toml_string(network.canonical + "." + role + ".weight"),
                          toml_string(wrapped(choose(key, weights), axis)), comment, true});
      if (biases.size() == choice.size()) {
        tensors_.push_back({toml_string(network.canonical + "." + role + ".bias"),
                            toml_string(wrapped(choose(key, biases), 0)), "", true});
      }
      return;
    }
    if (!stacked) {
      if (axis == 1 && times > 1 && choice[0]->bias != nullptr) {
        draft_.notes.push_back(
            "The biases of several shared experts add up, for which the language has no step.");
      }
      line(network.canonical + "." + role, choice, key,
           wrapped(guess.transposed ? "$.t()" : "$", axis), comment, true);
      return;
    }
    std::vector<std::string> weights, biases;
    for (const Module* m : choice) {
      weights.push_back(term(m->weight->pattern) + fmt::format(".select(0, {}){}", network.expert,
                                                               guess.transposed ? ".t()" : ""));
      if (m->bias != nullptr)
        biases.push_back(term(m->bias->pattern) + fmt::format(".select(0, {})", network.expert));
    }
    tensors_.push_back({toml_string(network.canonical + "." + role + ".weight"),
                        toml_string(wrapped(choose(key, weights), axis)), comment, true});
    if (biases.size() == choice.size()) {
      tensors_.push_back({toml_string(network.canonical + "." + role + ".bias"),
                          toml_string(wrapped(choose(key, biases), 0)), "", true});
    }
  };
  for (std::size_t r = 0; r < guess.roles.size(); ++r) {
    const Group* g = modules[guess.assignments[0][r]]->weight;
    std::vector<std::string> held = {guess.roles[r] == N::gate_up ? "2 * " + width : width,
                                     "hidden_size"};
    if ((guess.roles[r] == N::down) != guess.transposed) std::swap(held[0], held[1]);
    if (g->shape.size() == 3) held.insert(held.begin(), "n_routed_experts");
    if (network.list_begin.empty()) shape(g, held);
    if (guess.roles[r] != N::gate_up) {
      put(in_words(guess.roles[r]), r, "$", guess.roles[r] == N::down ? 1 : 0);
      continue;
    }
    if (!network.again)
      ask_choice(order, "where the rows of gate and up lie in their matrix",
                 {"all of gate, all of up", "all of up, all of gate", "in turn gate, up",
                  "in turn up, gate"},
                 "look for chunk() or [::2] before the activation");
    if (!network.again)
      dim(network.key + "_gate_begin", fmt::format("if({} == 1, 0, {})", order, width), 0);
    for (bool gate : {true, false}) {
      std::string begin = gate ? network.key + "_gate_begin"
                               : fmt::format("{} - {}_gate_begin", width, network.key);
      std::string inner = fmt::format(
          "if({0} < 3, $.slice(0, {1}, {1} + {2}), $.split(0, {2}).select(1, if({0} == {3}, 0, "
          "1)))",
          order, begin, width, gate ? 3 : 4);
      put(gate ? "gate" : "up", r, inner, 0);
    }
  }
}

}  // namespace wb::draft
