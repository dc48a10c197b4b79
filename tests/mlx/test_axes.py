"""Every switch of config.json: the class on the stand-in against reference.py.

    test_axes.py [-k PART_OF_A_NAME]

Small random models, one per row of VARIANTS, each run whole, in pieces through a
cache, after a trim, in a batch with left padding, and with a quantised cache. A
variant must also change the reference's own logits, or it tests nothing; and every
key of config.json must be met with at least two values.
"""

import argparse
import json
import os
import sys
import tempfile
import zlib

import numpy as np
from folder import DEFAULTS, write_folder
from reference import Reference
from run_exact_class import load_model, logits_by_steps, logits_whole, to_numpy

import mlx.core as mx  # after run_exact_class: from its stand-in

BOUND = 1e-4
BASE = {
    **DEFAULTS,
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "max_position_embeddings": 64,
    "num_attention_heads": 4,
    "q_lora_rank": 20,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 8,
    "v_head_dim": 5,
    "q_norm_kind": "rms",
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 16,
    "shared_intermediate_size": 12,
    "intermediate_size": 18,
    "first_k_dense_replace": 1,
}
GROUPS = {"n_group": 4, "topk_group": 2, "router_score": "sigmoid"}
YARN = {
    "rope_scaling": "yarn",
    "rope_factor": 4.0,
    "rope_original_max_position_embeddings": 16,
    "rope_beta_fast": 4.0,
}
LONG = {
    "rope_scaling": "longrope",
    "rope_long_factor": [1.0, 0.5, 0.1, 0.02],
    "rope_original_max_position_embeddings": 64,
}
EACH_HEAD = [round(0.9 ** (i + 1) - 0.2, 3) for i in range(16)]  # 4 heads of 4 pairs
LATENT_NORM = {"kv_norm_kind": "layer", "kv_norm_bias": True}
VARIANTS = {
    "base": {},
    "other sizes": {"vocab_size": 41, "hidden_size": 26, "num_hidden_layers": 3, "v_head_dim": 7,
                    "num_attention_heads": 3, "intermediate_size": 17, "moe_intermediate_size": 15},
    "learned positions": {"positions": "learned", "max_position_embeddings": 32},
    "tied": {"tie_word_embeddings": True},
    "head bias": {"head_bias": True},
    "tied with head bias": {"tie_word_embeddings": True, "head_bias": True},
    "norm eps": {"norm_eps": 0.3},
    "norm eps outside": {"norm_eps": 0.3, "norm_eps_outside_root": True},
    "layer norm": {"norm_kind": "layer", "norm_bias": True},
    "layer norm, no bias, outside": {"norm_kind": "layer", "norm_eps": 0.2,
                                     "norm_eps_outside_root": True},
    "no block norms": {"norm_kind": "none"},
    "final norm of its own": {"own_final_norm": True, "final_norm_kind": "layer",
                              "final_norm_bias": True, "final_norm_eps": 0.2,
                              "final_norm_eps_outside_root": True},
    "no final norm": {"own_final_norm": True, "final_norm_kind": "none"},
    "final norm alone": {"norm_kind": "none", "own_final_norm": True},
    "interleaved": {"rope_layout": "interleaved"},
    "rope base": {"rope_base": 100.0},
    "linear rope": {"rope_scaling": "linear", "rope_factor": 2.0},
    "yarn": YARN,
    "yarn with betas": {**YARN, "rope_beta_slow": 0.5, "rope_original_max_position_embeddings": 40},
    "yarn magnitude": {**YARN, "rope_mscale": 2.0, "rope_mscale_all_dim": 0.5,
                       "rope_layout": "interleaved"},
    "rope over all heads": {"rope_span": "all_heads"},
    "rope over all heads, interleaved": {"rope_span": "all_heads", "rope_layout": "interleaved"},
    "rope and keys over all heads": {"rope_span": "all_heads", "rope_keys": "per_head"},
    "yarn over fewer key heads": {**YARN, "rope_span": "all_heads", "rope_keys": "per_head",
                                  "num_key_value_heads": 2, "rope_layout": "interleaved"},
    "frequencies": {"rope_inv_freq": [1.0, -0.4, 0.05, 0.0]},
    "frequencies per head": {"rope_inv_freq": EACH_HEAD, "rope_keys": "per_head"},
    "frequencies per head, interleaved": {"rope_inv_freq": EACH_HEAD, "rope_keys": "per_head",
                                          "rope_layout": "interleaved"},
    "frequencies over all heads": {"rope_inv_freq": EACH_HEAD, "rope_keys": "per_head",
                                   "rope_span": "all_heads"},
    "longrope": LONG,
    "longrope stretched": {**LONG, "rope_original_max_position_embeddings": 16},
    "fewer kv heads": {"num_key_value_heads": 2},
    "one kv head, rope per head": {"num_key_value_heads": 1, "rope_keys": "per_head"},
    "fewer kv heads, rope per head": {"num_key_value_heads": 2, "rope_keys": "per_head"},
    "direct queries": {"q_lora_rank": 0, "q_norm_kind": "none"},
    "no kv latent": {"kv_lora_rank": 0, "kv_norm_kind": "none"},
    "no nope": {"qk_nope_head_dim": 0},
    "no rope": {"qk_rope_head_dim": 0},
    "no query norm": {"q_norm_kind": "none"},
    "query layer norm": {"q_norm_kind": "layer", "q_norm_bias": True, "q_norm_eps": 0.2,
                         "q_norm_eps_outside_root": True},
    "no kv norm": {"kv_norm_kind": "none"},
    "kv layer norm": {**LATENT_NORM, "kv_norm_eps": 0.2, "kv_norm_eps_outside_root": True},
    "query head norm": {"q_head_norm_kind": "rms", "q_head_norm_eps": 0.1},
    "both head norms": {"q_head_norm_kind": "layer", "q_head_norm_bias": True,
                        "q_head_norm_eps_outside_root": True, "k_head_norm_kind": "rms"},
    "key head norm, outside": {"k_head_norm_kind": "layer", "k_head_norm_bias": True,
                               "k_head_norm_eps": 0.1, "k_head_norm_eps_outside_root": True},
    "head norms, no rope": {"q_head_norm_kind": "rms", "k_head_norm_kind": "rms",
                            "qk_rope_head_dim": 0},
    "head norms, no nope": {"q_head_norm_kind": "rms", "k_head_norm_kind": "rms",
                            "qk_nope_head_dim": 0},
    "head norms of the content": {"q_head_norm_kind": "rms", "k_head_norm_kind": "layer",
                                  "k_head_norm_bias": True, "head_norm_part": "content"},
    "head norm of the query content": {"q_head_norm_kind": "layer", "head_norm_part": "content"},
    "key norms and frequencies per head": {"k_head_norm_kind": "rms", "rope_keys": "per_head",
                                           "rope_inv_freq": EACH_HEAD},
    "key norms, rope over all heads": {"k_head_norm_kind": "rms", "rope_span": "all_heads",
                                       "num_key_value_heads": 2},
    "rope per head": {"rope_keys": "per_head"},
    "rope from the raw latent": {"rope_key_from": "raw_latent"},
    "rope from the normed latent": {"rope_key_from": "normed_latent", **LATENT_NORM},
    "latent factor": {"kv_latent_factor": 1.7},
    "rope key factor": {"rope_key_factor": 3.0},
    "softmax scale": {"softmax_scale": 0.9},
    "two softmax scales": {"softmax_scale": 0.9, "softmax_scale_rope": 0.3},
    "rope softmax scale": {"softmax_scale_rope": 0.6},
    "value is key content": {"value_is_key_content": True, "v_head_dim": 6},
    "value is key content, biased": {"value_is_key_content": True, "v_head_dim": 6,
                                     "kv_up_bias": True, "k_head_norm_kind": "rms"},
    "query biases": {"q_down_bias": True, "q_bias": True},
    "kv biases": {"kv_down_bias": True, "k_rope_bias": True, "kv_up_bias": True},
    "kv up bias, fewer heads": {"kv_up_bias": True, "num_key_value_heads": 2},
    "o bias": {"o_bias": True},
    "dense gelu": {"dense_activation": "gelu_erf", "dense_bias": True},
    "dense relu, not gated": {"dense_activation": "relu", "dense_gated": False},
    "all dense": {"n_routed_experts": 0, "num_experts_per_tok": 0, "shared_intermediate_size": 0},
    "all mixture": {"first_k_dense_replace": 0},
    "every second layer": {"first_k_dense_replace": 0, "moe_layer_freq": 2},
    "every second layer, from the second": {"first_k_dense_replace": 0, "moe_layer_freq": 2,
                                            "moe_layer_offset": 1, "num_hidden_layers": 3},
    "routed gelu, biased": {"routed_activation": "gelu_tanh", "routed_bias": True},
    "routed, not gated": {"routed_gated": False, "routed_activation": "gelu_erf",
                          "routed_bias": True},
    # Gates beyond 100, where the clipping bites; _gain multiplies their weights.
    "large gates": {"_gain": 100.0},
    "large gates, clipped": {"_gain": 100.0, "routed_activation": "silu_clipped",
                             "_unlike": "large gates"},
    "shared relu, biased": {"shared_activation": "relu", "shared_bias": True},
    "shared, not gated": {"shared_gated": False, "shared_activation": "gelu_tanh"},
    "shared scale": {"shared_scale": 0.5},
    "no shared": {"shared_intermediate_size": 0},
    "softmax router": {"router_score": "softmax"},
    "softmax router, normed": {"router_score": "softmax", "norm_topk_prob": True,
                               "router_norm_eps": 0.3},
    "sigmoid router": {"router_score": "sigmoid"},
    "sigmoid, normed with eps": {"router_score": "sigmoid", "norm_topk_prob": True,
                                 "router_norm_eps": 0.5},
    "softmax router, least sum": {"router_score": "softmax", "norm_topk_prob": True,
                                  "router_norm_min": 0.95},
    "router bias": {"router_bias": True},
    "clamped logits": {"router_logit_clamp": [-6.0, 3.5], "router_bias": True},
    "clamped logits, expert bias": {"router_logit_clamp": [-1.0, 2.0],
                                    "router_expert_bias": "logits"},
    "clamped weights": {"router_score": "sigmoid", "router_weight_clamp": [0.6, 0.9],
                        "norm_topk_prob": True},
    "clamped weights of the chosen": {"router_weight_clamp": [0.1, 0.4]},
    "expert bias in logits": {"router_expert_bias": "logits"},
    "expert bias in selection": {"router_expert_bias": "selection", "router_score": "sigmoid"},
    "expert bias in scores": {"router_expert_bias": "scores", "router_score": "sigmoid",
                              "_unlike": "expert bias in selection"},
    "groups of one": {**GROUPS, "n_group": 8, "topk_group": 4},
    "groups, bias in scores": {**GROUPS, "router_expert_bias": "scores", "topk_group": 3,
                               "norm_topk_prob": True},
    "selection, softmax of chosen": {"router_expert_bias": "selection"},
    "top 1": {"num_experts_per_tok": 1, "router_score": "sigmoid"},
    "routed factor": {"routed_scaling_factor": 2.5},
    "groups": GROUPS,
    "groups by max": {**GROUPS, "router_group_score": "max", "n_group": 2, "topk_group": 1},
    # One group masked: its two zeros beat every negative score, and no tie is cut in two.
    "groups, biased, zero": {**GROUPS, "router_expert_bias": "selection", "topk_group": 3},
    "groups, biased, -inf": {**GROUPS, "router_expert_bias": "selection",
                             "router_group_mask": "negative_infinity"},
    "groups, softmax of chosen": {**GROUPS, "router_score": "softmax_of_chosen",
                                  "router_group_mask": "negative_infinity"},
}  # fmt: skip
# Heads that the class leaves in mtp.safetensors; the decoder's tests run them (axes.json).
HEADS = {
    "multi-token heads": {"num_nextn_predict_layers": 2},
    "multi-token heads, layer norm": {"num_nextn_predict_layers": 1, "norm_kind": "layer",
                                      "norm_bias": True, "norm_eps": 1e-3, "mtp_norm": True,
                                      "mtp_combine_bias": True},
    "multi-token heads, no norms, dense": {"num_nextn_predict_layers": 1, "norm_kind": "none",
                                           "own_final_norm": True, "n_routed_experts": 0,
                                           "num_experts_per_tok": 0,
                                           "shared_intermediate_size": 0},
}  # fmt: skip
NOT_COMPUTED = {"model_type", "num_nextn_predict_layers", "mtp_combine_bias", "mtp_norm"}

