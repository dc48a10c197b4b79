// The list of usual values; see unknowns.h. A field that ModelSpec gains needs a row
// here only when its words are not all of what is usual.
#include "solve/unknowns.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/error.h"

namespace wb {

namespace {

using nlohmann::json;
using Values = std::vector<json>;
using Make = std::function<Values(const ModelSpec&)>;

// So many whole numbers in a row are the beginning of all of them (recipe/questions.cpp).
constexpr std::size_t kEndless = 64;

double num(std::uint64_t v) { return static_cast<double>(v); }

// Epsilons of published code: its own, LayerNorm's default, RMSNorm's default (of f32).
Values epsilons(const ModelSpec&) {
  return {1e-6,  1e-5, 1e-8, static_cast<double>(std::numeric_limits<float>::epsilon()),
          1e-12, 1e-7, 1e-9, 1e-4,
          1e-3,  0.0};
}
Values bases(const ModelSpec&) {
  return {10000.0, 500000.0, 1e6,     100000.0, 50000.0, 5e6,
          1e7,     1000.0,   20000.0, 160000.0, 8e6,     100.0};
}
// Without the numbers that equal `number`, which another entry stands for already.
Values without(Values values, double number) {
  if (number == 0) return values;
  std::erase_if(values, [&](const json& v) {
    return v.get<double>() != 0 && std::fabs(v.get<double>() - number) <= 1e-15 * number;
  });
  return values;
}
Values scales(const ModelSpec& s) {
  const AttentionSpec& a = s.attention;
  const double nope = num(a.qk_nope_head_dim), rope = num(a.qk_rope_head_dim);
  const double heads = std::max(1.0, num(a.num_attention_heads));
  Values out = {0.0};  // (nope + rope)^-0.5
  for (double width : {nope, rope, num(a.v_head_dim), num(s.hidden_size) / heads,
                       num(a.kv_lora_rank), num(s.hidden_size), num(a.q_lora_rank),
                       (nope + rope) * heads, nope + rope + num(a.v_head_dim)}) {
    if (width > 0) out.push_back(1 / std::sqrt(width));
  }
  out.push_back(1.0);
  for (double width : {nope + rope, nope, rope}) {
    if (width > 0) out.push_back(1 / width);
  }
  return without(out, nope + rope > 0 ? 1 / std::sqrt(nope + rope) : 0.0);
}
// 0 is the other scale, so that number itself is not tried again.
Values scales_rope(const ModelSpec& s) {
  Values out = scales(s);
  const double sum = num(s.attention.qk_nope_head_dim + s.attention.qk_rope_head_dim);
  if (sum > 0) out.push_back(1 / std::sqrt(sum));
  return without(out, sum > 0 ? s.scale_nope() : 0.0);
}
Values latent_factors(const ModelSpec& s) {
  const double rank = num(s.attention.kv_lora_rank), hidden = num(s.hidden_size);
  Values out = {1.0};
  if (rank == 0) return out;
  for (double v : {std::sqrt(hidden / rank), std::sqrt(rank), 1 / std::sqrt(rank),
                   std::sqrt(rank / hidden), std::sqrt(hidden)}) {
    out.emplace_back(v);
  }
  return out;
}
Values key_factors(const ModelSpec& s) {
  Values out = {1.0};
  for (std::uint64_t n : {s.attention.num_attention_heads, s.attention.qk_rope_head_dim,
                          s.attention.qk_nope_head_dim}) {
    if (n == 0) continue;
    for (double v : {1 / num(n), 1 / std::sqrt(num(n)), std::sqrt(num(n))}) out.emplace_back(v);
  }
  return out;
}
Values shared_scales(const ModelSpec& s) {
  Values out = {1.0};
  for (int n = 2; n <= 8; ++n) out.emplace_back(1.0 / n);
  for (double v : {0.1, 0.3, 0.7, 0.0, 2.0}) out.emplace_back(v);
  if (s.router.num_experts_per_tok > 0) {
    out.emplace_back(1.0 / num(s.router.num_experts_per_tok + 1));
  }
  return out;
}
Values routed_factors(const ModelSpec& s) {
  Values out = {1.0, 2.5, 16.0, 2.0, 0.5, 1.5, 2.446, 2.827, 1.8, 0.1};
  const double k = num(s.router.num_experts_per_tok), e = num(s.moe.n_routed_experts);
  if (k > 0) {
    for (double v : {k, 1 / k, std::sqrt(k), 1 / std::sqrt(k), e, 1 / e, e / k}) {
      out.emplace_back(v);
    }
  }
  return out;
}
Values wholes(std::uint64_t from, std::uint64_t to) {
  Values out;
  for (std::uint64_t v = from; v <= to; ++v) out.emplace_back(v);
  return out;
}
// The divisors of n, small ones first.
Values divisors(std::uint64_t n) {
  Values out;
  for (std::uint64_t v = 1; v <= n && v <= 1024; ++v) {
    if (n % v == 0) out.emplace_back(v);
  }
  return out;
}
Values contexts(const ModelSpec& s) {
  Values out = {s.max_position_embeddings};
  for (std::uint64_t v = 16; v <= 131072; v *= 2) out.emplace_back(v);
  return out;
}
Make only(const Values& values) {
  return [values](const ModelSpec&) { return values; };
}
// silu_clipped is what one loader makes of silu: no source computes it.
Values activations(const ModelSpec&) { return {"silu", "gelu_erf", "gelu_tanh", "relu"}; }
Values norm_kinds(const ModelSpec&) { return {"rms", "layer", "none"}; }

struct Row {
  const char* path;
  bool later;
  double least, most;  // of a real number; 0, 0 = as listed only
  Make values;         // empty: the field's words, or true and false
};

const std::vector<Row>& rows() {
  static const std::vector<Row> table = {
      {"rope.layout", true, 0, 0, nullptr},
      {"rope.base", true, 10, 1e9, bases},
      {"rope.span", true, 0, 0, nullptr},
      {"rope.scaling", true, 0, 0, only({"none", "linear", "yarn"})},
      {"rope.factor", true, 0.1, 200, only({1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 40.0, 64.0})},
      {"rope.original_max_position_embeddings", true, 0, 0, contexts},
      {"rope.beta_fast", true, 0, 0, only({32.0, 16.0, 64.0, 4.0})},
      {"rope.beta_slow", true, 0, 0, only({1.0, 2.0, 0.5})},
      {"rope.mscale", true, 0.01, 10, only({1.0, 0.707, 0.0, 0.8})},
      {"rope.mscale_all_dim", true, 0.01, 10, only({0.0, 1.0, 0.707, 0.8})},
      {"attention.softmax_scale", true, 1e-4, 20, scales},
      {"attention.softmax_scale_rope", true, 1e-4, 20, scales_rope},
      {"attention.rope_key_from", true, 0, 0, nullptr},
      {"attention.rope_key_factor", true, 1e-4, 1e4, key_factors},
      {"attention.rope_keys", true, 0, 0, nullptr},
      {"attention.head_norm_part", true, 0, 0, nullptr},
      {"attention.kv_latent_factor", false, 1e-3, 1e3, latent_factors},
      {"attention.q_norm.eps", true, 1e-13, 0.1, epsilons},
      {"attention.q_norm.eps_outside_root", true, 0, 0, nullptr},
      {"attention.q_head_norm.eps", true, 1e-13, 0.1, epsilons},
      {"attention.q_head_norm.eps_outside_root", true, 0, 0, nullptr},
      {"attention.k_head_norm.eps", true, 1e-13, 0.1, epsilons},
      {"attention.k_head_norm.eps_outside_root", true, 0, 0, nullptr},
      {"attention.q_norm.kind", true, 0, 0, only({"none", "rms", "layer"})},
      {"attention.q_head_norm.kind", true, 0, 0, only({"none", "rms", "layer"})},
      {"attention.k_head_norm.kind", true, 0, 0, only({"none", "rms", "layer"})},
      {"attention.num_key_value_heads", false, 0, 0,
       [](const ModelSpec& s) { return divisors(s.attention.num_attention_heads); }},
      {"attention.num_attention_heads", false, 0, 0,
       [](const ModelSpec& s) { return divisors(s.hidden_size); }},
      {"moe.shared_scale", false, 1e-3, 1e3, shared_scales},
      {"moe.first_k_dense_replace", false, 0, 0,
       [](const ModelSpec& s) { return wholes(0, s.num_hidden_layers); }},
      {"moe.moe_layer_offset", false, 0, 0,
       [](const ModelSpec& s) {
         return wholes(0, std::max<std::uint64_t>(1, s.num_hidden_layers) - 1);
       }},
      {"moe.moe_layer_freq", false, 0, 0,
       [](const ModelSpec& s) {
         return wholes(1, std::max<std::uint64_t>(1, s.num_hidden_layers));
       }},
      {"router.num_experts_per_tok", false, 0, 0,
       [](const ModelSpec& s) {
         return wholes(1, std::clamp<std::uint64_t>(s.moe.n_routed_experts, 1, 64));
       }},
      {"max_position_embeddings", false, 0, 0, contexts},
      // Tied first: where the weights allow it, the two are one matrix.
      {"tie_word_embeddings", false, 0, 0, only({true, false})},
      {"router.score", false, 0, 0, nullptr},
      {"router.expert_bias", false, 0, 0, nullptr},
      {"router.norm_topk_prob", false, 0, 0, nullptr},
      {"router.norm_min", false, 1e-21, 1e3, only({0.0, 1e-12, 1e-9, 1e-6, 1.0})},
      // None, and those that public code has.
      {"router.logit_clamp", false, 0, 0, only({json::array(), json::array({-50.0, 50.0})})},
      {"router.weight_clamp", false, 0, 0, only({json::array(), json::array({1e-8, 1.0})})},
      {"router.norm_eps", false, 1e-21, 1, only({0.0, 1e-20, 1e-6, 1e-8, 1e-9, 1e-12})},
      {"router.routed_scaling_factor", false, 1e-3, 1e3, routed_factors},
      {"router.n_group", false, 0, 0,
       [](const ModelSpec& s) { return divisors(s.moe.n_routed_experts); }},
      {"router.topk_group", false, 0, 0,
       [](const ModelSpec& s) {
         return wholes(1, std::clamp<std::uint64_t>(s.router.n_group, 1, 64));
       }},
      {"router.group_score", false, 0, 0, nullptr},
      {"router.group_mask", false, 0, 0, nullptr},
  };
  return table;
}

Row by_last_part(const std::string& path) {
  const std::string last = path.substr(path.rfind('.') + 1);
  if (last == "eps") return {"", false, 1e-13, 0.1, epsilons};
  if (last == "eps_outside_root") return {"", false, 0, 0, nullptr};
  if (last == "activation") return {"", false, 0, 0, activations};
  if (last == "kind") return {"", false, 0, 0, norm_kinds};
  return {"", false, 0, 0, nullptr};
}

Row row_of(const std::string& path) {
  for (const Row& row : rows()) {
    if (path == row.path) return row;
  }
  return by_last_part(path);
}

// The groups below do nothing after the last layer; anything else may.
bool acts_in_head(const std::string& path) {
  for (const char* group :
       {"attention.", "rope.", "moe.", "router.", "dense.", "mtp", "positions"}) {
    if (path.starts_with(group)) return false;
  }
  return true;
}

const FieldInfo& field_of(const std::string& path) {
  for (const FieldInfo& field : spec_fields()) {
    if (field.path == path) return field;
  }
  WB_BUG("an unknown that is no field");
}

bool same_value(const json& a, const json& b) {
  if (!a.is_number() || !b.is_number()) return a == b;
  const double x = a.get<double>(), y = b.get<double>();
  return x == y || std::fabs(x - y) <= 4e-16 * std::fabs(x);
}

void add_once(Values& out, const json& value) {
  for (const json& known : out) {
    if (same_value(known, value)) return;
  }
  out.push_back(value);
}

}  // namespace

namespace {

// A real number between bounds of the recipe's own: the default where it is one of them, and 1.
void within_bounds(Unknown& u, const Question& q) {
  u.least = q.least;
  u.most = q.most;
  u.listed.clear();
  for (const double value : {q.default_value.get<double>(), 1.0}) {
    if (q.least <= value && value <= q.most) add_once(u.listed, value);
  }
  if (u.listed.empty()) u.listed = {std::sqrt(q.least * q.most)};
}

}  // namespace

std::vector<Unknown> unknowns_of(const std::vector<Question>& questions) {
  std::vector<Unknown> out;
  for (const Question& q : questions) {
    Unknown u;
    u.key = q.key;
    u.help = q.help;
    u.setting = q.kind == Question::Kind::setting;
    u.head = u.setting;
    if (u.setting) {
      // The default first: it is the recipe's own guess. One out of range is none, as in drafts.
      const auto& listed = q.candidates;
      const bool guess = listed.empty() ||
                         std::find(listed.begin(), listed.end(), q.default_value) != listed.end();
      if (guess) add_once(u.listed, q.default_value);
      for (const json& value : listed) add_once(u.listed, value);
      add_once(u.listed, q.default_value);
      u.endless = q.default_value.is_number_integer() && listed.size() >= kEndless;
      u.real = q.default_value.is_number_float() && q.candidates.empty();
      const double value = u.real ? std::fabs(q.default_value.get<double>()) : 0;
      u.least = value > 0 ? value * 1e-3 : 1e-6;
      u.most = value > 0 ? value * 1e3 : 1e3;
      if (u.real && 0 < q.least && q.least < q.most) within_bounds(u, q);
    } else {
      const Row row = row_of(q.key);
      u.later = row.later;
      u.head = acts_in_head(q.key);
      u.group = q.key.substr(0, std::min(q.key.rfind('.'), q.key.size()));
      u.real = row.most > 0;
      u.least = row.least;
      u.most = row.most;
    }
    out.push_back(std::move(u));
  }
  return out;
}

void learn_from_fields(Unknown& setting, const std::vector<std::string>& fields) {
  setting.later = !fields.empty();
  setting.head = fields.empty();
  for (const std::string& path : fields) {
    const Row row = row_of(path);
    setting.later = setting.later && row.later;
    setting.head = setting.head || acts_in_head(path);
    if (setting.group.empty()) setting.group = path.substr(0, path.rfind('.'));
    if (!row.values || !setting.usual_of.empty()) continue;
    if (setting.real) {
      setting.usual_of = path;
      if (row.most > 0) {
        setting.least = row.least;
        setting.most = row.most;
      }
    }
    if (setting.endless) {
      setting.usual_of = path;
      // Lengths are no small numbers: the default, and those that are usual.
      if (path.ends_with("max_position_embeddings")) setting.listed = {setting.listed.back()};
    }
  }
}

std::vector<json> values_to_try(const Unknown& unknown, const ModelSpec& spec) {
  if (!unknown.listed.empty()) {
    Values out = unknown.listed;
    if (unknown.usual_of.empty()) return out;
    for (const json& value : row_of(unknown.usual_of).values(spec)) add_once(out, value);
    return out;
  }
  const FieldInfo& field = field_of(unknown.key);
  const Row row = row_of(unknown.key);
  Values out;
  if (row.values) {
    for (const json& value : row.values(spec)) add_once(out, value);
  } else if (field.kind == FieldKind::boolean) {
    out = {false, true};
  } else if (field.kind == FieldKind::enumeration) {
    for (const std::string& word : field.enum_values) out.emplace_back(word);
  } else if (field.kind == FieldKind::reals) {
    out = {json::array()};
  } else if (field.kind == FieldKind::real) {
    out = {1.0, 0.0};
  }
  const json was = [&] {
    std::string p = "/" + unknown.key;
    std::replace(p.begin(), p.end(), '.', '/');
    return to_json(spec).at(json::json_pointer(p));
  }();
  if (out.empty()) out = {was};
  return out;
}

}  // namespace wb
