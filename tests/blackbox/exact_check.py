#!/usr/bin/python3
"""Holds a folder written with --target exact to docs/exact-class.md: every tensor and the
config, made here with torch from the checkpoint, byte for byte. With --keep-mtp also
mtp.safetensors.

    exact_check.py CHECKPOINT FOLDER [--dtype bf16] [--keep-mtp] [--experts-per-token 2]
"""
import argparse
import os
import sys

import torch

from target_common import Source, arguments, cast, compare, read_folder, read_safetensors


def block_tensors(s, attn_norm, mlp_norm, a, m, to):
    """One block: source prefixes a (attention) and m (mixture), target prefix to."""
    out = {to + "input_layernorm.weight": s[attn_norm],
           to + "post_attention_layernorm.weight": s[mlp_norm]}
    attn, mlp = to + "self_attn.", to + "mlp."
    plain = {"q_a_proj": "q_proj", "q_nope_proj": "q_decompress", "q_rope_proj": "q_rope_proj",
             "kv_a_proj": "kv_proj", "kv_a_layernorm": "kv_norm", "k_rope_proj": "k_rope_proj",
             "o_proj": "o_proj"}
    for target, source in plain.items():
        out[f"{attn}{target}.weight"] = s[f"{a}{source}.weight"]
    for target, source in {"k_b_proj": "k_decompress", "v_b_proj": "v_decompress"}.items():
        out[f"{attn}{target}.weight"] = s[f"{a}{source}.weight"].reshape(
            s.heads, s.head, s.kv_rank)
    out[mlp + "gate.weight"] = s[m + "router.weight"]
    out[mlp + "gate.expert_bias"] = s[m + "expert_bias"]
    kinds = ["weight"] + (["bias"] if s.bias else [])
    if s.bias:
        out[attn + "o_proj.bias"] = s[a + "o_proj.bias"]
    for part in ("gate_proj", "up_proj", "down_proj"):
        for kind in kinds:
            out[f"{mlp}switch_mlp.{part}.{kind}"] = torch.stack(
                [s[f"{m}experts.{e}.{part}.{kind}"] for e in range(s.experts)])
            if s.shared:
                out[f"{mlp}shared_experts.{part}.{kind}"] = s[f"{m}shared_expert.{part}.{kind}"]
    return out


def expected_tensors(s):
    out = {"model.embed_tokens.weight": s["wte.weight"],
           "model.embed_positions.weight": s["wpe.weight"],
           "model.norm.weight": s["ln_f.weight"]}
    if not s.tied:
        out["lm_head.weight"] = s["lm_head.weight"]
    for l in range(s.layers):
        out.update(block_tensors(s, f"h.{l}.ln_1.weight", f"h.{l}.ln_2.weight", f"h.{l}.attn.",
                                 f"h.{l}.mlp.", f"model.layers.{l}."))
    return out


def expected_mtp(s):
    out = {}
    for i in range(s.mtp):
        p, to = f"mtp_heads.{i}.", f"mtp.{i}."
        out[to + "prev_norm.weight"] = s[p + "norm1.weight"]
        out[to + "embed_norm.weight"] = s[p + "norm2.weight"]
        out[to + "combine_proj.weight"] = s[p + "combine_proj.weight"]
        if s.bias:
            out[to + "combine_proj.bias"] = s[p + "combine_proj.bias"]
        out.update(block_tensors(s, p + "attn_norm.weight", p + "mlp_norm.weight", p + "attn.",
                                 p + "mlp.", to + "block."))
    return out


def expected_config(s, args):
    """The keys that this layout decides, by the naming rule of docs/exact-class.md."""
    return {
        "model_type": "weightbridge_mla",
        "model_file": "weightbridge_mla.py",
        "vocab_size": s.vocab,
        "hidden_size": s.hidden,
        "num_hidden_layers": s.layers,
        "max_position_embeddings": s.block,
        "positions": "learned",
        "tie_word_embeddings": s.tied,
        "head_bias": False,
        "norm_kind": "rms",
        "norm_eps": 1e-6,
        "norm_eps_outside_root": True,
        "norm_bias": False,
        "rope_layout": "half_split",
        "rope_base": 10000.0,
        "rope_scaling": "none",
        "num_attention_heads": s.heads,
        "q_lora_rank": s.q_rank,
        "kv_lora_rank": s.kv_rank,
        "qk_nope_head_dim": s.head,
        "qk_rope_head_dim": s.rope,
        "v_head_dim": s.head,
        "q_norm_kind": "none",
        "kv_norm_kind": "rms",
        "kv_norm_eps": 1e-6,
        "kv_norm_eps_outside_root": True,
        "rope_keys": "per_head",
        "rope_key_from": "input",
        "o_bias": s.bias,
        "q_bias": False,
        "kv_down_bias": False,
        "n_routed_experts": s.experts,
        "moe_intermediate_size": s.routed,
        "routed_bias": s.bias,
        "routed_activation": "silu",
        "routed_gated": True,
        "shared_intermediate_size": s.shared,
        "shared_scale": 1.0,
        "router_score": "softmax_of_chosen",
        "router_expert_bias": "logits",
        "num_experts_per_tok": args.experts_per_token,
        "routed_scaling_factor": 1.0,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 0,
        "moe_layer_freq": 1,
        "num_nextn_predict_layers": s.mtp if args.keep_mtp else 0,
    }


def main():
    parser = arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    parser.add_argument("--keep-mtp", action="store_true")
    args = parser.parse_args()
    source = Source(args.checkpoint, args.nest, args.prefix)
    wide = ["expert_bias"]
    written, config = read_folder(args.folder)
    differences = compare(cast(expected_tensors(source), args.dtype, wide), written,
                          expected_config(source, args), config)
    extra = os.path.join(args.folder, "mtp.safetensors")
    if args.keep_mtp and source.mtp:
        differences += compare(cast(expected_mtp(source), args.dtype, wide),
                               read_safetensors(extra), {}, {})
    elif os.path.exists(extra):
        print("mtp.safetensors is there, but was not asked for", file=sys.stderr)
        differences += 1
    return differences > 0


if __name__ == "__main__":
    sys.exit(main())