REFUSALS = [
    ({"router_score": "argmax"}, '"router_score"'),
    ({"norm_kind": "batch"}, '"norm_kind"'),
    ({"hidden_size": 0}, '"hidden_size"'),
    ({"num_key_value_heads": 3}, '"num_key_value_heads"'),
    ({"qk_rope_head_dim": 7}, '"qk_rope_head_dim"'),
    ({"rope_scaling": "longrope", "rope_long_factor": [1.0]}, '"rope_long_factor"'),
    ({"rope_scaling": "yarn"}, '"rope_original_max_position_embeddings"'),
    ({"value_is_key_content": True}, '"value_is_key_content"'),
    ({"kv_lora_rank": 0, "rope_key_from": "raw_latent"}, '"rope_key_from"'),
    ({"n_group": 3}, '"n_group"'),
    ({"n_group": 2, "topk_group": 3}, '"topk_group"'),
    ({"num_experts_per_tok": 9}, '"num_experts_per_tok"'),
    ({"n_group": 4, "topk_group": 1}, '"num_experts_per_tok"'),
    ({"intermediate_size": 0}, '"intermediate_size"'),
    ({"positions": "learned", "max_position_embeddings": 0}, '"max_position_embeddings"'),
    ({"norm_kind": "none", "norm_bias": True}, '"norm_bias"'),
    ({"moe_layer_offset": 1}, '"moe_layer_offset"'),
    ({"head_norm_part": "content", "qk_nope_head_dim": 0}, '"head_norm_part"'),
    ({"rope_inv_freq": [1.0]}, '"rope_inv_freq" has 1 numbers'),
    ({"rope_inv_freq": EACH_HEAD}, '"rope_inv_freq" has frequencies for each head'),
    ({"router_logit_clamp": [1.0]}, '"router_logit_clamp"'),
    ({"qk_nope_head_dim": 0, "qk_rope_head_dim": 0}, '"v_head_dim"'),
    ("softmax_scale", 'lacks "softmax_scale"'),
]


