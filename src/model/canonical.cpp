// The canonical table and its expansion for a spec; see canonical.h.
#include "model/canonical.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace wb {

namespace {

// Where a row occurs: once, in every block, in dense or mixture blocks, once per expert of a
// mixture block, once per multi-token head.
enum class Scope { model, block, dense_block, moe_block, expert, mtp };

struct Row {
  Scope scope;
  CanonicalRow text;
  bool (*when)(const ModelSpec&);
  Shape (*shape)(const ModelSpec&);
};

std::uint64_t q_in(const ModelSpec& s) {
  return s.attention.q_lora_rank > 0 ? s.attention.q_lora_rank : s.hidden_size;
}
std::uint64_t kv_in(const ModelSpec& s) {
  return s.attention.kv_lora_rank > 0 ? s.attention.kv_lora_rank : s.hidden_size;
}
std::uint64_t rope_in(const ModelSpec& s) {
  return s.attention.rope_key_from == RopeKeyFrom::input ? s.hidden_size : kv_in(s);
}
bool always(const ModelSpec&) { return true; }
Shape hidden(const ModelSpec& s) { return {s.hidden_size}; }

#define WHEN(...) [](const ModelSpec& s) -> bool { return __VA_ARGS__; }
#define SHAPE(...) [](const ModelSpec& s) -> Shape { return {__VA_ARGS__}; }
#define A s.attention

const std::vector<Row>& rows() {
  using enum Scope;
  static const std::vector<Row> table = {
      {model,
       {"embed.weight", "[vocab_size, hidden_size]", "", "token embeddings"},
       always,
       SHAPE(s.vocab_size, s.hidden_size)},
      {model,
       {"positions.weight", "[max_position_embeddings, hidden_size]", "positions = learned",
        "learned absolute positions"},
       WHEN(s.positions == Positions::learned),
       SHAPE(s.max_position_embeddings, s.hidden_size)},
      {block,
       {"{block}.attn_norm.weight", "[hidden_size]", "norm.kind is not none",
        "norm before attention"},
       WHEN(s.norm.kind != NormKind::none),
       hidden},
      {block,
       {"{block}.attn_norm.bias", "[hidden_size]", "norm.bias", ""},
       WHEN(s.norm.bias),
       hidden},
      {block,
       {"{block}.attn.q_down.weight", "[q_lora_rank, hidden_size]", "q_lora_rank > 0",
        "query down-projection"},
       WHEN(A.q_lora_rank > 0),
       SHAPE(A.q_lora_rank, s.hidden_size)},
      {block,
       {"{block}.attn.q_down.bias", "[q_lora_rank]", "q_down_bias", ""},
       WHEN(A.q_lora_rank > 0 && A.q_down_bias),
       SHAPE(A.q_lora_rank)},
      {block,
       {"{block}.attn.q_norm.weight", "[q_lora_rank]", "q_norm.kind is not none",
        "norm of the query latent"},
       WHEN(A.q_norm.kind != NormKind::none),
       SHAPE(A.q_lora_rank)},
      {block,
       {"{block}.attn.q_norm.bias", "[q_lora_rank]", "q_norm.bias", ""},
       WHEN(A.q_norm.kind != NormKind::none && A.q_norm.bias),
       SHAPE(A.q_lora_rank)},
      {block,
       {"{block}.attn.q_nope.weight",
        "[num_attention_heads, qk_nope_head_dim, q_lora_rank or hidden_size]",
        "qk_nope_head_dim > 0", "content queries, per head"},
       WHEN(A.qk_nope_head_dim > 0),
       SHAPE(A.num_attention_heads, A.qk_nope_head_dim, q_in(s))},
      {block,
       {"{block}.attn.q_nope.bias", "[num_attention_heads, qk_nope_head_dim]", "q_bias", ""},
       WHEN(A.qk_nope_head_dim > 0 && A.q_bias),
       SHAPE(A.num_attention_heads, A.qk_nope_head_dim)},
      {block,
       {"{block}.attn.q_rope.weight",
        "[num_attention_heads, qk_rope_head_dim, q_lora_rank or hidden_size]",
        "qk_rope_head_dim > 0", "rotated queries, per head, rows in the order of rope.layout"},
       WHEN(A.qk_rope_head_dim > 0),
       SHAPE(A.num_attention_heads, A.qk_rope_head_dim, q_in(s))},
      {block,
       {"{block}.attn.q_rope.bias", "[num_attention_heads, qk_rope_head_dim]", "q_bias", ""},
       WHEN(A.qk_rope_head_dim > 0 && A.q_bias),
       SHAPE(A.num_attention_heads, A.qk_rope_head_dim)},
      {block,
       {"{block}.attn.q_head_norm.weight", "[qk_nope_head_dim + qk_rope_head_dim]",
        "q_head_norm.kind is not none", "norm of each head's query"},
       WHEN(A.q_head_norm.kind != NormKind::none),
       SHAPE(A.qk_nope_head_dim + A.qk_rope_head_dim)},
      {block,
       {"{block}.attn.q_head_norm.bias", "[qk_nope_head_dim + qk_rope_head_dim]",
        "q_head_norm.bias", ""},
       WHEN(A.q_head_norm.kind != NormKind::none && A.q_head_norm.bias),
       SHAPE(A.qk_nope_head_dim + A.qk_rope_head_dim)},
      {block,
       {"{block}.attn.kv_down.weight", "[kv_lora_rank, hidden_size]", "kv_lora_rank > 0",
        "key-value down-projection"},
       WHEN(A.kv_lora_rank > 0),
       SHAPE(A.kv_lora_rank, s.hidden_size)},
      {block,
       {"{block}.attn.kv_down.bias", "[kv_lora_rank]", "kv_down_bias", ""},
       WHEN(A.kv_lora_rank > 0 && A.kv_down_bias),
       SHAPE(A.kv_lora_rank)},
      {block,
       {"{block}.attn.kv_norm.weight", "[kv_lora_rank]", "kv_norm.kind is not none",
        "norm of the key-value latent"},
       WHEN(A.kv_norm.kind != NormKind::none),
       SHAPE(A.kv_lora_rank)},
      {block,
       {"{block}.attn.kv_norm.bias", "[kv_lora_rank]", "kv_norm.bias", ""},
       WHEN(A.kv_norm.kind != NormKind::none && A.kv_norm.bias),
       SHAPE(A.kv_lora_rank)},
      {block,
       {"{block}.attn.k_nope.weight",
        "[num_key_value_heads, qk_nope_head_dim, kv_lora_rank or hidden_size]",
        "qk_nope_head_dim > 0", "content keys, per head"},
       WHEN(A.qk_nope_head_dim > 0),
       SHAPE(s.kv_heads(), A.qk_nope_head_dim, kv_in(s))},
      {block,
       {"{block}.attn.k_nope.bias", "[num_key_value_heads, qk_nope_head_dim]", "kv_up_bias", ""},
       WHEN(A.qk_nope_head_dim > 0 && A.kv_up_bias),
       SHAPE(s.kv_heads(), A.qk_nope_head_dim)},
      {block,
       {"{block}.attn.v.weight", "[num_key_value_heads, v_head_dim, kv_lora_rank or hidden_size]",
        "not value_is_key_content", "values, per head"},
       WHEN(!A.value_is_key_content),
       SHAPE(s.kv_heads(), A.v_head_dim, kv_in(s))},
      {block,
       {"{block}.attn.v.bias", "[num_key_value_heads, v_head_dim]", "kv_up_bias", ""},
       WHEN(!A.value_is_key_content && A.kv_up_bias),
       SHAPE(s.kv_heads(), A.v_head_dim)},
      {block,
       {"{block}.attn.k_rope.weight",
        "[1 or num_key_value_heads, qk_rope_head_dim, hidden_size or kv_lora_rank]",
        "qk_rope_head_dim > 0",
        "rotated keys, shared or per head, rows in the order of rope.layout"},
       WHEN(A.qk_rope_head_dim > 0),
       SHAPE(s.rope_key_heads(), A.qk_rope_head_dim, rope_in(s))},
      {block,
       {"{block}.attn.k_rope.bias", "[1 or num_key_value_heads, qk_rope_head_dim]", "k_rope_bias",
        ""},
       WHEN(A.qk_rope_head_dim > 0 && A.k_rope_bias),
       SHAPE(s.rope_key_heads(), A.qk_rope_head_dim)},
      {block,
       {"{block}.attn.k_head_norm.weight", "[qk_nope_head_dim + qk_rope_head_dim]",
        "k_head_norm.kind is not none", "norm of each head's key"},
       WHEN(A.k_head_norm.kind != NormKind::none),
       SHAPE(A.qk_nope_head_dim + A.qk_rope_head_dim)},
      {block,
       {"{block}.attn.k_head_norm.bias", "[qk_nope_head_dim + qk_rope_head_dim]",
        "k_head_norm.bias", ""},
       WHEN(A.k_head_norm.kind != NormKind::none && A.k_head_norm.bias),
       SHAPE(A.qk_nope_head_dim + A.qk_rope_head_dim)},
      {block,
       {"{block}.attn.o.weight", "[hidden_size, num_attention_heads * v_head_dim]", "",
        "output projection"},
       always,
       SHAPE(s.hidden_size,
             checked_mul(A.num_attention_heads, A.v_head_dim, "the attention width"))},
      {block, {"{block}.attn.o.bias", "[hidden_size]", "o_bias", ""}, WHEN(A.o_bias), hidden},
      {block,
       {"{block}.mlp_norm.weight", "[hidden_size]", "norm.kind is not none",
        "norm before the feed-forward network"},
       WHEN(s.norm.kind != NormKind::none),
       hidden},
      {block,
       {"{block}.mlp_norm.bias", "[hidden_size]", "norm.bias", ""},
       WHEN(s.norm.bias),
       hidden},
      {dense_block,
       {"{block}.mlp.dense.gate.weight", "[dense.intermediate_size, hidden_size]",
        "dense layers, dense.gated", "dense network"},
       WHEN(s.dense.gated),
       SHAPE(s.dense.intermediate_size, s.hidden_size)},
      {dense_block,
       {"{block}.mlp.dense.gate.bias", "[dense.intermediate_size]", "dense.bias", ""},
       WHEN(s.dense.gated && s.dense.bias),
       SHAPE(s.dense.intermediate_size)},
      {dense_block,
       {"{block}.mlp.dense.up.weight", "[dense.intermediate_size, hidden_size]", "dense layers",
        ""},
       always,
       SHAPE(s.dense.intermediate_size, s.hidden_size)},
      {dense_block,
       {"{block}.mlp.dense.up.bias", "[dense.intermediate_size]", "dense.bias", ""},
       WHEN(s.dense.bias),
       SHAPE(s.dense.intermediate_size)},
      {dense_block,
       {"{block}.mlp.dense.down.weight", "[hidden_size, dense.intermediate_size]", "dense layers",
        ""},
       always,
       SHAPE(s.hidden_size, s.dense.intermediate_size)},
      {dense_block,
       {"{block}.mlp.dense.down.bias", "[hidden_size]", "dense.bias", ""},
       WHEN(s.dense.bias),
       hidden},
      {moe_block,
       {"{block}.mlp.router.weight", "[n_routed_experts, hidden_size]", "mixture layers", "router"},
       always,
       SHAPE(s.moe.n_routed_experts, s.hidden_size)},
      {moe_block,
       {"{block}.mlp.router.bias", "[n_routed_experts]", "router.bias", "the router's linear bias"},
       WHEN(s.router.bias),
       SHAPE(s.moe.n_routed_experts)},
      {moe_block,
       {"{block}.mlp.router.expert_bias", "[n_routed_experts]", "router.expert_bias is not none",
        "balancing bias, in the logits or in the selection"},
       WHEN(s.router.expert_bias != ExpertBias::none),
       SHAPE(s.moe.n_routed_experts)},
      {expert,
       {"{block}.mlp.experts.{e}.gate.weight", "[moe_intermediate_size, hidden_size]",
        "moe.routed.gated", "one routed expert"},
       WHEN(s.moe.routed.gated),
       SHAPE(s.moe.routed.intermediate_size, s.hidden_size)},
      {expert,
       {"{block}.mlp.experts.{e}.gate.bias", "[moe_intermediate_size]", "moe.routed.bias", ""},
       WHEN(s.moe.routed.gated && s.moe.routed.bias),
       SHAPE(s.moe.routed.intermediate_size)},
      {expert,
       {"{block}.mlp.experts.{e}.up.weight", "[moe_intermediate_size, hidden_size]", "", ""},
       always,
       SHAPE(s.moe.routed.intermediate_size, s.hidden_size)},
      {expert,
       {"{block}.mlp.experts.{e}.up.bias", "[moe_intermediate_size]", "moe.routed.bias", ""},
       WHEN(s.moe.routed.bias),
       SHAPE(s.moe.routed.intermediate_size)},
      {expert,
       {"{block}.mlp.experts.{e}.down.weight", "[hidden_size, moe_intermediate_size]", "", ""},
       always,
       SHAPE(s.hidden_size, s.moe.routed.intermediate_size)},
      {expert,
       {"{block}.mlp.experts.{e}.down.bias", "[hidden_size]", "moe.routed.bias", ""},
       WHEN(s.moe.routed.bias),
       hidden},
      {moe_block,
       {"{block}.mlp.shared.gate.weight", "[shared_intermediate_size, hidden_size]",
        "shared_intermediate_size > 0, moe.shared.gated", "all shared experts as one network"},
       WHEN(s.moe.shared.intermediate_size > 0 && s.moe.shared.gated),
       SHAPE(s.moe.shared.intermediate_size, s.hidden_size)},
      {moe_block,
       {"{block}.mlp.shared.gate.bias", "[shared_intermediate_size]", "moe.shared.bias", ""},
       WHEN(s.moe.shared.intermediate_size > 0 && s.moe.shared.gated && s.moe.shared.bias),
       SHAPE(s.moe.shared.intermediate_size)},
      {moe_block,
       {"{block}.mlp.shared.up.weight", "[shared_intermediate_size, hidden_size]",
        "shared_intermediate_size > 0", ""},
       WHEN(s.moe.shared.intermediate_size > 0),
       SHAPE(s.moe.shared.intermediate_size, s.hidden_size)},
      {moe_block,
       {"{block}.mlp.shared.up.bias", "[shared_intermediate_size]", "moe.shared.bias", ""},
       WHEN(s.moe.shared.intermediate_size > 0 && s.moe.shared.bias),
       SHAPE(s.moe.shared.intermediate_size)},
      {moe_block,
       {"{block}.mlp.shared.down.weight", "[hidden_size, shared_intermediate_size]",
        "shared_intermediate_size > 0", ""},
       WHEN(s.moe.shared.intermediate_size > 0),
       SHAPE(s.hidden_size, s.moe.shared.intermediate_size)},
      {moe_block,
       {"{block}.mlp.shared.down.bias", "[hidden_size]", "moe.shared.bias", ""},
       WHEN(s.moe.shared.intermediate_size > 0 && s.moe.shared.bias),
       hidden},
      {model,
       {"norm.weight", "[hidden_size]", "norm.kind is not none", "final norm"},
       WHEN(s.norm.kind != NormKind::none),
       hidden},
      {model, {"norm.bias", "[hidden_size]", "norm.bias", ""}, WHEN(s.norm.bias), hidden},
      {model,
       {"head.weight", "[vocab_size, hidden_size]", "not tie_word_embeddings", "output head"},
       WHEN(!s.tie_word_embeddings),
       SHAPE(s.vocab_size, s.hidden_size)},
      {model,
       {"head.bias", "[vocab_size]", "head_bias", ""},
       WHEN(s.head_bias),
       SHAPE(s.vocab_size)},
      {mtp,
       {"mtp.{m}.prev_norm.weight", "[hidden_size]", "multi-token heads",
        "norm of the previous hidden state"},
       always,
       hidden},
      {mtp,
       {"mtp.{m}.embed_norm.weight", "[hidden_size]", "multi-token heads",
        "norm of the future token's embedding"},
       always,
       hidden},
      {mtp,
       {"mtp.{m}.combine.weight", "[hidden_size, 2 * hidden_size]", "multi-token heads",
        "on [normed previous state ; normed embedding]"},
       always,
       SHAPE(s.hidden_size, 2 * s.hidden_size)},
      {mtp,
       {"mtp.{m}.combine.bias", "[hidden_size]", "mtp_combine_bias", ""},
       WHEN(s.mtp_combine_bias),
       hidden},
  };
  return table;
}
#undef WHEN
#undef SHAPE
#undef A

std::string replaced(std::string text, std::string_view key, std::string_view value) {
  if (auto at = text.find(key); at != std::string::npos) text.replace(at, key.size(), value);
  return text;
}

class Expander {
 public:
  explicit Expander(const ModelSpec& spec) : spec_(spec) {}

