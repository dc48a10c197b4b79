// The attention's matrices as lines of [tensors] and [shapes], and the orders of parts that are
// asked; see drafter.h and attention.h.
#include <fmt/format.h>

#include <algorithm>

#include "draft/drafter.h"

namespace wb::draft {

namespace {

using R = AttentionRole;
constexpr const char* kHeads = "num_attention_heads";

// Rows [begin, begin + width) of each head, or of all heads, as `order` says.
std::string part(const std::string& order, const std::string& heads, const std::string& begin,
                 const std::string& width) {
  return fmt::format(
      "if({0} < 3, $.split(0, {1}).slice(1, {2}, {2} + {3}), $.slice(0, {1} * {2}, {1} * ({2} + "
      "{3})).split(0, {1}))",
      order, heads, begin, width);
}
// Of each head of `heads` the rows [begin, begin + width).
std::string within(const std::string& heads, const char* begin, const char* width) {
  return fmt::format("{0}.slice(1, {1}, {1} + {2})", heads, begin, width);
}
// "mha_W_o" of ".mha.W_o".
std::string as_key(const std::string& name) {
  std::string out;
  for (char c : name.substr(name.find_first_not_of('.'))) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    out += plain ? c : '_';
  }
  return out;
}
std::string times(const std::string& heads, const std::string& width) {
  return heads + " * " + width;
}

}  // namespace

struct Drafter::AttentionParts {
  const AttentionGuess& guess;
  const std::vector<Matrix>& matrices;
  const std::vector<Module*>& modules;  // beside `matrices`
  const HeadWidths& w;
  std::string kv;  // name of the count of key heads
  bool whole;      // keys whose position rows are no matrix of their own
  bool two_parts;  // content and position rows of a query in one matrix

  const Matrix& matrix(R role) const { return matrices[guess.assignments[0][guess.index(role)]]; }
  const Module& module(R role) const { return *modules[guess.assignments[0][guess.index(role)]]; }
};

void Drafter::attention_lines(const AttentionGuess& guess, const std::vector<Matrix>& matrices,
                              const std::vector<Module*>& modules) {
  const HeadWidths& w = guess.widths[0];
  const bool grouped = std::any_of(guess.widths.begin(), guess.widths.end(),
                                   [](const HeadWidths& x) { return x.kv_heads != x.heads; });
  const AttentionParts p{
      guess,
      matrices,
      modules,
      w,
      grouped ? "num_key_value_heads" : kHeads,
      !guess.has(R::k_rope) && !guess.has(R::kv_down_rope),
      (guess.has(R::q) || guess.has(R::qkv)) && w.nope > 0 && w.rope > 0 && !rope_unsure_};
  query_lines(p);
  latent_lines(p);
  key_value_lines(p);
  if (guess.has(R::qkv)) fused_lines(p);
  output_line(p);
  attention_shapes(p);
  attention_biases(p);
}

void Drafter::put(const AttentionParts& p, const char* canonical, R role, const std::string& expr) {
  const std::size_t r = p.guess.index(role);
  std::vector<const Module*> choice;
  for (const auto& assignment : p.guess.assignments) choice.push_back(p.modules[assignment[r]]);
  const Matrix& m = p.matrix(role);
  std::string spelling = m.spelling;
  if (m.either) {
    // One question for a matrix, however many lines are made of it.
    const std::string key = as_key(below_layer(m.group->pattern)) + "_use";
    if (std::none_of(asks_.begin(), asks_.end(), [&](const Ask& a) { return a.key == key; })) {
      ask_choice(key,
                 "how " + below_layer(m.group->pattern) +
                     " is used, which is square and no weight "
                     "of an nn.Linear",
                 {"x @ W.T, as nn.Linear does", "x @ W"}, "look for @ and matmul on it");
    }
    spelling = fmt::format("if({} == 1, $, $.t())", key);
  }
  line(std::string("layers.{l}.attn.") + canonical, choice, "attention_roles",
       filled(expr, spelling),
       fmt::format("{:.0f} %: {}", 100 * p.guess.confidence[r], p.guess.why[r]), true);
}

