// The attention of a layer as lines of a recipe; see drafter.h and attention.h.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "draft/drafter.h"

namespace wb::draft {

namespace {

using R = AttentionRole;

// nn.Linear keeps its weight as [out, in], under that name. A bare parameter may be either way.
bool is_linear(const Module& m) { return m.plain_names; }

// The other reading of a bare parameter, [in, out], where its shape tells the two apart.
std::optional<Matrix> turned(const Module& m, const Matrix& straight) {
  if (is_linear(m) || straight.heads != 0 || straight.rows == straight.cols) return std::nullopt;
  Matrix out = straight;
  std::swap(out.rows, out.cols);
  out.spelling = "$.t()";
  out.turned = true;
  return out;
}

std::optional<Matrix> matrix_of(const Module& m, std::size_t owner) {
  const Group& g = *m.weight;
  Matrix out;
  out.group = &g;
  out.owner = owner;
  out.features = m.features;
  for (const std::string& v : g.variables) {
    if (v != "l" && v != "h") return std::nullopt;
  }
  if (g.shape.size() == 2) {
    out.rows = g.shape[0];
    out.cols = g.shape[1];
    out.either = !is_linear(m) && out.rows == out.cols && !g.has("h");
    return out;
  }
  if (g.shape.size() != 3) return std::nullopt;
  out.heads = g.shape[0];  // [heads, width, in]
  out.rows = g.shape[0] * g.shape[1];
  out.cols = g.shape[2];
  out.spelling = "$.merge(0)";
  return out;
}

}  // namespace

bool Drafter::attention(std::vector<Module*> modules, const std::vector<Module*>& vectors) {
  std::vector<Matrix> matrices;
  const std::size_t tensors = modules.size();
  for (std::size_t i = 0; i < tensors; ++i) {
    Module* m = modules[i];
    std::optional<Matrix> matrix = matrix_of(*m, i);
    if (!matrix) return false;
    if (auto count = names_.counts.find("h"); m->weight->has("h") && count != names_.counts.end()) {
      matrix->heads = count->second;
      matrix->rows *= count->second;
      matrix->spelling = "concat_over(h, 0, $)";
    }
    matrices.push_back(std::move(*matrix));
  }
  for (std::size_t i = 0; i < tensors; ++i) {  // `modules` goes beside `matrices`
    std::optional<Matrix> other = turned(*modules[i], matrices[i]);
    if (!other) continue;
    matrices.push_back(std::move(*other));
    modules.push_back(modules[i]);
  }
  AttentionHints hints;
  hints.hidden = hidden_;
  hints.rope_dim = rope_dim_;
  hints.learned_positions = learned_positions_ && !has_rope_;
  for (const Module* v : vectors) {
    hints.vector_sizes.push_back(v->weight->shape[0]);
    if (v->features.norm && (v->features.q || v->features.k) && !v->features.latent)
      hints.head_sizes.push_back(v->weight->shape[0]);
  }
  std::optional<AttentionGuess> guess = guess_attention(matrices, hints);
  if (!guess) return false;
  if (!guess->rival.empty()) {
    draft_.notes.push_back("The attention could as well be built another way (" + guess->rival +
                           "); if no answer fits, that is the way to try.");
  }
  if (std::any_of(modules.begin(), modules.end(),
                  [](const Module* m) { return m->weight->has("h"); })) {
    index_.emplace_back("h", std::to_string(names_.counts.at("h")));
  }
  if (guess->orientation_unsure) {
    draft_.notes.push_back(
        "Whether bare parameters of the attention are [out, in] or [in, out] is not clear; if no "
        "answer fits, try the other for those without .t().");
  }
  for (std::size_t r = 0; r < guess->roles.size(); ++r) {
    const Module& m = *modules[guess->assignments[0][r]];
    settle(m, in_words(guess->roles[r]), guess->confidence[r], guess->why[r]);
    recognise_.push_back(m.weight->first_name);
  }
  std::vector<std::string> roles;
  for (R role : guess->roles) roles.emplace_back(in_words(role));
  ask_roles("attention_roles", "which matrix is which", roles, guess->assignments,
            {modules.begin(), modules.end()}, "read the attention's forward");
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
  if (has_rope_ || rope_unsure_) rope_fields(*guess);
  return true;
}

void Drafter::rope_fields(const AttentionGuess& guess) {
  if (half_split_) {
    field("rope.layout", toml_string(*half_split_ ? "half_split" : "interleaved"),
          "by the columns of the rope table");
  } else {
    open("rope.layout");
  }
  std::vector<std::string> said = facts({"rope_theta", "rope_base", "theta"});
  const std::uint64_t width = guess.widths[0].rope;
  // A buffer for another width than what is rotated holds frequencies of another base.
  const bool fits = rope_unsure_ || rope_dim_ == width;
  if (rope_base_ && fits) {
    field("rope.base",
          fmt::format("{}{}", *rope_base_, *rope_base_ == std::floor(*rope_base_) ? ".0" : ""),
          "by the rope buffer");
  } else if (!said.empty() && fits) {
    field("rope.base", toml_string("fact('" + said[0] + "')"), "stands beside the tensors");
  } else {
    if (rope_base_) {
      draft_.notes.push_back(fmt::format(
          "The rope buffer is for {0} rows and {1} are rotated. If the first of its frequencies "
          "are "
          "used, rope.base is {2}^({1} / {0}) = {3}.",
          rope_dim_, width, *rope_base_, std::pow(*rope_base_, double(width) / double(rope_dim_))));
    }
    open("rope.base");
  }
  assume("rope.span", toml_string("head"), "each head is turned by itself");
  assume("rope.scaling", toml_string("none"), "nothing speaks of linear or YaRN scaling",
         {"rope.factor", "rope.original_max_position_embeddings", "rope.beta_fast",
          "rope.beta_slow", "rope.mscale", "rope.mscale_all_dim"});
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
  if (rope_key_unsure_ && kv == nullptr && guess.kv_rank != hidden_) {
    field("attention.rope_key_from", toml_string("raw_latent"),
          "by its shape; the latent has no norm");
  } else if (rope_key_unsure_) {
    open("attention.rope_key_from");
  }
  const Module* q = guess.q_rank == 0 ? nullptr : take([&](const Module& m) {
    return size(m) == guess.q_rank && (!same_rank || !m.features.kv);
  });
  norm("q_norm", q, "norm of the query latent", "q_norm", 0.97);
  const auto per_head = [&](const Module& m) {
    return std::any_of(guess.widths.begin(), guess.widths.end(),
                       [&](const HeadWidths& w) { return w.nope + w.rope == size(m); });
  };
  const auto content = [&](const Module& m) {
    const HeadWidths& w = guess.widths[0];
    return guess.widths.size() == 1 && w.nope == size(m) && w.rope > 0;
  };
  const Module* qh =
      take([&](const Module& m) { return (per_head(m) || content(m)) && q_named(m); });
  if (qh != nullptr) norm("q_head_norm", qh, "norm of each head's query", "q_head_norm", 0.9);
  const Module* kh =
      take([&](const Module& m) { return (per_head(m) || content(m)) && m.features.k; });
  if (kh != nullptr) norm("k_head_norm", kh, "norm of each head's key", "k_head_norm", 0.9);
  const bool parted = (qh != nullptr && content(*qh)) || (kh != nullptr && content(*kh));
  if (parted) field("attention.head_norm_part", toml_string("content"), "by its length");
}

}  // namespace wb::draft
