#!/usr/bin/python3
"""The straightforward script: torch.load, numpy, a safetensors file written by hand.

What one writes on an afternoon to carry a checkpoint of the reference layout to the
stock deepseek_v3 by matching shapes (docs/mappings.md, "shape-match"). It is here to
be timed against `weightbridge convert --target shape-match`; it checks nothing, and
the model that it makes is as wrong as every shape-match.

    bench/peer_shape_match.py reference.pt OUT_FOLDER
"""
import json
import os
import struct
import sys

import numpy as np
import torch

source, folder = sys.argv[1:3]
sd = {k: v.numpy() for k, v in torch.load(source, map_location="cpu").items()}
layers = 1 + max(int(k.split(".")[1]) for k in sd if k.startswith("h."))
experts = sd["h.0.mlp.router.weight"].shape[0]
hidden = sd["wte.weight"].shape[1]
kv_rank = sd["h.0.attn.kv_proj.weight"].shape[0]
rope = 2 * sd["h.0.attn.rope.inv_freq"].shape[0]
heads = sd["h.0.attn.k_rope_proj.weight"].shape[0] // rope
head_dim = hidden // heads
routed = sd["h.0.mlp.experts.0.gate_proj.weight"].shape[0]
shared = sd["h.0.mlp.shared_expert.gate_proj.weight"].shape[0]
width = max(routed, shared)


def pad(w, rows, columns):
    out = np.zeros((rows, columns), w.dtype)
    out[: w.shape[0], : w.shape[1]] = w
    return out


out = {
    "model.embed_tokens.weight": sd["wte.weight"],
    "model.norm.weight": sd["ln_f.weight"],
    "lm_head.weight": sd["lm_head.weight"],
}
for l in range(layers):
    s, t = f"h.{l}.", f"model.layers.{l}."
    attn, mlp = s + "attn.", s + "mlp."
    out[t + "input_layernorm.weight"] = sd[s + "ln_1.weight"]
    out[t + "post_attention_layernorm.weight"] = sd[s + "ln_2.weight"]
    out[t + "self_attn.q_a_proj.weight"] = sd[attn + "q_proj.weight"]
    out[t + "self_attn.q_a_layernorm.weight"] = np.ones(
        sd[attn + "q_proj.weight"].shape[0], np.float32)
    out[t + "self_attn.q_b_proj.weight"] = sd[attn + "q_decompress.weight"]
    out[t + "self_attn.kv_a_layernorm.weight"] = sd[attn + "kv_norm.weight"]
    out[t + "self_attn.kv_a_proj_with_mqa.weight"] = np.concatenate(
        [sd[attn + "kv_proj.weight"], sd[attn + "k_rope_proj.weight"][:rope]])
    k = sd[attn + "k_decompress.weight"].reshape(heads, head_dim, kv_rank)
    v = sd[attn + "v_decompress.weight"].reshape(heads, head_dim, kv_rank)
    out[t + "self_attn.kv_b_proj.weight"] = np.concatenate(
        [k[:, : head_dim - rope], v], axis=1).reshape(-1, kv_rank)
    out[t + "self_attn.o_proj.weight"] = sd[attn + "o_proj.weight"]
    out[t + "mlp.gate.weight"] = sd[mlp + "router.weight"]
    out[t + "mlp.gate.e_score_correction_bias"] = np.zeros(experts, np.float32)
    for part in ("gate", "up", "down"):
        rows, columns = (hidden, width) if part == "down" else (width, hidden)
        out[t + f"mlp.switch_mlp.{part}_proj.weight"] = np.stack(
            [pad(sd[mlp + f"experts.{e}.{part}_proj.weight"], rows, columns)
             for e in range(experts)])
        out[t + f"mlp.shared_experts.{part}_proj.weight"] = pad(
            sd[mlp + f"shared_expert.{part}_proj.weight"], rows, columns)

names = {np.dtype(np.float32): "F32", np.dtype(np.float16): "F16"}
header, offset = {"__metadata__": {"format": "mlx"}}, 0
for name in sorted(out):
    a = out[name] = np.ascontiguousarray(out[name])
    header[name] = {"dtype": names[a.dtype], "shape": list(a.shape),
                    "data_offsets": [offset, offset + a.nbytes]}
    offset += a.nbytes
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
os.makedirs(folder)
with open(os.path.join(folder, "model.safetensors"), "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text)
    for name in sorted(out):
        f.write(out[name].tobytes())
with open(os.path.join(folder, "config.json"), "w") as f:
    json.dump({
        "model_type": "deepseek_v3", "vocab_size": sd["wte.weight"].shape[0],
        "hidden_size": hidden, "intermediate_size": width, "moe_intermediate_size": width,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": heads,
        "n_shared_experts": 1, "n_routed_experts": experts, "num_experts_per_tok": 2,
        "kv_lora_rank": kv_rank, "q_lora_rank": sd["h.0.attn.q_proj.weight"].shape[0],
        "qk_rope_head_dim": rope, "qk_nope_head_dim": head_dim - rope, "v_head_dim": head_dim,
        "routed_scaling_factor": 1.0, "norm_topk_prob": False, "n_group": 1, "topk_group": 1,
        "moe_layer_freq": 1, "first_k_dense_replace": 0,
        "max_position_embeddings": sd["wpe.weight"].shape[0], "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "attention_bias": False}, f, indent=4)
