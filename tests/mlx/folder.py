"""Writing and reading the files of these tests: safetensors and an exact folder."""

import json
import os
import shutil

import numpy as np

CLASS_FILE = os.path.join(os.path.dirname(__file__), "..", "..", "mlx", "weightbridge_mla.py")
NAMES = {"F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "U32": np.uint32}


def read_safetensors(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        data = f.read()
    out = {}
    for name, entry in header.items():
        if name != "__metadata__":
            raw = data[slice(*entry["data_offsets"])]
            out[name] = np.frombuffer(raw, NAMES[entry["dtype"]]).reshape(entry["shape"])
    return out


def write_safetensors(path, tensors):
    by_type = {np.dtype(v): k for k, v in NAMES.items()}
    header, blobs, offset = {"__metadata__": {"format": "mlx"}}, [], 0
    for name, value in tensors.items():
        blob = np.ascontiguousarray(value).tobytes()
        header[name] = {
            "dtype": by_type[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        f.writelines(blobs)


def write_folder(path, config, tensors):
    os.makedirs(path, exist_ok=True)
    write_safetensors(os.path.join(path, "model.safetensors"), tensors)
    shutil.copy(CLASS_FILE, os.path.join(path, "weightbridge_mla.py"))
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump({**config, "model_file": "weightbridge_mla.py"}, f, indent=2)


# Every key of docs/exact-class.md, with the values of ModelSpec's defaults (src/model/spec.h).
DEFAULTS = {
    "model_type": "weightbridge_mla",
    "vocab_size": 0,
    "hidden_size": 0,
    "num_hidden_layers": 0,
    "max_position_embeddings": 0,
    "positions": "none",
    "tie_word_embeddings": False,
    "head_bias": False,
    "norm_kind": "rms",
    "norm_eps": 1e-6,
    "norm_eps_outside_root": False,
    "norm_bias": False,
    "own_final_norm": False,
    "final_norm_kind": "rms",
    "final_norm_eps": 1e-6,
    "final_norm_eps_outside_root": False,
    "final_norm_bias": False,
    "rope_layout": "half_split",
    "rope_base": 10000.0,
    "rope_span": "head",
    "rope_inv_freq": [],
    "rope_scaling": "none",
    "rope_factor": 1.0,
    "rope_original_max_position_embeddings": 0,
    "rope_beta_fast": 32.0,
    "rope_beta_slow": 1.0,
    "rope_mscale": 1.0,
    "rope_mscale_all_dim": 0.0,
    "rope_long_factor": [],
    "num_attention_heads": 0,
    "num_key_value_heads": 0,
    "q_lora_rank": 0,
    "kv_lora_rank": 0,
    "qk_nope_head_dim": 0,
    "qk_rope_head_dim": 0,
    "v_head_dim": 0,
    **{
        f"{norm}_{key}": value
        for norm, kind in [("q", "none"), ("kv", "rms"), ("q_head", "none"), ("k_head", "none")]
        for key, value in [
            ("norm_kind", kind),
            ("norm_eps", 1e-6),
            ("norm_eps_outside_root", False),
            ("norm_bias", False),
        ]
    },
    "head_norm_part": "whole",
    "rope_keys": "shared",
    "rope_key_from": "input",
    "kv_latent_factor": 1.0,
    "rope_key_factor": 1.0,
    "softmax_scale": 0.0,
    "softmax_scale_rope": 0.0,
    "value_is_key_content": False,
    "q_down_bias": False,
    "q_bias": False,
    "kv_down_bias": False,
    "k_rope_bias": False,
    "kv_up_bias": False,
    "o_bias": False,
    "dense_activation": "silu",
    "dense_gated": True,
    "intermediate_size": 0,
    "dense_bias": False,
    "n_routed_experts": 0,
    "routed_activation": "silu",
    "routed_gated": True,
    "moe_intermediate_size": 0,
    "routed_bias": False,
    "shared_activation": "silu",
    "shared_gated": True,
    "shared_intermediate_size": 0,
    "shared_bias": False,
    "shared_scale": 1.0,
    "first_k_dense_replace": 0,
    "moe_layer_freq": 1,
    "moe_layer_offset": 0,
    "router_score": "softmax_of_chosen",
    "router_bias": False,
    "router_expert_bias": "none",
    "num_experts_per_tok": 0,
    "router_logit_clamp": [],
    "router_weight_clamp": [],
    "norm_topk_prob": False,
    "router_norm_eps": 0.0,
    "router_norm_min": 0.0,
    "routed_scaling_factor": 1.0,
    "n_group": 1,
    "topk_group": 1,
    "router_group_score": "top2_sum",
    "router_group_mask": "zero",
    "num_nextn_predict_layers": 0,
    "mtp_combine_bias": False,
    "mtp_norm": False,
}