def shapes(c):
    """Every tensor that docs/exact-class.md lists for this config."""
    out = {}
    hidden, heads = c["hidden_size"], c["num_attention_heads"]
    kv_heads = c["num_key_value_heads"] or heads
    nope, rope, value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    q_in, kv_in = c["q_lora_rank"] or hidden, c["kv_lora_rank"] or hidden

    def linear(name, *shape, bias=False, when=True):
        if when:
            out[name + ".weight"] = shape
            if bias:
                out[name + ".bias"] = shape[:-1]

    def norm(name, prefix, width):
        if c[prefix + "_kind"] != "none":
            out[name + ".weight"] = (width,)
            if c[prefix + "_bias"]:
                out[name + ".bias"] = (width,)

    def mlp(name, prefix, width, *stack):
        bias, gated = c[prefix + "_bias"], c[prefix + "_gated"]
        linear(name + "gate_proj", *stack, width, hidden, bias=bias, when=gated)
        linear(name + "up_proj", *stack, width, hidden, bias=bias)
        linear(name + "down_proj", *stack, hidden, width, bias=bias)

    linear("model.embed_tokens", c["vocab_size"], hidden)
    learned = c["positions"] == "learned"
    linear("model.embed_positions", c["max_position_embeddings"], hidden, when=learned)
    norm("model.norm", "final_norm" if c["own_final_norm"] else "norm", hidden)
    linear("lm_head", c["vocab_size"], hidden, when=not c["tie_word_embeddings"])
    if c["head_bias"]:
        out["lm_head.bias"] = (c["vocab_size"],)

    def block(b, moe):
        a, up = b + "self_attn.", c["kv_up_bias"]
        norm(b + "input_layernorm", "norm", hidden)
        norm(b + "post_attention_layernorm", "norm", hidden)
        if c["q_lora_rank"]:
            linear(a + "q_a_proj", q_in, hidden, bias=c["q_down_bias"])
            norm(a + "q_a_layernorm", "q_norm", q_in)
        if c["kv_lora_rank"]:
            linear(a + "kv_a_proj", kv_in, hidden, bias=c["kv_down_bias"])
            norm(a + "kv_a_layernorm", "kv_norm", kv_in)
        linear(a + "q_nope_proj", heads * nope, q_in, bias=c["q_bias"], when=nope)
        linear(a + "q_rope_proj", heads * rope, q_in, bias=c["q_bias"], when=rope)
        linear(a + "k_b_proj", kv_heads, nope, kv_in, bias=up, when=nope)
        linear(a + "v_b_proj", kv_heads, value, kv_in, bias=up, when=not c["value_is_key_content"])
        rows = rope * (kv_heads if c["rope_keys"] == "per_head" else 1)
        source = hidden if c["rope_key_from"] == "input" else kv_in
        linear(a + "k_rope_proj", rows, source, bias=c["k_rope_bias"], when=rope)
        normed = nope if c["head_norm_part"] == "content" else nope + rope
        norm(a + "q_head_norm", "q_head_norm", normed)
        norm(a + "k_head_norm", "k_head_norm", normed)
        linear(a + "o_proj", hidden, heads * value, bias=c["o_bias"])
        if moe:
            experts = c["n_routed_experts"]
            linear(b + "mlp.gate", experts, hidden, bias=c["router_bias"])
            if c["router_expert_bias"] != "none":
                out[b + "mlp.gate.expert_bias"] = (experts,)
            mlp(b + "mlp.switch_mlp.", "routed", c["moe_intermediate_size"], experts)
            if c["shared_intermediate_size"]:
                mlp(b + "mlp.shared_experts.", "shared", c["shared_intermediate_size"])
        else:
            mlp(b + "mlp.", "dense", c["intermediate_size"])

    for layer in range(c["num_hidden_layers"]):
        late = c["n_routed_experts"] > 0 and layer >= c["first_k_dense_replace"]
        mixture = late and layer % c["moe_layer_freq"] == c["moe_layer_offset"]
        block(f"model.layers.{layer}.", mixture)
    for m in range(c["num_nextn_predict_layers"]):
        norm(f"mtp.{m}.prev_norm", "norm", hidden)
        norm(f"mtp.{m}.embed_norm", "norm", hidden)
        linear(f"mtp.{m}.combine_proj", hidden, 2 * hidden, bias=c["mtp_combine_bias"])
        block(f"mtp.{m}.block.", c["n_routed_experts"] > 0)
        if c["mtp_norm"]:
            norm(f"mtp.{m}.norm", "norm", hidden)
    return out


