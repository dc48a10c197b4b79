// Binding by canonical name; see weights.h.
#include "engine/weights.h"

#include <string>

#include "base/error.h"
#include "base/threads.h"
#include "runtime/terms.h"
#include "tensor/read.h"

namespace wb::engine {

namespace {

class Binder {
 public:
  explicit Binder(const CanonicalModel& model) : model_(model), spec_(model.spec) {}

  Weights run() {
    Weights w;
    w.spec = spec_;
    const std::size_t hidden = spec_.hidden_size;
    w.embed = matrix("embed", hidden);
    if (spec_.positions == Positions::learned) w.positions = matrix("positions", hidden);
    const std::string head = spec_.tie_word_embeddings ? "embed" : "head";
    w.head = matrix(head, hidden, spec_.head_bias ? "head.bias" : "");
    w.norm = norm(spec_.last_norm(), "norm");
    w.layers.resize(spec_.num_hidden_layers);
    // Copies, where they are needed, are made by all threads.
    parallel_for(w.layers.size(), 0, [&](std::size_t l, unsigned) {
      w.layers[l] = layer("layers." + std::to_string(l), spec_.is_moe(l));
    });
    for (std::uint64_t m = 0; m < spec_.num_nextn_predict_layers; ++m) {
      const std::string name = "mtp." + std::to_string(m);
      NextHead next;
      next.prev_norm = norm(spec_.norm, name + ".prev_norm");
      next.embed_norm = norm(spec_.norm, name + ".embed_norm");
      if (spec_.mtp_norm) next.norm = norm(spec_.norm, name + ".norm");
      next.combine = matrix(name + ".combine", 2 * hidden);
      next.block = layer(name + ".block", spec_.moe.n_routed_experts > 0);
      w.next.push_back(std::move(next));
    }
    w.q_rope = rope_table(spec_, spec_.attention.num_attention_heads);
    w.k_rope = rope_table(spec_, spec_.rope_key_heads());
    for (const auto& [name, tensor] : model_.tensors) w.parameters += tensor.numel();
    return w;
  }