  std::vector<CanonicalTensor> run() {
    // Table order within a block; blocks where the first block row stands.
    bool blocks_done = false, mtp_done = false;
    for (std::size_t i = 0; i < rows().size(); ++i) {
      Scope scope = rows()[i].scope;
      if (scope == Scope::model) {
        add(i, std::string(rows()[i].text.pattern));
      } else if (scope == Scope::mtp) {
        if (!std::exchange(mtp_done, true)) expand_mtp();
      } else if (!std::exchange(blocks_done, true)) {
        for (std::uint64_t l = 0; l < spec_.num_hidden_layers; ++l) {
          expand_block("layers." + std::to_string(l), spec_.is_moe(l));
        }
      }
    }
    return std::move(out_);
  }

 private:
  void add(std::size_t i, std::string name) {
    const Row& row = rows()[i];
    if (row.when(spec_)) out_.push_back({std::move(name), row.shape(spec_), i});
  }

  void expand_block(const std::string& block, bool moe) {
    for (std::size_t i = 0; i < rows().size(); ++i) {
      Scope scope = rows()[i].scope;
      std::string name = replaced(std::string(rows()[i].text.pattern), "{block}", block);
      if (scope == Scope::block || (scope == Scope::moe_block && moe) ||
          (scope == Scope::dense_block && !moe)) {
        add(i, std::move(name));
      } else if (scope == Scope::expert && moe) {
        for (std::uint64_t e = 0; e < spec_.moe.n_routed_experts; ++e) {
          add(i, replaced(name, "{e}", std::to_string(e)));
        }
      }
    }
  }