def random_tensor(name, shape):
    """The same numbers for the same name and shape, whatever the variant."""
    rng = np.random.default_rng(zlib.crc32(f"{name} {shape}".encode()))
    values = rng.standard_normal(shape)
    if name.endswith("norm.weight"):
        return (1 + 0.3 * values).astype(np.float32)
    if name.endswith("expert_bias"):
        return (-1.7 + 0.3 * values).astype(np.float32)
    if name.endswith(".bias"):
        return (0.3 * values).astype(np.float32)
    if "embed" in name:
        return (0.7 * values).astype(np.float32)
    gain = 3.0 if "mlp.gate." in name else 1.3
    return (gain * values / np.sqrt(shape[-1])).astype(np.float32)


def make(folder, changes):
    config = {**BASE, **{key: v for key, v in changes.items() if not key.startswith("_")}}
    tensors = {name: random_tensor(name, shape) for name, shape in shapes(config).items()}
    for name in tensors:
        if name.endswith("switch_mlp.gate_proj.weight"):
            tensors[name] = tensors[name] * np.float32(changes.get("_gain", 1))
    write_folder(folder, config, tensors)
    return config, tensors


def differences(folder, config, tensors):
    rng = np.random.default_rng(5)
    tokens = rng.integers(0, config["vocab_size"], (2, 24)).astype(np.int32)
    reference = Reference(config, tensors)
    expected = np.stack([reference.logits(row) for row in tokens])
    model = load_model(folder)
    runs = {
        "whole": (logits_whole(model, tokens), expected),
        "step by step": (logits_by_steps(model, tokens), expected),
        "after a trim": (after_trim(model, tokens), expected[:, 10:]),
        "padded batch": padded(model, tokens, reference),
    }
    return {how: np.abs(a - b).max() for how, (a, b) in runs.items()}, expected


