#!/usr/bin/python3
"""Writes a synthetic checkpoint with the names, dtypes and shapes of the published DeepSeek-V3.

    make_published_checkpoint.py -o DIR [--layers 61] [--experts 256] [--dtype fp8|bf16]
                                 [--scale N] [--sparse] [--shard-size BYTES] [--no-mtp]

The whole of it is 671 billion parameters; --layers and --experts make fewer of them, --scale N
divides every width by N. With --sparse the files are headers with holes of the right size
behind them: they take no room and say all that a plan needs. Without it the data is random:
weights of a normal distribution, or FP8 codes that are numbers, with scales.

Needs numpy, without --sparse only. Any random number comes from --seed.
"""

import argparse
import json
import os
import struct

DTYPE_BYTES = {"F32": 4, "BF16": 2, "F8_E4M3": 1}


def config(a):
    s = a.scale
    return {
        "architectures": ["DeepseekV3ForCausalLM"],
        "attention_bias": False,
        "first_k_dense_replace": min(3, a.layers - 1),
        "hidden_act": "silu",
        "hidden_size": 7168 // s,
        "intermediate_size": 18432 // s,
        "kv_lora_rank": 512 // s,
        "max_position_embeddings": 163840,
        "model_type": "deepseek_v3",
        "moe_intermediate_size": 2048 // s,
        "moe_layer_freq": 1,
        "n_group": 8,
        "n_routed_experts": a.experts,
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "num_attention_heads": 128 // s,
        "num_experts_per_tok": min(8, a.experts),
        "num_hidden_layers": a.layers,
        "num_key_value_heads": 128 // s,
        "num_nextn_predict_layers": 0 if a.no_mtp else 1,
        "q_lora_rank": 1536 // s,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {
            "beta_fast": 32,
            "beta_slow": 1,
            "factor": 40,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "original_max_position_embeddings": 4096,
            "type": "yarn",
        },
        "rope_theta": 10000,
        "routed_scaling_factor": 2.5,
        "scoring_func": "sigmoid",
        "tie_word_embeddings": False,
        "topk_group": 4,
        "topk_method": "noaux_tc",
        "torch_dtype": "bfloat16",
        "v_head_dim": 128,
        "vocab_size": 129280 // s,
        **(
            {
                "quantization_config": {
                    "activation_scheme": "dynamic",
                    "fmt": "e4m3",
                    "quant_method": "fp8",
                    "weight_block_size": [128, 128],
                }
            }
            if a.dtype == "fp8"
            else {}
        ),
    }