void Drafter::query_lines(const AttentionParts& p) {
  const AttentionGuess& guess = p.guess;
  if (p.two_parts) {
    std::vector<std::string> orders = {"in each head content, rotated",
                                       "in each head rotated, content"};
    // Keys that lie in one matrix with more are parted within each head.
    if (guess.has(R::q) && !(guess.has(R::kv) && p.whole)) {
      orders.push_back("content of all heads, rotated of all heads");
      orders.push_back("rotated of all heads, content of all heads");
    }
    ask_choice("query_order", "where the content and the rotated rows lie in queries", orders,
               "look for split() on the query in the attention's forward");
    dim("q_nope_begin", "if(query_order == 1 or query_order == 3, 0, qk_rope_head_dim)", 0);
    dim("q_rope_begin", "if(query_order == 1 or query_order == 3, qk_nope_head_dim, 0)", 0);
  }
  const std::string split = fmt::format("$.split(0, {})", kHeads);
  if (guess.has(R::q_down)) put(p, "q_down", R::q_down, "$");
  if (guess.has(R::q_nope)) put(p, "q_nope", R::q_nope, split);
  if (guess.has(R::q_rope)) put(p, "q_rope", R::q_rope, split);
  if (!guess.has(R::q)) return;
  put(p, "q_nope", R::q,
      p.two_parts ? part("query_order", kHeads, "q_nope_begin", "qk_nope_head_dim") : split);
  put(p, "q_rope", R::q,
      p.two_parts ? part("query_order", kHeads, "q_rope_begin", "qk_rope_head_dim") : split);
}

void Drafter::latent_lines(const AttentionParts& p) {
  const AttentionGuess& guess = p.guess;
  const std::string rope_heads = p.w.shared_rope_key ? "1" : p.kv;
  if (guess.has(R::kv_down)) put(p, "kv_down", R::kv_down, "$");
  if (guess.has(R::k_rope)) put(p, "k_rope", R::k_rope, fmt::format("$.split(0, {})", rope_heads));
  if (!guess.has(R::kv_down_rope)) return;
  ask_choice("latent_order", "where the latent's rows and the rotated key's lie",
             {"latent, rotated key", "rotated key, latent"},
             "look for split() on the compressed keys and values");
  const Matrix& down = p.matrix(R::kv_down_rope);
  dim("latent_begin",
      fmt::format("if(latent_order == 1, 0, {}[{}] - kv_lora_rank)", first_of(down.group),
                  down.out_axis()),
      0);
  dim("rope_key_begin", "if(latent_order == 1, kv_lora_rank, 0)", 0);
  put(p, "kv_down", R::kv_down_rope, "$.slice(0, latent_begin, latent_begin + kv_lora_rank)");
  put(p, "k_rope", R::kv_down_rope,
      fmt::format(
          "$.slice(0, rope_key_begin, rope_key_begin + {0} * qk_rope_head_dim).split(0, {0})",
          rope_heads));
}

void Drafter::key_value_lines(const AttentionParts& p) {
  const AttentionGuess& guess = p.guess;
  const std::string split = fmt::format("$.split(0, {})", p.kv);
  const bool parted = p.whole && p.two_parts;
  if (guess.has(R::k)) {
    put(p, "k_nope", R::k,
        parted ? part("query_order", p.kv, "q_nope_begin", "qk_nope_head_dim") : split);
    if (p.whole)
      put(p, "k_rope", R::k,
          parted ? part("query_order", p.kv, "q_rope_begin", "qk_rope_head_dim") : split);
  }
  if (guess.has(R::v)) put(p, "v", R::v, split);
  if (!guess.has(R::kv)) return;
  const std::string key = p.whole ? "head_dim" : "qk_nope_head_dim";
  ask_choice("kv_order", "where keys and values lie in their matrix",
             {"in each head key, value", "in each head value, key",
              "keys of all heads, values of all heads", "values of all heads, keys of all heads"},
             "look for split() or chunk() on keys and values");
  dim("key_begin", "if(kv_order == 1 or kv_order == 3, 0, v_head_dim)", 0);
  dim("value_begin", fmt::format("if(kv_order == 1 or kv_order == 3, {}, 0)", key), 0);
  const std::string keys = part("kv_order", p.kv, "key_begin", key);
  put(p, "k_nope", R::kv, parted ? within(keys, "q_nope_begin", "qk_nope_head_dim") : keys);
  if (p.whole)
    put(p, "k_rope", R::kv, parted ? within(keys, "q_rope_begin", "qk_rope_head_dim") : keys);
  put(p, "v", R::kv, part("kv_order", p.kv, "value_begin", "v_head_dim"));
}

void Drafter::fused_lines(const AttentionParts& p) {
  ask_choice(
      "qkv_order", "where queries, keys and values lie in their matrix",
      {"all queries, all keys, all values", "for each key head its queries, its key, its value"},
      "look for split(), chunk() or view() on it");
  dim("group", fmt::format("{} / {}", kHeads, p.kv), 0);
  const auto third = [&](const std::string& begin_all, const std::string& end_all,
                         const std::string& begin, const std::string& end,
                         const std::string& heads) {
    return fmt::format(
        "if(qkv_order == 1, $.slice(0, {0}, {1}).split(0, {4}), $.split(0, {5}).slice(1, {2}, "
        "{3}).merge(0).split(0, {4}))",
        begin_all, end_all, begin, end, heads, p.kv);
  };
  const std::string q_end = fmt::format("{} * head_dim", kHeads),
                    k_end = fmt::format("({} + {}) * head_dim", kHeads, p.kv),
                    v_end = fmt::format("({} + 2 * {}) * head_dim", kHeads, p.kv);
  const std::string q = third("0", q_end, "0", "group * head_dim", kHeads);
  const std::string k = third(q_end, k_end, "group * head_dim", "(group + 1) * head_dim", p.kv);
  for (const auto& [role, all] : {std::pair("q", q), std::pair("k", k)}) {
    const std::string nope = std::string(role) + "_nope", rope = std::string(role) + "_rope";
    put(p, nope.c_str(), R::qkv,
        p.two_parts ? within(all, "q_nope_begin", "qk_nope_head_dim") : all);
    put(p, rope.c_str(), R::qkv,
        p.two_parts ? within(all, "q_rope_begin", "qk_rope_head_dim") : all);
  }
  put(p, "v", R::qkv,
      third(k_end, v_end, "(group + 1) * head_dim", "(group + 2) * head_dim", p.kv));
}