def after_trim(model, tokens):
    """Ten tokens, three wrong ones that are taken back, then the rest in two ways."""
    cache = model.make_cache()
    model(mx.array(tokens[:, :10]), cache=cache)
    model(mx.array((tokens[:, 10:13] + 1) % 7), cache=cache)
    assert [c.trim(3) for c in cache] == [3] * len(cache)
    one = to_numpy(model(mx.array(tokens[:, 10:11]), cache=cache))
    rest = to_numpy(model(mx.array(tokens[:, 11:]), cache=cache))
    return np.concatenate([one, rest], axis=1)


def padded(model, tokens, reference):
    """Rows of different length in one batch, as mlx-lm's batched generation has them."""
    from mlx_lm.models.cache import BatchKVCache

    cache = [BatchKVCache([4, 0]) for _ in model.layers]
    rows = tokens.copy()
    rows[0, :4] = 0
    parts = [(0, 9), (9, 10), (10, 11), (11, tokens.shape[1])]
    got = np.concatenate(
        [to_numpy(model(mx.array(rows[:, a:b]), cache=cache)) for a, b in parts], axis=1
    )
    short = reference.logits(rows[0, 4:])
    want = np.concatenate([short, reference.logits(rows[1])])
    return np.concatenate([got[0, 4:], got[1]]), want


