// The attention of a layer as lines of a recipe; see drafter.h and attention.h.
#include <fmt/format.h>

#include <algorithm>

#include "draft/drafter.h"

namespace wb::draft {

namespace {

using R = AttentionRole;
constexpr const char* kHeads = "num_attention_heads";

std::optional<Matrix> matrix_of(const Module& m) {
  const Group& g = *m.weight;
  Matrix out;
  out.group = &g;
  out.features = m.features;
  for (const std::string& v : g.variables) {
    if (v != "l" && v != "h") return std::nullopt;
  }
  if (g.shape.size() == 2) {
    out.rows = g.shape[0];
    out.cols = g.shape[1];
    return out;
  }
  if (g.shape.size() != 3) return std::nullopt;
  out.heads = g.shape[0];  // [heads, width, in]
  out.rows = g.shape[0] * g.shape[1];
  out.cols = g.shape[2];
  out.after = ".merge(0)";
  return out;
}

}  // namespace

bool Drafter::attention(std::vector<Module*> modules, const std::vector<Module*>& vectors) {
  std::vector<Matrix> matrices;
  for (const Module* m : modules) {
    std::optional<Matrix> matrix = matrix_of(*m);
    if (!matrix) return false;
    if (auto count = names_.counts.find("h"); m->weight->has("h") && count != names_.counts.end()) {
      matrix->heads = count->second;
      matrix->rows *= count->second;
      matrix->before = "concat_over(h, 0, ";
      matrix->after = ")";
    }
    matrices.push_back(std::move(*matrix));
  }
  AttentionHints hints;
  hints.hidden = hidden_;
  hints.rope_dim = rope_dim_;
  hints.learned_positions = learned_positions_ && !has_rope_;
  for (const Module* v : vectors) hints.vector_sizes.push_back(v->weight->shape[0]);
  std::optional<AttentionGuess> guess = guess_attention(matrices, hints);
  if (!guess) return false;
  if (!guess->rival.empty()) {
    draft_.notes.push_back("The attention could as well be built another way (" + guess->rival +
                           "); if no answer fits, that is the way to try.");
  }
  for (std::size_t r = 0; r < guess->roles.size(); ++r) {
    const Module& m = *modules[guess->assignments[0][r]];
    settle(m, in_words(guess->roles[r]), guess->confidence[r], guess->why[r]);
    recognise_.push_back(m.weight->first_name);
  }
  if (guess->assignments.size() > 1) {
    std::vector<std::string> meanings;
    for (const auto& assignment : guess->assignments) {
      std::string meaning;
      for (std::size_t r = 0; r < guess->roles.size(); ++r) {
        bool varies = std::any_of(guess->assignments.begin(), guess->assignments.end(),
                                  [&](const auto& a) { return a[r] != assignment[r]; });
        if (!varies) continue;
        meaning += fmt::format("{}{} {}", meaning.empty() ? "" : ", ", in_words(guess->roles[r]),
                               below_layer(modules[assignment[r]]->stem));
      }
      meanings.push_back(meaning);
    }
    ask_choice("attention_roles", "which matrix is which", meanings,
               "read the attention's forward");
  }
  attention_dims(*guess, matrices);
  attention_lines(*guess, matrices, modules);
  attention_norms(*guess, vectors);
  open("attention.softmax_scale");
  if (guess->kv_rank > 0) {
    assume("attention.kv_latent_factor", "1.0", "a constant on the latent would not be seen");
  }
  if (guess->has(R::k_rope) || guess->has(R::kv_down_rope)) {
    assume("attention.rope_key_factor", "1.0", "a constant on the rotated key would not be seen");
    assume("attention.softmax_scale_rope", "0.0", "content and position share one scale");
  }
  if (has_rope_ || rope_unsure_) {
    if (half_split_) {
      field("rope.layout", toml_string(*half_split_ ? "half_split" : "interleaved"),
            "by the columns of the rope table");
    } else {
      open("rope.layout");
    }
    std::vector<std::string> said = facts({"rope_theta", "rope_base", "theta"});
    if (rope_base_) {
      field("rope.base",
            fmt::format("{}{}", *rope_base_, *rope_base_ == std::floor(*rope_base_) ? ".0" : ""),
            "by the rope buffer");
    } else if (!said.empty()) {
      field("rope.base", toml_string("fact('" + said[0] + "')"), "stands beside the tensors");
    } else {
      open("rope.base");
    }
    assume("rope.scaling", toml_string("none"), "nothing speaks of linear or YaRN scaling");
  }
  return true;
}

void Drafter::head_count(const AttentionGuess& guess, const std::vector<Matrix>& matrices) {
  std::set<std::uint64_t> counts;
  for (const HeadWidths& w : guess.widths) counts.insert(w.heads);
  const auto tensor = [&](R role) -> const Matrix& {
    return matrices[guess.assignments[0][guess.index(role)]];
  };
  const HeadWidths& w = guess.widths[0];
  if (counts.size() == 1) {
    std::string expr = std::to_string(w.heads), why = "the only count that all shapes allow";
    if (guess.has(R::q_rope) && guess.has(R::k_rope) && w.shared_rope_key &&
        tensor(R::q_rope).heads == 0) {
      expr =
          first_of(tensor(R::q_rope).group) + "[0] / " + first_of(tensor(R::k_rope).group) + "[0]";
      why = "";
    } else if (guess.has(R::q_rope) && rope_dim_ != 0 && tensor(R::q_rope).heads == 0) {
      expr = first_of(tensor(R::q_rope).group) + "[0] / qk_rope_head_dim";
      why = "";
    }
    dim(kHeads, expr, w.heads, why);
    return;
  }
  Ask a{kHeads,
        "0",
        "attention heads: the shapes allow ",
        {},
        "1",
        "",
        facts({"num_attention_heads", "num_heads", "n_heads", "n_head", "nhead"})};
  std::string listed;
  for (std::uint64_t n : counts) {
    a.candidates.push_back(std::to_string(n));
    listed += (listed.empty() ? "" : ", ") + std::to_string(n);
  }
  a.help += listed;
  ask(std::move(a), "look for num_heads or n_head where the model is made");
}

void Drafter::attention_dims(const AttentionGuess& guess, const std::vector<Matrix>& matrices) {
  const auto matrix = [&](R role) -> const Matrix& {
    return matrices[guess.assignments[0][guess.index(role)]];
  };
  const auto name = [&](R role) { return first_of(matrix(role).group); };
  const auto rows = [&](R role) -> std::string {  // the count of rows, as an expression
    const Matrix& m = matrix(role);
    if (m.group->has("h")) return fmt::format("{} * {}[0]", m.heads, name(role));
    return m.heads != 0 ? fmt::format("{0}[0] * {0}[1]", name(role)) : name(role) + "[0]";
  };
  const HeadWidths& w = guess.widths[0];
  if (guess.q_rank > 0) dim("q_lora_rank", name(R::q_down) + "[0]", guess.q_rank);
  if (guess.has(R::kv_down)) dim("kv_lora_rank", name(R::kv_down) + "[0]", guess.kv_rank);
  if (guess.has(R::kv_down_rope)) {
    dim("kv_lora_rank", name(guess.has(R::k) ? R::k : R::kv) + "[1]", guess.kv_rank);
  }
  bool rope_first = guess.has(R::q_rope) && rope_dim_ != 0 && w.rope == rope_dim_;
  if (rope_first) dim("qk_rope_head_dim", std::to_string(rope_dim_), w.rope, "by the rope buffer");
  head_count(guess, matrices);
  bool one = std::all_of(guess.widths.begin(), guess.widths.end(),
                         [&](const HeadWidths& x) { return x.heads == w.heads; });
  const auto known = [&](std::uint64_t value) { return one ? value : 0; };
  if (w.padded_values) {
    ask_choice("value_place",
               "where values lie, which are the content key and zeros up to a query's width",
               {"content, zeros", "zeros, content"}, "look for cat() or pad() on the values");
  } else {
    dim("v_head_dim", fmt::format("{}[1] / {}", name(R::o), kHeads), known(w.v));
  }
  bool grouped = std::any_of(guess.widths.begin(), guess.widths.end(),
                             [](const HeadWidths& x) { return x.kv_heads != x.heads; });
  std::string kv_heads = kHeads;
  bool whole = !guess.has(R::k_rope) && !guess.has(R::kv_down_rope);
  std::string width;  // rows of one head's query
  if (guess.has(R::q)) width = fmt::format("{} / {}", rows(R::q), kHeads);
  if (guess.has(R::qkv)) width = "v_head_dim";
  if (!width.empty())
    dim("head_dim", width, known(w.nope + w.rope), "content and position rows of a head");
  if (grouped) {
    kv_heads = "num_key_value_heads";
    std::string expr = guess.has(R::v) ? rows(R::v) + " / v_head_dim"
                       : guess.has(R::qkv)
                           ? fmt::format("({}[0] / v_head_dim - {}) / 2", name(R::qkv), kHeads)
                       : whole ? fmt::format("{} / (head_dim + v_head_dim)", rows(R::kv))
                               : std::to_string(w.kv_heads);
    dim(kv_heads, expr, known(w.kv_heads));
    field("attention.num_key_value_heads", toml_string(kv_heads));
  }
  if (whole) {
    if (rope_dim_ != 0) {
      dim("qk_rope_head_dim", std::to_string(w.rope), w.rope, "by the rope buffer");
    } else {
      ask_choice("rotation", "whether rope turns queries and keys",
                 {"all rows of a head turn", "none does"},
                 "look for rope, cos and sin in the attention's forward");
      rope_unsure_ = true;
      dim("qk_rope_head_dim", "if(rotation == 1, head_dim, 0)", 0);
    }
    dim("qk_nope_head_dim", "head_dim - qk_rope_head_dim", 0);
  } else {
    has_rope_ = true;
    std::string by = w.shared_rope_key ? "" : " / " + kv_heads;
    if (!rope_first) {
      std::string expr = guess.has(R::q_rope)   ? fmt::format("{} / {}", rows(R::q_rope), kHeads)
                         : guess.has(R::k_rope) ? rows(R::k_rope) + by
                         : w.shared_rope_key
                             ? rows(R::kv_down_rope) + " - kv_lora_rank"
                             : "(" + rows(R::kv_down_rope) + " - kv_lora_rank)" + by;
      dim("qk_rope_head_dim", expr, known(w.rope));
    }
    dim("qk_nope_head_dim",
        guess.has(R::q_nope) ? fmt::format("{} / {}", rows(R::q_nope), kHeads)
                             : "head_dim - qk_rope_head_dim",
        known(w.nope));
  }
  if (w.padded_values) dim("v_head_dim", "qk_nope_head_dim", known(w.v));
  field(fmt::format("attention.{}", kHeads), toml_string(kHeads));
  if (guess.q_rank > 0) field("attention.q_lora_rank", toml_string("q_lora_rank"));
  if (guess.kv_rank > 0) field("attention.kv_lora_rank", toml_string("kv_lora_rank"));
  for (const char* f : {"qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"})
    field(fmt::format("attention.{}", f), toml_string(f));
  const auto if_rotated = [&](const char* word, const char* usual) {
    return toml_string(rope_unsure_ ? fmt::format("if(rotation == 1, {}, {})", word, usual) : word);
  };
  field("attention.rope_keys",
        whole || !w.shared_rope_key ? if_rotated("per_head", "shared") : toml_string("shared"));
  if (whole && guess.kv_rank > 0) {
    field("attention.rope_key_from", if_rotated("normed_latent", "input"),
          "whole keys are made of the latent");
  } else if (guess.has(R::k_rope) &&
             (matrix(R::k_rope).cols != hidden_ || guess.kv_rank == hidden_)) {
    open("attention.rope_key_from");
  } else {
    field("attention.rope_key_from", toml_string("input"), "by its shape");
  }
  if (!guess.has(R::v) && !guess.has(R::kv) && !guess.has(R::qkv)) {
    field("attention.value_is_key_content", "true", "nothing else makes values");
  }
}

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

void Drafter::attention_norms(const AttentionGuess& guess, const std::vector<Module*>& vectors) {
  const auto take = [&](auto test) -> const Module* {
    for (std::size_t i = 0; i < vectors.size(); ++i) {
      if (vectors[i] == nullptr || settled(vectors[i]->weight) || !test(*vectors[i])) continue;
      return vectors[i];
    }
    return nullptr;
  };
  const auto size = [](const Module& m) { return m.weight->shape[0]; };
  const auto norm = [&](const std::string& path, const Module* m, const char* what,
                        const std::string& canonical, double confidence) {
    if (m == nullptr) {
      field("attention." + path + ".kind", toml_string("none"), "there is no weight for one");
      return;
    }
    settle(*m, what, confidence, "its length and name");
    line("layers.{l}.attn." + canonical, *m, "$", "", true);
    if (m->bias != nullptr) {
      field("attention." + path + ".kind", toml_string("layer"), "it has a shift");
      field("attention." + path + ".bias", "true");
    } else {
      open("attention." + path + ".kind");
    }
    open("attention." + path + ".eps");
    open("attention." + path + ".eps_outside_root");
  };
  bool same_rank = guess.q_rank == guess.kv_rank;
  const auto q_named = [](const Module& m) { return m.features.q; };
  const Module* kv = guess.kv_rank == 0 ? nullptr : take([&](const Module& m) {
    return size(m) == guess.kv_rank && !(same_rank && q_named(m));
  });
  norm("kv_norm", kv, "norm of the key-value latent", "kv_norm", 0.97);
  const Module* q = guess.q_rank == 0 ? nullptr : take([&](const Module& m) {
    return size(m) == guess.q_rank && (!same_rank || !m.features.kv);
  });
  norm("q_norm", q, "norm of the query latent", "q_norm", 0.97);
  const auto per_head = [&](const Module& m) {
    return std::any_of(guess.widths.begin(), guess.widths.end(),
                       [&](const HeadWidths& w) { return w.nope + w.rope == size(m); });
  };
  const Module* qh = take([&](const Module& m) { return per_head(m) && q_named(m); });
  if (qh != nullptr) norm("q_head_norm", qh, "norm of each head's query", "q_head_norm", 0.9);
  const Module* kh = take([&](const Module& m) { return per_head(m) && m.features.k; });
  if (kh != nullptr) norm("k_head_norm", kh, "norm of each head's key", "k_head_norm", 0.9);
}

}  // namespace wb::draft