def tensors(c, fp8, mtp):
    """(name, dtype, shape) of everything, in the order of layers."""
    d, heads = c["hidden_size"], c["num_attention_heads"]
    nope, rope, value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    q, kv = c["q_lora_rank"], c["kv_lora_rank"]

    def linear(name, out, into):
        if not fp8:
            yield name + ".weight", "BF16", (out, into)
            return
        yield name + ".weight", "F8_E4M3", (out, into)
        yield name + ".weight_scale_inv", "F32", (-(-out // 128), -(-into // 128))

    def mlp(name, width):
        yield from linear(name + "gate_proj", width, d)
        yield from linear(name + "up_proj", width, d)
        yield from linear(name + "down_proj", d, width)

    def block(l, mixture):
        at = f"model.layers.{l}."
        yield at + "input_layernorm.weight", "BF16", (d,)
        yield at + "post_attention_layernorm.weight", "BF16", (d,)
        a = at + "self_attn."
        yield from linear(a + "q_a_proj", q, d)
        yield a + "q_a_layernorm.weight", "BF16", (q,)
        yield from linear(a + "q_b_proj", heads * (nope + rope), q)
        yield from linear(a + "kv_a_proj_with_mqa", kv + rope, d)
        yield a + "kv_a_layernorm.weight", "BF16", (kv,)
        yield from linear(a + "kv_b_proj", heads * (nope + value), kv)
        yield from linear(a + "o_proj", d, heads * value)
        if not mixture:
            yield from mlp(at + "mlp.", c["intermediate_size"])
            return
        yield at + "mlp.gate.weight", "BF16", (c["n_routed_experts"], d)
        yield at + "mlp.gate.e_score_correction_bias", "F32", (c["n_routed_experts"],)
        for e in range(c["n_routed_experts"]):
            yield from mlp(f"{at}mlp.experts.{e}.", c["moe_intermediate_size"])
        yield from mlp(at + "mlp.shared_experts.", c["moe_intermediate_size"])

    yield "model.embed_tokens.weight", "BF16", (c["vocab_size"], d)
    for l in range(c["num_hidden_layers"]):
        yield from block(l, l >= c["first_k_dense_replace"])
    if mtp:
        l = c["num_hidden_layers"]
        at = f"model.layers.{l}."
        yield at + "embed_tokens.weight", "BF16", (c["vocab_size"], d)
        yield at + "enorm.weight", "BF16", (d,)
        yield at + "hnorm.weight", "BF16", (d,)
        yield at + "eh_proj.weight", "BF16", (d, 2 * d)
        yield from block(l, True)
        yield at + "shared_head.norm.weight", "BF16", (d,)
        yield at + "shared_head.head.weight", "BF16", (c["vocab_size"], d)
    yield "model.norm.weight", "BF16", (d,)
    yield "lm_head.weight", "BF16", (c["vocab_size"], d)


def size_of(dtype, shape):
    n = DTYPE_BYTES[dtype]
    for length in shape:
        n *= length
    return n


def random_bytes(rng, name, dtype, shape):
    import numpy as np

    n = size_of(dtype, shape) // DTYPE_BYTES[dtype]
    for begin in range(0, n, 1 << 24):
        count = min(1 << 24, n - begin)
        if dtype == "F8_E4M3":
            codes = rng.integers(0, 256, count, dtype=np.uint8)
            yield np.where(codes & 0x7F == 0x7F, codes ^ 1, codes).tobytes()
            continue
        values = rng.standard_normal(count, dtype=np.float32)
        if name.endswith("weight_scale_inv"):
            values = np.abs(values) * 2e-4 + 1e-5
        elif len(shape) == 1 and not name.endswith("correction_bias"):
            values = 1 + 0.1 * values
        else:
            values *= 0.02
        if dtype == "F32":
            yield values.tobytes()
        else:  # round to nearest even
            bits = values.view(np.uint32)
            yield ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).tobytes()


def write_shard(path, part, sparse, rng):
    header, at = {}, 0
    for name, dtype, shape in part:
        n = size_of(dtype, shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        if sparse:
            file.truncate(8 + len(text) + at)
        else:
            for name, dtype, shape in part:
                for piece in random_bytes(rng, name, dtype, shape):
                    file.write(piece)
    return at


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--layers", type=int, default=61)
    parser.add_argument("--experts", type=int, default=256)
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--dtype", choices=("fp8", "bf16"), default="fp8")
    parser.add_argument("--sparse", action="store_true")
    parser.add_argument("--no-mtp", action="store_true")
    parser.add_argument("--shard-size", type=float, default=4.3e9)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    os.makedirs(a.output)
    c = config(a)
    shards, room = [[]], a.shard_size
    for tensor in tensors(c, a.dtype == "fp8", not a.no_mtp):
        n = size_of(*tensor[1:])
        if shards[-1] and n > room:
            shards.append([])
            room = a.shard_size
        shards[-1].append(tensor)
        room -= n
    rng = None
    if not a.sparse:
        import numpy as np

        rng = np.random.default_rng(a.seed)
    weight_map, total = {}, 0
    for i, part in enumerate(shards):
        name = f"model-{i + 1:05d}-of-{len(shards):06d}.safetensors"
        total += write_shard(os.path.join(a.output, name), part, a.sparse, rng)
        weight_map.update({tensor[0]: name for tensor in part})
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    with open(os.path.join(a.output, "model.safetensors.index.json"), "w") as file:
        json.dump(index, file, indent=2)
    with open(os.path.join(a.output, "config.json"), "w") as file:
        json.dump(c, file, indent=2)
    print(f"{a.output}: {len(weight_map)} tensors, {total} bytes in {len(shards)} files")


if __name__ == "__main__":
    main()