def check_variants(part):
    failures, seen = [], {}
    for name, changes in VARIANTS.items():
        if part not in name and name != "base":
            continue
        if changes.get("_unlike", "base") not in seen and name != "base":
            continue  # left out by -k
        with tempfile.TemporaryDirectory() as folder:
            worst, logits = differences(folder, *make(folder, changes))
        seen[name] = logits
        base = seen[changes.get("_unlike", "base")]
        moved = logits.shape != base.shape or np.abs(logits - base).max() > 1e-3
        ok = all(d <= BOUND for d in worst.values()) and (moved or name == "base")
        text = ", ".join(f"{how} {d:.1e}" for how, d in worst.items())
        print(f"{'ok  ' if ok else 'FAIL'} {name}: {text}{'' if moved else ', NOTHING MOVED'}")
        failures += [] if ok else [name]
    return failures


def check_coverage():
    met = {key: {str(value)} for key, value in BASE.items()}
    for changes in VARIANTS.values():
        for key, value in changes.items():
            if not key.startswith("_"):
                met[key].add(str(value))
    alone = sorted(key for key, seen in met.items() if len(seen) < 2 and key not in NOT_COMPUTED)
    for key in alone:
        print(f"FAIL the key {key} is met with one value only")
    return alone


def check_refusals():
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        make(folder, {})
        for changes, words in REFUSALS:
            config = {**BASE, "model_file": "weightbridge_mla.py"}
            if isinstance(changes, str):
                del config[changes]
            else:
                config.update(changes)
            with open(os.path.join(folder, "config.json"), "w") as f:
                json.dump(config, f)
            try:
                load_model(folder)
                said = "nothing"
            except ValueError as error:
                said = str(error)
            ok = words in said and "config.json" in said
            print(f"{'ok  ' if ok else 'FAIL'} refused: {said}")
            failures += [] if ok else [str(changes)]
    return failures


def check_position_limit():
    """Learned positions end; one more token is refused, not read from beyond the table."""
    with tempfile.TemporaryDirectory() as folder:
        make(folder, {"positions": "learned", "max_position_embeddings": 8})
        model = load_model(folder)
        cache = model.make_cache()
        model(mx.array(np.zeros((1, 8), np.int32)), cache=cache)
        try:
            model(mx.array(np.zeros((1, 1), np.int32)), cache=cache)
        except ValueError as error:
            print(f"ok   refused: {error}")
            return [] if "8 learned positions" in str(error) else ["position limit"]
    print("FAIL position 8 of 8 was computed")
    return ["position limit"]