void Drafter::output_line(const AttentionParts& p) {
  if (!p.w.padded_values) return put(p, "o", R::o, "$");
  // The columns that meet zeros play no part.
  const Module& o = p.module(R::o);
  dim("value_begin", "if(value_place == 1, 0, qk_rope_head_dim)", 0);
  tensors_.push_back(
      {toml_string("layers.{l}.attn.o.weight"),
       toml_string(filled(fmt::format("{}.split(1, {}).slice(2, value_begin, value_begin + "
                                      "qk_nope_head_dim).merge(1)",
                                      p.matrix(R::o).spelling, kHeads),
                          term(o.weight->pattern))),
       "", true});
  if (o.bias != nullptr) {
    tensors_.push_back(
        {toml_string("layers.{l}.attn.o.bias"), toml_string(term(o.bias->pattern)), "", true});
  }
}

// What each matrix is held to in every layer.
void Drafter::attention_shapes(const AttentionParts& p) {
  const AttentionGuess& guess = p.guess;
  const std::string d = "hidden_size", q_in = guess.q_rank > 0 ? "q_lora_rank" : d,
                    kv_in = guess.kv_rank > 0 ? "kv_lora_rank" : d;
  const std::string nope = p.whole ? "head_dim" : "qk_nope_head_dim",
                    rope_heads = p.w.shared_rope_key ? "1" : p.kv;
  const std::map<R, std::pair<std::string, std::string>> held = {
      {R::q_down, {"q_lora_rank", d}},
      {R::q, {times(kHeads, "head_dim"), q_in}},
      {R::q_nope, {times(kHeads, "qk_nope_head_dim"), q_in}},
      {R::q_rope, {times(kHeads, "qk_rope_head_dim"), q_in}},
      {R::kv_down, {"kv_lora_rank", d}},
      {R::kv_down_rope, {"kv_lora_rank + " + times(rope_heads, "qk_rope_head_dim"), d}},
      {R::k, {times(p.kv, nope), kv_in}},
      {R::v, {times(p.kv, "v_head_dim"), kv_in}},
      {R::kv, {times(p.kv, "(" + nope + " + v_head_dim)"), kv_in}},
      {R::k_rope,
       {times(rope_heads, "qk_rope_head_dim"),
        guess.has(R::k_rope) && p.matrix(R::k_rope).cols != hidden_ ? kv_in : d}},
      {R::qkv, {"(" + std::string(kHeads) + " + 2 * " + p.kv + ") * head_dim", d}},
      {R::o, {d, times(kHeads, p.w.padded_values ? "head_dim" : "v_head_dim")}}};
  for (std::size_t r = 0; r < guess.roles.size(); ++r) {
    const Matrix& m = p.matrices[guess.assignments[0][r]];
    const auto& [out, in] = held.at(guess.roles[r]);
    if (m.group->shape.size() != 2 || m.group->has("h")) continue;
    shape(m.group, m.turned ? std::vector{in, out} : std::vector{out, in});
  }
}

void Drafter::attention_biases(const AttentionParts& p) {
  const AttentionGuess& guess = p.guess;
  const auto bias = [&](R role) { return guess.has(role) && p.module(role).bias != nullptr; };
  const auto set = [&](const char* path, bool on) {
    if (on) field(std::string("attention.") + path, "true");
  };
  set("q_down_bias", bias(R::q_down));
  set("q_bias", bias(R::q) || bias(R::q_nope) || bias(R::q_rope) || bias(R::qkv));
  set("kv_down_bias", bias(R::kv_down) || bias(R::kv_down_rope));
  bool whole_bias = p.whole && (bias(R::k) || bias(R::kv) || bias(R::qkv));
  if (whole_bias && rope_unsure_) {
    field("attention.k_rope_bias", toml_string("rotation == 1"));
  } else {
    set("k_rope_bias", bias(R::k_rope) || bias(R::kv_down_rope) || (whole_bias && p.w.rope > 0));
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
