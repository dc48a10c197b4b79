// The tables of exact_class.h.
#include "model/exact_class.h"

#include <map>

#include "base/error.h"

namespace wb {

const std::vector<ExactRow>& exact_rows() {
  using enum ExactLayout;
  static const std::vector<ExactRow> rows = {
      {"embed", "model.embed_tokens", as_is},
      {"positions", "model.embed_positions", as_is},
      {"norm", "model.norm", as_is},
      {"head", "lm_head", as_is},
      {"{block}.attn_norm", "{block}.input_layernorm", as_is},
      {"{block}.attn.q_down", "{block}.self_attn.q_a_proj", as_is},
      {"{block}.attn.q_norm", "{block}.self_attn.q_a_layernorm", as_is},
      {"{block}.attn.q_nope", "{block}.self_attn.q_nope_proj", flatten_heads},
      {"{block}.attn.q_rope", "{block}.self_attn.q_rope_proj", flatten_heads},
      {"{block}.attn.q_head_norm", "{block}.self_attn.q_head_norm", as_is},
      {"{block}.attn.kv_down", "{block}.self_attn.kv_a_proj", as_is},
      {"{block}.attn.kv_norm", "{block}.self_attn.kv_a_layernorm", as_is},
      {"{block}.attn.k_nope", "{block}.self_attn.k_b_proj", as_is},
      {"{block}.attn.v", "{block}.self_attn.v_b_proj", as_is},
      {"{block}.attn.k_rope", "{block}.self_attn.k_rope_proj", flatten_heads},
      {"{block}.attn.k_head_norm", "{block}.self_attn.k_head_norm", as_is},
      {"{block}.attn.o", "{block}.self_attn.o_proj", as_is},
      {"{block}.mlp_norm", "{block}.post_attention_layernorm", as_is},
      {"{block}.mlp.router", "{block}.mlp.gate", as_is},
      {"{block}.mlp.router.expert_bias", "{block}.mlp.gate.expert_bias", as_is},
      {"{block}.mlp.experts.{e}.gate", "{block}.mlp.switch_mlp.gate_proj", stack_experts},
      {"{block}.mlp.experts.{e}.up", "{block}.mlp.switch_mlp.up_proj", stack_experts},
      {"{block}.mlp.experts.{e}.down", "{block}.mlp.switch_mlp.down_proj", stack_experts},
      {"{block}.mlp.shared.gate", "{block}.mlp.shared_experts.gate_proj", as_is},
      {"{block}.mlp.shared.up", "{block}.mlp.shared_experts.up_proj", as_is},
      {"{block}.mlp.shared.down", "{block}.mlp.shared_experts.down_proj", as_is},
      {"{block}.mlp.dense.gate", "{block}.mlp.gate_proj", as_is},
      {"{block}.mlp.dense.up", "{block}.mlp.up_proj", as_is},
      {"{block}.mlp.dense.down", "{block}.mlp.down_proj", as_is},
      {"mtp.{m}.prev_norm", "mtp.{m}.prev_norm", as_is},
      {"mtp.{m}.embed_norm", "mtp.{m}.embed_norm", as_is},
      {"mtp.{m}.combine", "mtp.{m}.combine_proj", as_is},
      {"mtp.{m}.norm", "mtp.{m}.norm", as_is},
  };
  return rows;
}

std::string exact_config_key(std::string_view field_path) {
  // Where config.json has a name of its own for a thing, that name is used.
  static const std::map<std::string_view, std::string_view> known = {
      {"dense.intermediate_size", "intermediate_size"},
      {"moe.routed.intermediate_size", "moe_intermediate_size"},
      {"router.num_experts_per_tok", "num_experts_per_tok"},
      {"router.norm_topk_prob", "norm_topk_prob"},
      {"router.routed_scaling_factor", "routed_scaling_factor"},
      {"router.n_group", "n_group"},
      {"router.topk_group", "topk_group"},
  };
  if (auto it = known.find(field_path); it != known.end()) return std::string(it->second);
  for (std::string_view group : {"attention.", "moe."}) {
    if (field_path.starts_with(group)) field_path.remove_prefix(group.size());
  }
  std::string key(field_path);
  for (char& c : key) {
    if (c == '.') c = '_';
  }
  return key;
}

namespace {
nlohmann::json::json_pointer pointer(const std::string& path) {
  std::string p = "/" + path;
  for (char& c : p) {
    if (c == '.') c = '/';
  }
  return nlohmann::json::json_pointer(p);
}
}  // namespace

nlohmann::ordered_json exact_config(const ModelSpec& spec) {
  nlohmann::json tree = to_json(spec);
  nlohmann::ordered_json config;
  config["model_type"] = kExactModelType;
  for (const FieldInfo& field : spec_fields()) {
    config[exact_config_key(field.path)] = tree.at(pointer(field.path));
  }
  return config;
}

ModelSpec spec_from_exact_config(const nlohmann::json& config) {
  ModelSpec spec;
  for (const FieldInfo& field : spec_fields()) {
    std::string key = exact_config_key(field.path);
    auto it = config.find(key);
    if (it == config.end()) {
      throw Error(Code::config_invalid, "the key \"" + key + "\" is missing")
          .advice("Convert the checkpoint again, or restore config.json as it was written.");
    }
    set_field(spec, field.path, *it);
  }
  validate(spec);
  return spec;
}

}  // namespace wb