def check_quantised():
    """4 and 8 bits: the same as the dequantised weights; the router stays as it is."""
    failures = []
    changes = {"hidden_size": 64, "q_lora_rank": 64, "kv_lora_rank": 64, "v_head_dim": 16,
               "moe_intermediate_size": 64, "shared_intermediate_size": 64, "routed_bias": True,
               "intermediate_size": 64, "kv_up_bias": True, "positions": "learned"}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        config, tensors = make(folder, changes)
        model = load_model(folder)
        parameters = {
            f"{path}.weight": module
            for path, module in model._modules()
            if hasattr(module, "to_quantized") and model.quant_predicate(path, module)
        }
        bare = {n for n in tensors if n.endswith("weight") and n not in parameters}
        plain_ones = ("mlp.gate.weight", "norm.weight", "embed_positions.weight")
        if bare != {n for n in tensors if n.endswith(plain_ones)}:
            print(f"FAIL left unquantised: {sorted(bare)}")
            failures.append("quant_predicate")
        for bits in (4, 8):
            packed, plain = dict(tensors), dict(tensors)
            for name in parameters:
                w = mx.quantize(mx.array(tensors[name]), 32, bits)
                for part, value in zip(("weight", "scales", "biases"), w):
                    packed[name.replace(".weight", "." + part)] = value.np
                plain[name] = mx.dequantize(*w, 32, bits).np
            settings = {"group_size": 32, "bits": bits, "mode": "affine"}
            write_folder(folder, {**config, "quantization": settings}, packed)
            write_folder(other, config, plain)
            tokens = np.random.default_rng(1).integers(0, 40, (2, 24)).astype(np.int32)
            want = Reference(config, plain)
            want = np.stack([want.logits(row) for row in tokens])
            for how, run in [("whole", logits_whole), ("step by step", logits_by_steps)]:
                d = np.abs(run(load_model(folder), tokens) - want).max()
                print(f"{'ok  ' if d <= BOUND else 'FAIL'} {bits} bits, {how}: {d:.1e}")
                failures += [] if d <= BOUND else [f"{bits} bits {how}"]
    return failures


def check_quantised_cache():
    """--kv-bits 8: close to the plain cache, and not equal to it."""
    with tempfile.TemporaryDirectory() as folder:
        make(folder, {"kv_lora_rank": 64, "qk_rope_head_dim": 64})
        model = load_model(folder)
        tokens = np.random.default_rng(2).integers(0, 40, (1, 20)).astype(np.int32)
        plain, packed = model.make_cache(), model.make_cache()
        for cache in (plain, packed):
            model(mx.array(tokens[:, :12]), cache=cache)
        packed = [c.to_quantized(group_size=64, bits=8) for c in packed]
        worst = 0.0
        for a, b in [(12, 13), (13, 14), (14, 20)]:
            step = mx.array(tokens[:, a:b])
            one, two = (to_numpy(model(step, cache=c)) for c in (plain, packed))
            worst = max(worst, np.abs(one - two).max())
    ok = 0 < worst < 0.2
    print(f"{'ok  ' if ok else 'FAIL'} quantised cache: {worst:.1e} from the plain one")
    return [] if ok else ["quantised cache"]


def check_half_precision():
    """f16 and bf16 weights: as far from f32 as their epsilon says, and no further."""
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        make(folder, {"positions": "learned", "rope_keys": "per_head",
                      "norm_eps_outside_root": True,
                      "router_expert_bias": "logits"})  # fmt: skip
        tokens = np.random.default_rng(3).integers(0, 40, (1, 16)).astype(np.int32)
        exact = logits_whole(load_model(folder), tokens)
        for dtype, bound in [(mx.float16, 0.05), (mx.bfloat16, 0.4)]:
            model = load_model(folder)
            for path, (holder, key) in model.flat_parameters().items():
                if model.cast_predicate(path):
                    holder[key] = holder[key].astype(dtype)
            out = model(mx.array(tokens))
            worst = np.abs(to_numpy(out) - exact).max()
            ok = out.dtype is dtype and 1e-4 < worst < bound
            print(f"{'ok  ' if ok else 'FAIL'} {dtype}: {worst:.1e} from f32, gives {out.dtype}")
            failures += [] if ok else [str(dtype)]
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-k", default="")
    part = parser.parse_args().k
    failures = check_variants(part)
    if not part:
        failures += check_coverage() + check_refusals() + check_position_limit()
        failures += check_quantised() + check_quantised_cache() + check_half_precision()
    print(f"{len(failures)} failures" + (": " + ", ".join(failures) if failures else ""))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
