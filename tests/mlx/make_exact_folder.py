"""Writes an exact folder from a checkpoint of the reference layout, by hand.

    make_exact_folder.py CHECKPOINT.pt FOLDER [--experts-per-token N] [--bits B]

Follows docs/exact-class.md and the reference layout with torch and numpy alone, so
that it shares nothing with the C++ writer: what one of them gets wrong, the other
does not. Multi-token heads are left out. --bits quantises (affine, groups of 32) what
mlx-lm would: every matrix but the router whose rows divide into groups.
"""

import argparse
import os
import sys

import numpy as np
import torch
from folder import DEFAULTS, write_folder


def config_of(state, experts_per_token):
    vocab, hidden = state["wte.weight"].shape
    layers = len({key.split(".")[1] for key in state if key.startswith("h.")})
    first = {key[4:]: value for key, value in state.items() if key.startswith("h.0.")}
    rope = 2 * len(first["attn.rope.inv_freq"])
    heads = first["attn.k_rope_proj.weight"].shape[0] // rope
    experts = first["mlp.router.weight"].shape[0]
    biased = "attn.o_proj.bias" in first
    shared = "mlp.shared_expert.gate_proj.weight"
    return {
        **DEFAULTS,
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "max_position_embeddings": state["wpe.weight"].shape[0],
        "positions": "learned",
        "tie_word_embeddings": True,
        "norm_eps_outside_root": True,
        "num_attention_heads": heads,
        "q_lora_rank": first["attn.q_proj.weight"].shape[0],
        "kv_lora_rank": first["attn.kv_proj.weight"].shape[0],
        "qk_nope_head_dim": hidden // heads,
        "qk_rope_head_dim": rope,
        "v_head_dim": hidden // heads,
        "kv_norm_eps_outside_root": True,
        "rope_keys": "per_head",
        "o_bias": biased,
        "n_routed_experts": experts,
        "num_experts_per_tok": experts_per_token,
        "moe_intermediate_size": first["mlp.experts.0.gate_proj.weight"].shape[0],
        "routed_bias": biased,
        "shared_intermediate_size": first[shared].shape[0] if shared in first else 0,
        "shared_bias": biased and shared in first,
        "router_expert_bias": "logits",
    }


def tensors_of(state, config):
    heads, width = config["num_attention_heads"], config["qk_nope_head_dim"]
    rank = config["kv_lora_rank"]
    out = {
        "model.embed_tokens.weight": state["wte.weight"],
        "model.embed_positions.weight": state["wpe.weight"],
        "model.norm.weight": state["ln_f.weight"],
    }
    assert torch.equal(state["wte.weight"], state["lm_head.weight"])
    for layer in range(config["num_hidden_layers"]):
        old, new = f"h.{layer}.", f"model.layers.{layer}."
        attention = {
            "q_a_proj": "q_proj",
            "q_nope_proj": "q_decompress",
            "q_rope_proj": "q_rope_proj",
            "kv_a_proj": "kv_proj",
            "kv_a_layernorm": "kv_norm",
            "k_rope_proj": "k_rope_proj",
            "o_proj": "o_proj",
        }
        for mine, theirs in attention.items():
            for part in ("weight", "bias"):
                if f"{old}attn.{theirs}.{part}" in state:
                    out[f"{new}self_attn.{mine}.{part}"] = state[f"{old}attn.{theirs}.{part}"]
        for mine, theirs in [("k_b_proj", "k_decompress"), ("v_b_proj", "v_decompress")]:
            matrix = state[f"{old}attn.{theirs}.weight"]
            out[f"{new}self_attn.{mine}.weight"] = matrix.reshape(heads, width, rank)
        out[new + "input_layernorm.weight"] = state[old + "ln_1.weight"]
        out[new + "post_attention_layernorm.weight"] = state[old + "ln_2.weight"]
        out[new + "mlp.gate.weight"] = state[old + "mlp.router.weight"]
        out[new + "mlp.gate.expert_bias"] = state[old + "mlp.expert_bias"]
        for proj in ("gate_proj", "up_proj", "down_proj"):
            for part in ("weight", "bias"):
                names = [
                    f"{old}mlp.experts.{e}.{proj}.{part}"
                    for e in range(config["n_routed_experts"])
                ]
                if names[0] in state:
                    out[f"{new}mlp.switch_mlp.{proj}.{part}"] = torch.stack(
                        [state[name] for name in names]
                    )
                shared = f"{old}mlp.shared_expert.{proj}.{part}"
                if shared in state:
                    out[f"{new}mlp.shared_experts.{proj}.{part}"] = state[shared]
    return {name: value.numpy().astype(np.float32) for name, value in out.items()}


def quantised(config, tensors, bits):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "standin"))
    import mlx.core as mx

    out = {}
    for name, value in tensors.items():
        if value.ndim < 2 or value.shape[-1] % 32 or not name.endswith("weight"):
            out[name] = value
        elif name.endswith("mlp.gate.weight"):
            out[name] = value
        else:
            arrays = mx.quantize(mx.array(value), 32, bits)
            for part, array in zip(("weight", "scales", "biases"), arrays):
                out[name[: -len("weight")] + part] = array.np
    return {**config, "quantization": {"group_size": 32, "bits": bits, "mode": "affine"}}, out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("folder")
    parser.add_argument("--experts-per-token", type=int, default=2)
    parser.add_argument("--bits", type=int, choices=(2, 3, 4, 5, 6, 8))
    args = parser.parse_args()
    state = torch.load(args.checkpoint, map_location="cpu")
    config = config_of(state, args.experts_per_token)
    tensors = tensors_of(state, config)
    if args.bits:
        config, tensors = quantised(config, tensors, args.bits)
    write_folder(args.folder, config, tensors)


if __name__ == "__main__":
    main()
