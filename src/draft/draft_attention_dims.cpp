// Heads and widths of the attention as lines of [dims] and [model]; see drafter.h and attention.h.
#include <fmt/format.h>

#include <algorithm>

#include "draft/drafter.h"

namespace wb::draft {

namespace {

using R = AttentionRole;
constexpr const char* kHeads = "num_attention_heads";

}  // namespace

void Drafter::head_count(const AttentionGuess& guess, const std::vector<Matrix>& matrices) {
  std::set<std::uint64_t> counts;
  for (const HeadWidths& w : guess.widths) counts.insert(w.heads);
  const auto tensor = [&](R role) -> const Matrix& {
    return matrices[guess.assignments[0][guess.index(role)]];
  };
  const HeadWidths& w = guess.widths[0];
  if (counts.size() == 1) {
    std::string expr = std::to_string(w.heads), why = "the only count that all shapes allow";
    const auto rows = [&](R role) {
      return fmt::format("{}[{}]", first_of(tensor(role).group), tensor(role).out_axis());
    };
    if (guess.has(R::q_rope) && guess.has(R::k_rope) && w.shared_rope_key &&
        tensor(R::q_rope).heads == 0) {
      expr = rows(R::q_rope) + " / " + rows(R::k_rope);
      why = "";
    } else if (guess.has(R::q_rope) && rope_dim_ != 0 && tensor(R::q_rope).heads == 0) {
      expr = rows(R::q_rope) + " / qk_rope_head_dim";
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
    return m.heads != 0 ? fmt::format("{0}[0] * {0}[1]", name(role))
                        : fmt::format("{}[{}]", name(role), m.out_axis());
  };
  const auto cols = [&](R role) {
    return fmt::format("{}[{}]", name(role), matrix(role).in_axis());
  };
  const HeadWidths& w = guess.widths[0];
  if (guess.q_rank > 0) dim("q_lora_rank", rows(R::q_down), guess.q_rank);
  if (guess.has(R::kv_down)) dim("kv_lora_rank", rows(R::kv_down), guess.kv_rank);
  if (guess.has(R::kv_down_rope)) {
    dim("kv_lora_rank", cols(guess.has(R::k) ? R::k : R::kv), guess.kv_rank);
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
    dim("v_head_dim", fmt::format("{} / {}", cols(R::o), kHeads), known(w.v));
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
                           ? fmt::format("({} / v_head_dim - {}) / 2", rows(R::qkv), kHeads)
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
    rope_key_unsure_ = true;  // attention_norms() asks, once it knows whether there is a norm
  } else {
    field("attention.rope_key_from", toml_string("input"), "by its shape");
  }
  if (!guess.has(R::v) && !guess.has(R::kv) && !guess.has(R::qkv)) {
    field("attention.value_is_key_content", "true", "nothing else makes values");
  }
}

}  // namespace wb::draft
