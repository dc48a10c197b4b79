"""Rewrites an unquantised stock folder (deepseek_v3 or deepseek_v2) as an exact one.

    stock_to_exact.py STOCK EXACT

For a witness that is not ours: where a stock folder has logits computed by mlx-lm
itself, the exact class must give the same ones from the rewritten folder
(run_exact_class.py EXACT --golden STOCK/golden.safetensors).
"""

import json
import math
import os
import sys

import numpy as np
from folder import DEFAULTS, read_safetensors, write_folder


def config_of(c):
    same = ("vocab_size hidden_size num_hidden_layers max_position_embeddings intermediate_size "
            "num_attention_heads kv_lora_rank qk_nope_head_dim qk_rope_head_dim v_head_dim "
            "n_routed_experts moe_intermediate_size first_k_dense_replace moe_layer_freq "
            "num_experts_per_tok routed_scaling_factor n_group topk_group").split()  # fmt: skip
    v3 = c["model_type"] == "deepseek_v3"
    bias = c["attention_bias"]
    scaling = c.get("rope_scaling") or {"type": "none"}
    heads = {f"rope_{k}": v for k, v in scaling.items() if f"rope_{k}" in DEFAULTS}
    longrope = scaling["type"] == "longrope"
    out = {
        **DEFAULTS,
        **{key: c[key] for key in same},
        **heads,
        "norm_eps": c["rms_norm_eps"],
        "rope_base": c["rope_theta"],
        "rope_layout": "half_split" if longrope else "interleaved",
        "rope_scaling": scaling["type"],
        "q_lora_rank": c["q_lora_rank"] or 0,
        "q_norm_kind": "rms" if c["q_lora_rank"] else "none",
        "q_down_bias": bias,
        "kv_down_bias": bias,
        "k_rope_bias": bias,
        "o_bias": bias,
        "shared_intermediate_size": c["n_shared_experts"] * c["moe_intermediate_size"],
        "router_score": "sigmoid" if v3 else "softmax",
        "router_expert_bias": "selection" if v3 else "none",
        "norm_topk_prob": v3 and c["norm_topk_prob"] and c["num_experts_per_tok"] > 1,
    }
    all_dim = scaling.get("mscale_all_dim", 0)
    if scaling["type"] == "yarn" and all_dim:
        # The stock class raises the softmax scale by the square of YaRN's magnitude.
        m = 0.1 * all_dim * math.log(scaling["factor"]) + 1
        out["softmax_scale"] = m * m / math.sqrt(c["qk_nope_head_dim"] + c["qk_rope_head_dim"])
    return out


def split_rows(tensors, name, heads, first):
    """[heads * (a + b), in] -> [heads * a, in], [heads * b, in]"""
    w = tensors[name]
    w = w.reshape(heads, w.shape[0] // heads, *w.shape[1:])
    return [part.reshape(-1, *w.shape[2:]) for part in (w[:, :first], w[:, first:])]


def tensors_of(old, c):
    heads, nope, rank = c["num_attention_heads"], c["qk_nope_head_dim"], c["kv_lora_rank"]
    out = {}
    for name in old:
        if ".self_attn." not in name:
            new = name.replace("gate.e_score_correction_bias", "gate.expert_bias")
            if ".experts." not in name:
                out[new] = old[name]
            elif ".experts.0." in name:
                stack = [
                    old[name.replace(".experts.0.", f".experts.{e}.")]
                    for e in range(c["n_routed_experts"])
                ]
                out[name.replace(".experts.0.", ".switch_mlp.")] = np.stack(stack)
            continue
        path, part = name.rsplit(".", 1)
        attn, module = path.rsplit(".", 1)
        if module in ("q_proj", "q_b_proj"):
            both = split_rows(old, name, heads, nope)
            out[f"{attn}.q_nope_proj.{part}"], out[f"{attn}.q_rope_proj.{part}"] = both
        elif module == "kv_a_proj_with_mqa":
            both = split_rows(old, name, 1, rank)
            out[f"{attn}.kv_a_proj.{part}"], out[f"{attn}.k_rope_proj.{part}"] = both
        elif module == "kv_b_proj":
            k, v = split_rows(old, name, heads, nope)
            out[f"{attn}.k_b_proj.weight"] = k.reshape(heads, nope, rank)
            out[f"{attn}.v_b_proj.weight"] = v.reshape(heads, -1, rank)
        elif module == "embed_q":
            out[f"{attn}.k_b_proj.weight"] = old[name].swapaxes(1, 2)
        elif module == "unembed_out":
            out[f"{attn}.v_b_proj.weight"] = old[name]
        else:
            out[name] = old[name]
    return out


def main():
    stock, exact = sys.argv[1:]
    with open(os.path.join(stock, "config.json")) as f:
        config = json.load(f)
    old = read_safetensors(os.path.join(stock, "model.safetensors"))
    write_folder(exact, config_of(config), tensors_of(old, config))


if __name__ == "__main__":
    main()
