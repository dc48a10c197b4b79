// The exact class as data: what it calls each canonical tensor, and what it calls
// each field of ModelSpec in config.json. target/ writes by this table, runtime/
// reads by it, and mlx/weightbridge_mla.py and mlx/WeightbridgeMLA.swift follow it
// (docs/exact-class.md).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "model/spec.h"

namespace wb {

inline constexpr std::string_view kExactModelType = "weightbridge_mla";

enum class ExactLayout {
  as_is,          // the canonical shape
  flatten_heads,  // [heads, width, in] -> [heads * width, in]; bias [heads, width] -> [heads *
                  // width]
  stack_experts,  // one tensor per expert -> [experts, ...], canonical name with {e}
};
struct ExactRow {
  std::string_view canonical;  // module pattern without .weight/.bias: "{block}.attn.q_nope"
  std::string_view
      mlx;  // "{block}.self_attn.q_nope_proj"; {block} = model.layers.{l} or mtp.{m}.block
  ExactLayout layout;
};
const std::vector<ExactRow>& exact_rows();

// The config.json key of a spec field: "attention.q_norm.kind" -> "q_norm_kind".
std::string exact_config_key(std::string_view field_path);
// All fields of the spec under their keys, with model_type. model_file and quantization are
// the caller's.
nlohmann::ordered_json exact_config(const ModelSpec& spec);
// The inverse; a missing or unknown-typed key throws Code::config_invalid. Keys that are no
// field of the spec are ignored (tokenizer settings, quantization, ...).
ModelSpec spec_from_exact_config(const nlohmann::json& config);

}  // namespace wb
