// Attention in the stock class, exactly: docs/mappings.md, "stock", derives each step.
// All of it is views, but for the folded query product and constant factors on rows,
// which are computed in f64 and rounded once.
#include <algorithm>
#include <cmath>

#include "target/stock.h"
#include "tensor/read.h"

namespace wb {

namespace {

constexpr int kSwapInner[] = {0, 2, 1, 3};
constexpr int kSwapOuter[] = {1, 0, 2, 3};

// Half-split rope rows of all heads, [H, R, in], as the rows of one key of H * R: pair j of
// head h becomes pair h * R/2 + j of the whole.
Tensor side_by_side(const Tensor& rows) {
  Shape s = rows.shape();
  return rows.reshape({s[0], 2, s[1] / 2, s[2]})
      .permute(kSwapOuter)
      .reshape({1, checked_mul(s[0], s[1], "rope rows"), s[2]});
}

// The queries to go with it: head h is zero outside its own slots. [H, H * R, in].
Tensor in_own_slots(const Tensor& rows) {
  Shape s = rows.shape();
  std::uint64_t half = s[1] / 2;
  std::vector<Tensor> heads;
  for (std::uint64_t h = 0; h < s[0]; ++h) {
    heads.push_back(rows.slice(0, h, h + 1)
                        .reshape({2, half, s[2]})
                        .pad(1, h * half, (s[0] - 1 - h) * half)
                        .reshape({1, checked_mul(s[0], s[1], "rope rows"), s[2]}));
  }
  return Tensor::concat(0, heads);
}

class Attention {
 public:
  explicit Attention(const StockLayer& layer)
      : l_(layer), p_(layer.plan), spec_(layer.source.spec()), a_(spec_.attention) {}

  void write() {
    queries();
    keys_and_values();
    output();
  }

 private:
  // [heads, rows, in] of the source: nope or rope queries, times `factor`, folded with the
  // latent's projection where the plan says so.
  Tensor query_rows(const std::string& canonical, double factor) const {
    using Query = StockPlan::Query;
    if (p_.query != Query::folded && p_.query != Query::freed) return l_.scaled(canonical, factor);
    const Tensor& up = l_.source.raw(l_.name(canonical));
    Tensor product =
        Tensor::matmul(flatten_heads(up), l_.source.raw(l_.name("attn.q_down.weight")), DType::F64);
    if (factor != 1.0) product = product.scale(factor);
    return product.cast(l_.source.dtype_of(l_.name(canonical)))
        .reshape({up.shape()[0], up.shape()[1], spec_.hidden_size});
  }

  void queries() {
    using Query = StockPlan::Query;
    std::vector<Tensor> parts;
    if (a_.qk_nope_head_dim > 0) parts.push_back(query_rows("attn.q_nope.weight", p_.scale_nope));
    Tensor rope = rope_rows(query_rows("attn.q_rope.weight", p_.scale_rope), spec_.rope.layout,
                            p_.rope_layout);
    parts.push_back(p_.slots ? in_own_slots(rope) : rope);
    Tensor all = flatten_heads(concat_any(1, parts));
    if (p_.query == Query::direct || p_.query == Query::folded) {
      l_.put("self_attn.q_proj.weight", l_.wide(all, 1));
      return;
    }
    l_.put("self_attn.q_b_proj.weight", all);
    if (p_.query == Query::latent) {
      l_.put("self_attn.q_a_proj.weight",
             l_.wide(l_.scaled("attn.q_down.weight", p_.q_latent_gain), 1));
      l_.put("self_attn.q_a_layernorm.weight", l_.get("attn.q_norm.weight"));
    } else {
      free_of_input_norm();
    }
    if (!p_.biases) return;
    if (l_.has("attn.q_down.bias")) {
      l_.put("self_attn.q_a_proj.bias", l_.scaled("attn.q_down.bias", p_.q_latent_gain));
    } else {
      l_.make_up("self_attn.q_a_proj.bias", zeros_like("attn.q_down.weight", p_.q_lora_rank));
    }
  }

  // The input freed of its norm's weight has RMS 1, so that the latent norm changes nothing
  // and its weight puts the input norm's weight back.
  void free_of_input_norm() {
    const Tensor& weight = l_.source.raw(l_.name("attn_norm.weight"));
    std::vector<float> inverse = read_f32(weight);
    for (float& x : inverse) {
      x = static_cast<float>(p_.q_latent_gain / static_cast<double>(x));
    }
    std::string leaf = weight.sources().empty() ? "attn_norm" : weight.sources().front();
    std::uint64_t d = spec_.hidden_size;
    // A row of d + 1 with its value in front, read again in rows of d, is a diagonal.
    Tensor diagonal = Tensor::values(leaf, inverse, {d, 1})
                          .pad(1, 0, d)
                          .reshape({checked_mul(d, d + 1, "a diagonal")})
                          .slice(0, 0, checked_mul(d, d, "a diagonal"))
                          .reshape({d, d})
                          .named("diag(" + std::to_string(p_.q_latent_gain) + " / " + leaf + ")");
    l_.put("self_attn.q_a_proj.weight",
           l_.wide(diagonal.cast(l_.source.dtype_of(l_.name("attn.q_down.weight"))), 1));
    l_.put("self_attn.q_a_layernorm.weight", l_.get("attn_norm.weight"));
  }

  // Rope keys [1, rows of the class, hidden] (or bias with a last axis of 1).
  Tensor arranged_keys(Tensor rows) const {
    rows = rope_rows(rows, spec_.rope.layout, p_.rope_layout);
    if (!p_.slots) return rows;
    return side_by_side(repeat_heads(rows, a_.num_attention_heads / spec_.kv_heads()));
  }