  void expand_mtp() {
    for (std::uint64_t m = 0; m < spec_.num_nextn_predict_layers; ++m) {
      for (std::size_t i = 0; i < rows().size(); ++i) {
        if (rows()[i].scope == Scope::mtp) {
          add(i, replaced(std::string(rows()[i].text.pattern), "{m}", std::to_string(m)));
        }
      }
      // A head's block is a mixture wherever the model has one.
      expand_block("mtp." + std::to_string(m) + ".block", spec_.moe.n_routed_experts > 0);
    }
  }

  const ModelSpec& spec_;
  std::vector<CanonicalTensor> out_;
};

bool ends_module(std::string_view pattern, std::string_view module) {
  return pattern == module ||
         (pattern.size() > module.size() && pattern.starts_with(module) &&
          (pattern.substr(module.size()) == ".weight" || pattern.substr(module.size()) == ".bias"));
}

}  // namespace

const std::vector<CanonicalRow>& canonical_table() {
  static const std::vector<CanonicalRow> table = [] {
    std::vector<CanonicalRow> out;
    for (const Row& row : rows()) out.push_back(row.text);
    return out;
  }();
  return table;
}

std::vector<CanonicalTensor> canonical_tensors(const ModelSpec& spec) {
  return Expander(spec).run();
}

