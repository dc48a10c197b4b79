// The attention's matrices as lines of [tensors] and [shapes], and the orders of parts that are
// asked; see drafter.h and attention.h.
#include <fmt/format.h>

#include <algorithm>

#include "draft/drafter.h"

namespace wb::draft {

namespace {

using R = AttentionRole;
constexpr const char* kHeads = "num_attention_heads";

}  // namespace

void Drafter::attention_lines(const AttentionGuess& guess, const std::vector<Matrix>& matrices,
                              const std::vector<Module*>& modules) {
  const HeadWidths& w = guess.widths[0];
  bool grouped = std::any_of(guess.widths.begin(), guess.widths.end(),
                             [](const HeadWidths& x) { return x.kv_heads != x.heads; });
  const std::string kv = grouped ? "num_key_value_heads" : kHeads;
  bool whole = !guess.has(R::k_rope) && !guess.has(R::kv_down_rope);
  const auto put = [&](const char* canonical, R role, const std::string& expr) {
    std::size_t r = guess.index(role);
    std::vector<const Module*> choice;
    for (const auto& assignment : guess.assignments) choice.push_back(modules[assignment[r]]);
    const Matrix& m = matrices[guess.assignments[0][r]];
    std::string full;
    for (char c : expr) full += c == '$' ? m.before + "$" + m.after : std::string(1, c);
    line(std::string("layers.{l}.attn.") + canonical, choice, "attention_roles", full,
         fmt::format("{:.0f} %: {}", 100 * guess.confidence[r], guess.why[r]), true);
  };
  // Rows [begin, begin + width) of each head, or of all heads, as `order` says.
  const auto part = [](const std::string& order, const std::string& heads, const std::string& begin,
                       const std::string& width) {
    return fmt::format(
        "if({0} < 3, $.split(0, {1}).slice(1, {2}, {2} + {3}), $.slice(0, {1} * {2}, {1} * ({2} + "
        "{3})).split(0, {1}))",
        order, heads, begin, width);
  };
  bool two_parts = guess.has(R::q) && w.nope > 0 && w.rope > 0 && !rope_unsure_;
  if (two_parts) {
    ask_choice("query_order", "where the content and the rotated rows lie in queries",
               {"in each head content, rotated", "in each head rotated, content",
                "content of all heads, rotated of all heads",
                "rotated of all heads, content of all heads"},
               "look for split() on the query in the attention's forward");
    dim("q_nope_begin", "if(query_order == 1 or query_order == 3, 0, qk_rope_head_dim)", 0);
    dim("q_rope_begin", "if(query_order == 1 or query_order == 3, qk_nope_head_dim, 0)", 0);
  }
  const std::string split = fmt::format("$.split(0, {})", kHeads),
                    kv_split = fmt::format("$.split(0, {})", kv);
  if (guess.has(R::q_down)) put("q_down", R::q_down, "$");
  if (guess.has(R::q_nope)) put("q_nope", R::q_nope, split);
  if (guess.has(R::q_rope)) put("q_rope", R::q_rope, split);
  if (guess.has(R::q)) {
    put("q_nope", R::q,
        two_parts ? part("query_order", kHeads, "q_nope_begin", "qk_nope_head_dim") : split);
    put("q_rope", R::q,
        two_parts ? part("query_order", kHeads, "q_rope_begin", "qk_rope_head_dim") : split);
  }
  if (guess.has(R::kv_down)) put("kv_down", R::kv_down, "$");
  if (guess.has(R::kv_down_rope)) {
    ask_choice("latent_order", "where the latent's rows and the rotated key's lie",
               {"latent, rotated key", "rotated key, latent"},
               "look for split() on the compressed keys and values");
    dim("latent_begin",
        fmt::format("if(latent_order == 1, 0, {}[0] - kv_lora_rank)",
                    first_of(matrices[guess.assignments[0][guess.index(R::kv_down_rope)]].group)),
        0);
    dim("rope_key_begin", "if(latent_order == 1, kv_lora_rank, 0)", 0);
    std::string n = w.shared_rope_key ? "1" : kv;
    put("kv_down", R::kv_down_rope, "$.slice(0, latent_begin, latent_begin + kv_lora_rank)");
    put("k_rope", R::kv_down_rope,
        fmt::format(
            "$.slice(0, rope_key_begin, rope_key_begin + {0} * qk_rope_head_dim).split(0, {0})",
            n));
  }
  if (guess.has(R::k_rope))
    put("k_rope", R::k_rope, fmt::format("$.split(0, {})", w.shared_rope_key ? "1" : kv));
  if (guess.has(R::k)) {
    put("k_nope", R::k,
        whole && two_parts ? part("query_order", kv, "q_nope_begin", "qk_nope_head_dim")
                           : kv_split);
    if (whole)
      put("k_rope", R::k,
          two_parts ? part("query_order", kv, "q_rope_begin", "qk_rope_head_dim") : kv_split);
  }
  if (guess.has(R::v)) put("v", R::v, kv_split);
  if (guess.has(R::kv)) {
    const std::string key = whole ? "head_dim" : "qk_nope_head_dim";
    ask_choice("kv_order", "where keys and values lie in their matrix",
               {"in each head key, value", "in each head value, key",
                "keys of all heads, values of all heads", "values of all heads, keys of all heads"},
               "look for split() or chunk() on keys and values");
    dim("key_begin", "if(kv_order == 1 or kv_order == 3, 0, v_head_dim)", 0);
    dim("value_begin", fmt::format("if(kv_order == 1 or kv_order == 3, {}, 0)", key), 0);
    put("k_nope", R::kv, part("kv_order", kv, "key_begin", key));
    if (whole) put("k_rope", R::kv, part("kv_order", kv, "key_begin", key));
    put("v", R::kv, part("kv_order", kv, "value_begin", "v_head_dim"));
    if (whole && two_parts)
      draft_.notes.push_back(
          "Keys and values in one with a part of each key rotated: the lines of k_nope and k_rope "
          "are to be completed by hand.");
  }
  if (guess.has(R::qkv)) {
    ask_choice(
        "qkv_order", "where queries, keys and values lie in their matrix",
        {"all queries, all keys, all values", "for each key head its queries, its key, its value"},
        "look for split(), chunk() or view() on it");
    dim("group", fmt::format("{} / {}", kHeads, kv), 0);
    const auto third = [&](const std::string& begin_all, const std::string& end_all,
                           const std::string& begin, const std::string& end,
                           const std::string& heads) {
      return fmt::format(
          "if(qkv_order == 1, $.slice(0, {0}, {1}).split(0, {4}), $.split(0, {5}).slice(1, {2}, "
          "{3}).merge(0).split(0, {4}))",
          begin_all, end_all, begin, end, heads, kv);
    };
    std::string q_end = fmt::format("{} * head_dim", kHeads),
                k_end = fmt::format("({} + {}) * head_dim", kHeads, kv),
                v_end = fmt::format("({} + 2 * {}) * head_dim", kHeads, kv);
    std::string q = third("0", q_end, "0", "group * head_dim", kHeads);
    std::string k = third(q_end, k_end, "group * head_dim", "(group + 1) * head_dim", kv);
    put("q_nope", R::qkv, q);
    put("q_rope", R::qkv, q);
    put("k_nope", R::qkv, k);
    put("k_rope", R::qkv, k);
    put("v", R::qkv, third(k_end, v_end, "(group + 1) * head_dim", "(group + 2) * head_dim", kv));
    if (w.nope > 0 && w.rope > 0)
      draft_.notes.push_back(
          "Queries, keys and values in one with a part of each rotated: their lines are to be "
          "completed by hand.");
  }
  if (w.padded_values) {
    // The columns that meet zeros play no part.
    const Module& o = *modules[guess.assignments[0][guess.index(R::o)]];
    dim("value_begin", "if(value_place == 1, 0, qk_rope_head_dim)", 0);
    tensors_.push_back(
        {toml_string("layers.{l}.attn.o.weight"),
         toml_string(fmt::format("{}.split(1, {}).slice(2, value_begin, value_begin + "
                                 "qk_nope_head_dim).merge(1)",
                                 term(o.weight->pattern), kHeads)),
         "", true});
    if (o.bias != nullptr) {
      tensors_.push_back(
          {toml_string("layers.{l}.attn.o.bias"), toml_string(term(o.bias->pattern)), "", true});
    }
  } else {
    put("o", R::o, "$");
  }
  // What each matrix is held to in every layer.
  const std::string d = "hidden_size", q_in = guess.q_rank > 0 ? "q_lora_rank" : d,
                    kv_in = guess.kv_rank > 0 ? "kv_lora_rank" : d;
  const auto times = [](const std::string& heads, const std::string& width) {
    return heads + " * " + width;
  };
  const std::string nope = whole ? "head_dim" : "qk_nope_head_dim",
                    rope_heads = w.shared_rope_key ? "1" : kv;
  const std::map<R, std::pair<std::string, std::string>> held = {
      {R::q_down, {"q_lora_rank", d}},
      {R::q, {times(kHeads, "head_dim"), q_in}},
      {R::q_nope, {times(kHeads, "qk_nope_head_dim"), q_in}},
      {R::q_rope, {times(kHeads, "qk_rope_head_dim"), q_in}},
      {R::kv_down, {"kv_lora_rank", d}},
      {R::kv_down_rope, {"kv_lora_rank + " + times(rope_heads, "qk_rope_head_dim"), d}},
      {R::k, {times(kv, nope), kv_in}},
      {R::v, {times(kv, "v_head_dim"), kv_in}},
      {R::kv, {times(kv, "(" + nope + " + v_head_dim)"), kv_in}},
      {R::k_rope,
       {times(rope_heads, "qk_rope_head_dim"),
        guess.has(R::k_rope) &&
                matrices[guess.assignments[0][guess.index(R::k_rope)]].cols != hidden_
            ? kv_in
            : d}},
      {R::qkv, {"(" + std::string(kHeads) + " + 2 * " + kv + ") * head_dim", d}},
      {R::o, {d, times(kHeads, w.padded_values ? "head_dim" : "v_head_dim")}}};
  for (std::size_t r = 0; r < guess.roles.size(); ++r) {
    const Group& g = *matrices[guess.assignments[0][r]].group;
    const auto& [out, in] = held.at(guess.roles[r]);
    if (g.shape.size() == 2 && !g.has("h")) shape(&g, {out, in});
  }
  const auto bias = [&](R role) {
    return guess.has(role) && modules[guess.assignments[0][guess.index(role)]]->bias != nullptr;
  };
  const auto set = [&](const char* path, bool on) {
    if (on) field(std::string("attention.") + path, "true");
  };
  set("q_down_bias", bias(R::q_down));
  set("q_bias", bias(R::q) || bias(R::q_nope) || bias(R::q_rope) || bias(R::qkv));
  set("kv_down_bias", bias(R::kv_down) || bias(R::kv_down_rope));
  bool whole_bias = whole && (bias(R::k) || bias(R::kv) || bias(R::qkv));
  if (whole_bias && rope_unsure_) {
    field("attention.k_rope_bias", toml_string("rotation == 1"));
  } else {
    set("k_rope_bias", bias(R::k_rope) || bias(R::kv_down_rope) || (whole_bias && w.rope > 0));
  }
  set("kv_up_bias", bias(R::k) || bias(R::v) || bias(R::kv) || bias(R::qkv));
  set("o_bias", bias(R::o));
  if (bias(R::q_nope) != bias(R::q_rope) && guess.has(R::q_nope)) {
    draft_.notes.push_back(
        "One part of the queries has a bias and the other has none: zeros(...) has to stand in.");
  }
  if (guess.has(R::v) && bias(R::k) != bias(R::v)) {
    draft_.notes.push_back(
        "Of keys and values one has a bias and the other has none: zeros(...) has to stand in.");
  }
}

}  // namespace wb::draft
