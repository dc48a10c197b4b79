"""Weights that follow from their names, so that fixtures need not hold them.

The same numbers as pattern() of tests/unit/runtime/axes_test.cpp; tests/fixtures/runtime/
axes.json is made from them.
"""

import json

import numpy as np

MASK = (1 << 64) - 1


def pattern(name, shape):
    """Pseudo-random f32 weights that follow from the name: splitmix64 of FNV-1a."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & MASK
    count = int(np.prod(shape))
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    unit = (z >> np.uint64(40)).astype(np.float64) / (1 << 23) - 1.0  # [-1, 1)
    if name.endswith("norm.weight"):
        values = 1.0 + 0.5 * unit
    elif name.endswith("expert_bias"):
        values = -1.7 + 0.5 * unit
    elif name.endswith(".bias"):
        values = 0.5 * unit
    elif "embed" in name:
        values = 1.2 * unit
    else:
        gain = 5.0 if "mlp.gate." in name else 2.2
        values = gain * unit / np.sqrt(np.float64(shape[-1]))
    return values.astype(np.float32).reshape(shape)


def merged(base, changes):
    """RFC 7396: `changes` over `base`; null takes a key away."""
    out = {**base, **changes}
    return {k: v for k, v in out.items() if v is not None}


def axes_models(path):
    """Each model of axes.json: name, config, tensors, tokens [T], logits [T, vocab], and the
    whole entry."""
    with open(path) as f:
        entries = json.load(f)
    for entry in entries:
        config = merged(entries[0]["config"], entry["config"])
        shapes = merged(entries[0]["tensors"], entry["tensors"])
        tensors = {n: pattern(n, s) for n, s in shapes.items()}
        for n in tensors:
            if n.endswith("switch_mlp.gate_proj.weight"):
                tensors[n] = tensors[n] * np.float32(entry.get("gain", 1.0))
        tokens = np.array(entry["tokens"], np.int32)
        logits = np.array(entry["logits"], np.float32).reshape(len(tokens), -1)
        yield entry["name"], config, tensors, tokens, logits, entry