bool is_canonical_pattern(std::string_view pattern) {
  std::string p(pattern);
  for (std::string_view block : {"layers.{l}.", "mtp.{m}.block."}) {
    if (p.starts_with(block)) p = "{block}." + p.substr(block.size());
  }
  return std::any_of(rows().begin(), rows().end(),
                     [&](const Row& row) { return ends_module(row.text.pattern, p); });
}

std::string_view name(Fate fate) {
  switch (fate) {
    case Fate::used:
      return "used";
    case Fate::alias:
      return "alias";
    case Fate::left_out:
      return "left out";
    case Fate::outside:
      return "outside";
  }
  WB_BUG("not a fate");
}

const Tensor& CanonicalModel::at(const std::string& name) const {
  auto it = tensors.find(name);
  if (it == tensors.end()) WB_BUG(("no canonical tensor " + name).c_str());
  return it->second;
}

void check_complete(const CanonicalModel& model) {
  std::vector<CanonicalTensor> wanted = canonical_tensors(model.spec);
  std::string missing;
  std::size_t n_missing = 0;
  for (const CanonicalTensor& want : wanted) {
    auto it = model.tensors.find(want.name);
    if (it == model.tensors.end()) {
      if (++n_missing <= 8) missing += (missing.empty() ? "" : ", ") + want.name;
    } else if (it->second.shape() != want.shape) {
      throw Error(Code::shape_mismatch, "the tensor (from " + it->second.describe() +
                                            ") does not have the shape that the model calls for")
          .tensor(want.name)
          .expected(to_string(want.shape))
          .actual(to_string(it->second.shape()))
          .advice("Correct the recipe's [dims] or the tensor's expression.");
    }
  }
  if (n_missing > 0) {
    throw Error(Code::canonical_missing,
                std::to_string(n_missing) + " tensors that the model calls for are not produced: " +
                    missing + (n_missing > 8 ? ", ..." : ""))
        .advice("Add them to the recipe's [tensors], or correct its [model] section.");
  }
  if (model.tensors.size() != wanted.size()) {
    WB_BUG("a canonical model holds tensors that its spec does not call for");
  }
}

}  // namespace wb