  Tensor rope_key() const {
    if (a_.rope_key_from == RopeKeyFrom::input) {
      return arranged_keys(l_.scaled("attn.k_rope.weight", a_.rope_key_factor));
    }
    const Tensor& up = l_.source.raw(l_.name("attn.k_rope.weight"));
    Tensor product = Tensor::matmul(flatten_heads(up),
                                    l_.source.raw(l_.name("attn.kv_down.weight")), DType::F64);
    if (a_.rope_key_factor != 1.0) product = product.scale(a_.rope_key_factor);
    return arranged_keys(product.cast(l_.source.dtype_of(l_.name("attn.k_rope.weight")))
                             .reshape({up.shape()[0], up.shape()[1], spec_.hidden_size}));
  }

  void keys_and_values() {
    Tensor down = concat_any(
        0, {l_.scaled("attn.kv_down.weight", p_.kv_latent_gain), flatten_heads(rope_key())});
    l_.put("self_attn.kv_a_proj_with_mqa.weight", l_.wide(down, 1));
    l_.put("self_attn.kv_a_layernorm.weight",
           l_.scaled("attn.kv_norm.weight", a_.kv_latent_factor));
    std::uint64_t times = a_.num_attention_heads / spec_.kv_heads();
    std::vector<Tensor> parts;
    if (a_.qk_nope_head_dim > 0) parts.push_back(repeat_heads(l_.get("attn.k_nope.weight"), times));
    parts.push_back(repeat_heads(l_.get(value_name() + ".weight"), times));
    l_.put("self_attn.kv_b_proj.weight", flatten_heads(concat_any(1, parts)));
    if (!p_.biases) return;
    if (!a_.kv_down_bias && !a_.k_rope_bias) {
      l_.make_up("self_attn.kv_a_proj_with_mqa.bias",
                 zeros_like("attn.kv_down.weight", a_.kv_lora_rank + p_.qk_rope_head_dim));
      return;
    }
    Tensor rope = zeros_like("attn.kv_down.weight", p_.qk_rope_head_dim);
    if (a_.k_rope_bias) {
      Tensor raw = l_.scaled("attn.k_rope.bias", a_.rope_key_factor);
      rope = arranged_keys(raw.reshape({raw.shape()[0], raw.shape()[1], 1}))
                 .reshape({p_.qk_rope_head_dim});
    }
    Tensor latent = a_.kv_down_bias ? l_.scaled("attn.kv_down.bias", p_.kv_latent_gain)
                                    : zeros_like("attn.kv_down.weight", a_.kv_lora_rank);
    l_.put("self_attn.kv_a_proj_with_mqa.bias", concat_any(0, {latent, rope}));
  }

  void output() {
    l_.put("self_attn.o_proj.weight", l_.wide(l_.get("attn.o.weight"), 0));
    if (!p_.biases) return;
    if (!a_.kv_up_bias && a_.o_bias) {
      l_.put("self_attn.o_proj.bias", l_.wide(l_.get("attn.o.bias"), 0));
      return;
    }
    if (!a_.kv_up_bias) {
      l_.make_up("self_attn.o_proj.bias", zeros_like("attn.o.weight", p_.hidden));
      return;
    }
    // Attention weights sum to 1, so a value's bias passes through: o.bias + o.weight bias.
    const Tensor& raw = l_.source.raw(l_.name(value_name() + ".bias"));
    Tensor values = repeat_heads(raw.reshape({raw.shape()[0], raw.shape()[1], 1}),
                                 a_.num_attention_heads / spec_.kv_heads());
    Tensor column = flatten_heads(values);
    Tensor weight = l_.source.raw(l_.name("attn.o.weight"));
    if (a_.o_bias) {
      const Tensor& own = l_.source.raw(l_.name("attn.o.bias"));
      weight = concat_any(1, {weight, own.reshape({spec_.hidden_size, 1})});
      column = concat_any(0, {column, Tensor::fill(column.dtype(), {1, 1}, 1.0)});
    }
    Tensor sum = Tensor::matmul(weight, column, l_.source.dtype_of(l_.name("attn.o.weight")));
    l_.put("self_attn.o_proj.bias", l_.wide(sum.reshape({spec_.hidden_size}), 0));
  }

  std::string value_name() const { return a_.value_is_key_content ? "attn.k_nope" : "attn.v"; }
  Tensor zeros_like(const std::string& canonical, std::uint64_t count) const {
    return Tensor::fill(l_.source.dtype_of(l_.name(canonical)), {count}, 0.0);
  }

  const StockLayer& l_;
  const StockPlan& p_;
  const ModelSpec& spec_;
  const AttentionSpec& a_;
};

}  // namespace

Tensor rope_rows(const Tensor& rows, RopeLayout from, RopeLayout to) {
  if (from == to) return rows;
  Shape s = rows.shape();
  Shape pairs = to == RopeLayout::interleaved ? Shape{s[0], 2, s[1] / 2, s[2]}
                                              : Shape{s[0], s[1] / 2, 2, s[2]};
  return rows.reshape(pairs).permute(kSwapInner).reshape(s);
}

Tensor repeat_heads(const Tensor& tensor, std::uint64_t times) {
  if (times == 1) return tensor;
  Shape s = tensor.shape();
  Tensor one = tensor.reshape({s[0], 1, s[1], s[2]});
  std::vector<Tensor> copies(times, one);
  return Tensor::concat(1, copies).reshape({checked_mul(s[0], times, "heads"), s[1], s[2]});
}

void stock_attention(const StockLayer& layer) { Attention(layer).write(); }

}  // namespace wb
