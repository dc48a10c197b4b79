#!/usr/bin/python3
"""Holds a folder written with --target shape-match to docs/mappings.md section 1: everything
that it prescribes is made here with torch, from the checkpoint, and compared byte for byte.

    shape_match_check.py CHECKPOINT FOLDER [--dtype bf16] [--experts-per-token 2]
"""
import argparse
import sys

import torch
import torch.nn.functional as F

from target_common import Source, arguments, cast, compare, read_folder


def pad_rows(w, rows):
    return F.pad(w, (0, 0, 0, rows - w.shape[0]))


def pad_columns(w, columns):
    return F.pad(w, (0, columns - w.shape[1]))


def expected_tensors(s):
    width = max(s.routed, s.shared)
    nope = s.head - s.rope
    out = {
        "model.embed_tokens.weight": s["wte.weight"],
        "model.norm.weight": s["ln_f.weight"],
        "lm_head.weight": s["lm_head.weight"],
    }
    for l in range(s.layers):
        a, m = f"h.{l}.attn.", f"h.{l}.mlp."
        to = f"model.layers.{l}."
        attn, mlp = to + "self_attn.", to + "mlp."
        out[to + "input_layernorm.weight"] = s[f"h.{l}.ln_1.weight"]
        out[to + "post_attention_layernorm.weight"] = s[f"h.{l}.ln_2.weight"]
        out[attn + "q_a_proj.weight"] = s[a + "q_proj.weight"]
        out[attn + "q_b_proj.weight"] = s[a + "q_decompress.weight"]
        out[attn + "kv_a_layernorm.weight"] = s[a + "kv_norm.weight"]
        out[attn + "kv_a_proj_with_mqa.weight"] = torch.cat(
            [s[a + "kv_proj.weight"], s[a + "k_rope_proj.weight"][:s.rope]])
        keys = s[a + "k_decompress.weight"].reshape(s.heads, s.head, s.kv_rank)[:, :nope]
        values = s[a + "v_decompress.weight"].reshape(s.heads, s.head, s.kv_rank)
        out[attn + "kv_b_proj.weight"] = torch.cat([keys, values], 1).reshape(
            s.heads * (nope + s.head), s.kv_rank)
        out[attn + "o_proj.weight"] = s[a + "o_proj.weight"]
        out[attn + "q_a_layernorm.weight"] = torch.ones(s.q_rank).to(s[a + "q_proj.weight"].dtype)
        out[mlp + "gate.weight"] = s[m + "router.weight"]
        out[mlp + "gate.e_score_correction_bias"] = torch.zeros(s.experts)
        for part in ("gate_proj", "up_proj", "down_proj"):
            pad = pad_columns if part == "down_proj" else pad_rows
            out[f"{mlp}switch_mlp.{part}.weight"] = torch.stack(
                [pad(s[f"{m}experts.{e}.{part}.weight"], width) for e in range(s.experts)])
            if s.shared:
                out[f"{mlp}shared_experts.{part}.weight"] = pad(
                    s[f"{m}shared_expert.{part}.weight"], width)
    return out


def expected_config(s, experts_per_token):
    return {
        "model_type": "deepseek_v3",
        "vocab_size": s.vocab,
        "hidden_size": s.hidden,
        "intermediate_size": 4 * s.hidden,
        "moe_intermediate_size": max(s.routed, s.shared),
        "num_hidden_layers": s.layers,
        "num_attention_heads": s.heads,
        "num_key_value_heads": s.heads,
        "n_shared_experts": 1 if s.shared else None,
        "n_routed_experts": s.experts,
        "num_experts_per_tok": experts_per_token,
        "kv_lora_rank": s.kv_rank,
        "q_lora_rank": s.q_rank,
        "qk_rope_head_dim": s.rope,
        "v_head_dim": s.head,
        "qk_nope_head_dim": s.head - s.rope,
        "max_position_embeddings": s.block,
        "norm_topk_prob": False,
        "n_group": 1,
        "topk_group": 1,
        "routed_scaling_factor": 1.0,
        "moe_layer_freq": 1,
        "first_k_dense_replace": 0,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "attention_bias": False,
    }


def main():
    args = arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0])).parse_args()
    source = Source(args.checkpoint, args.nest, args.prefix)
    expected = cast(expected_tensors(source), args.dtype, ["e_score_correction_bias"])
    written, config = read_folder(args.folder)
    return compare(expected, written, expected_config(source, args.experts_per_token), config) > 0


if __name__ == "__main__":
    sys.exit(main())