 private:
  const Tensor* find(const std::string& name) const {
    auto it = model_.tensors.find(name);
    return it == model_.tensors.end() ? nullptr : &it->second;
  }
  Matrix matrix(const std::string& name, std::size_t in) const {
    return matrix(name, in, name + ".bias");
  }
  Matrix matrix(const std::string& name, std::size_t in, const std::string& bias) const {
    return make_matrix(model_.at(name + ".weight"), in, find(bias));
  }
  std::vector<float> vector(const std::string& name) const {
    const Tensor* t = find(name);
    return t != nullptr ? read_f32(*t) : std::vector<float>();
  }
  Norm norm(const NormSpec& spec, const std::string& name) const {
    Norm out;
    if (spec.kind == NormKind::none) return out;
    out.weight = vector(name + ".weight");
    out.bias = vector(name + ".bias");
    out.n = out.weight.size();
    out.args.layer = spec.kind == NormKind::layer;
    out.args.eps = spec.eps;
    out.args.eps_outside_root = spec.eps_outside_root;
    out.args.weight = out.weight.data();
    out.args.bias = out.bias.empty() ? nullptr : out.bias.data();
    return out;
  }
  Mlp mlp(const MlpSpec& spec, const std::string& name) const {
    Mlp out;
    out.act = act_of(spec.activation);
    out.gated = spec.gated;
    if (spec.gated) out.gate = matrix(name + ".gate", spec_.hidden_size);
    out.up = matrix(name + ".up", spec_.hidden_size);
    out.down = matrix(name + ".down", spec.intermediate_size);
    return out;
  }
  void attention(Layer& b, const std::string& attn) const {
    const AttentionSpec& a = spec_.attention;
    const std::size_t hidden = spec_.hidden_size;
    const std::size_t q_in = a.q_lora_rank > 0 ? a.q_lora_rank : hidden;
    const std::size_t kv_in = a.kv_lora_rank > 0 ? a.kv_lora_rank : hidden;
    if (a.q_lora_rank > 0) b.q_down = matrix(attn + ".q_down", hidden);
    if (a.qk_nope_head_dim > 0) {
      b.q_nope = matrix(attn + ".q_nope", q_in);
      b.k_nope = matrix(attn + ".k_nope", kv_in);
    }
    if (a.qk_rope_head_dim > 0) {
      b.q_rope = matrix(attn + ".q_rope", q_in);
      b.k_rope = matrix(attn + ".k_rope", a.rope_key_from == RopeKeyFrom::input ? hidden : kv_in);
    }
    if (a.kv_lora_rank > 0) b.kv_down = matrix(attn + ".kv_down", hidden);
    b.value_is_key = a.value_is_key_content;
    if (!b.value_is_key) b.v = matrix(attn + ".v", kv_in);
    b.o = matrix(attn + ".o", a.num_attention_heads * a.v_head_dim);
    b.q_norm = norm(a.q_norm, attn + ".q_norm");
    b.kv_norm = norm(a.kv_norm, attn + ".kv_norm");
    b.q_head_norm = norm(a.q_head_norm, attn + ".q_head_norm");
    b.k_head_norm = norm(a.k_head_norm, attn + ".k_head_norm");
  }
  Layer layer(const std::string& block, bool moe) const {
    Layer b;
    b.attn_norm = norm(spec_.norm, block + ".attn_norm");
    b.mlp_norm = norm(spec_.norm, block + ".mlp_norm");
    attention(b, block + ".attn");
    const std::string name = block + ".mlp";
    b.moe = moe;
    if (!moe) {
      b.dense = mlp(spec_.dense, name + ".dense");
      return b;
    }
    b.router = vector(name + ".router.weight");
    b.router_bias = vector(name + ".router.bias");
    b.expert_bias = vector(name + ".router.expert_bias");
    b.route = route_args(spec_.router, b.expert_bias.empty() ? nullptr : b.expert_bias.data());
    for (std::uint64_t e = 0; e < spec_.moe.n_routed_experts; ++e) {
      b.experts.push_back(mlp(spec_.moe.routed, name + ".experts." + std::to_string(e)));
    }
    if (spec_.moe.shared.intermediate_size > 0) {
      b.shared = mlp(spec_.moe.shared, name + ".shared");
    }
    return b;
  }

  const CanonicalModel& model_;
  const ModelSpec& spec_;
};

// Calls f(matrix) for every matrix of the layers that one token is multiplied with; of experts the
// first stand for those that a token chooses.
template <class F>
void for_each_used(const Weights& w, F f) {
  auto mlp = [&](const Mlp& m) {
    for (const Matrix* each : {&m.gate, &m.up, &m.down}) f(*each);
  };
  for (const Layer& l : w.layers) {
    for (const Matrix* m :
         {&l.q_down, &l.q_nope, &l.q_rope, &l.kv_down, &l.k_nope, &l.k_rope, &l.v, &l.o}) {
      f(*m);
    }
    mlp(l.shared);
    mlp(l.dense);
    for (std::size_t e = 0; l.moe && e < l.route.k; ++e) mlp(l.experts[e]);
  }
}

}  // namespace

Weights bind(const CanonicalModel& model) {
  validate(model.spec);
  check_complete(model);
  return Binder(model).run();
}

std::uint64_t Weights::bytes_per_token() const {
  std::uint64_t total = head.packed.bytes();
  for (const Layer& l : layers) total += l.router.size() * sizeof(float);
  for_each_used(*this, [&](const Matrix& m) { total += m.packed.bytes(); });
  return total;
}

std::uint64_t Weights::products_per_token() const {
  std::uint64_t total = 0;
  for (const Layer& l : layers) total += l.router.size();
  for_each_used(*this, [&](const Matrix& m) { total += m.out() * m.in(); });
  return total;
}

}  // namespace wb::engine
