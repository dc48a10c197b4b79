#!/usr/bin/env python3
"""The peer of evaluate.cpp: the reference layout's whole-sequence forward pass in PyTorch, as
docs/mappings.md and the recipe describe it, experts evaluated in groups, or one token at a time.

    peer_evaluate.py CHECKPOINT TOKENS ROUNDS [TOP_K [each]]

Prints one line for each round: tokens per second. The same tokens as evaluate.cpp."""
import sys
import time

import torch
from torch.nn.functional import linear, silu


def rms(x, w):
    return w * x / (x.pow(2).mean(-1, keepdim=True).sqrt() + 1e-6)


def rotate(x, inv_freq):
    """x [heads, T, R], half-split."""
    angle = torch.outer(torch.arange(x.shape[1]).float(), inv_freq)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


def attention(w, p, x):
    inv_freq = w[p + "rope.inv_freq"]
    heads = w[p + "k_rope_proj.weight"].shape[0] // (2 * inv_freq.shape[0])

    def split(y):
        return y.view(y.shape[0], heads, -1).transpose(0, 1)
    c = rms(linear(x, w[p + "kv_proj.weight"]), w[p + "kv_norm.weight"])
    q = linear(x, w[p + "q_proj.weight"])
    keys = torch.cat([split(linear(c, w[p + "k_decompress.weight"])),
                      rotate(split(linear(x, w[p + "k_rope_proj.weight"])), inv_freq)], -1)
    queries = torch.cat([split(linear(q, w[p + "q_decompress.weight"])),
                         rotate(split(linear(q, w[p + "q_rope_proj.weight"])), inv_freq)], -1)
    scores = queries @ keys.transpose(1, 2) / queries.shape[-1] ** 0.5
    future = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
    out = scores.masked_fill(future, float("-inf")).softmax(-1) @ split(linear(c, w[p + "v_decompress.weight"]))
    return linear(out.transpose(0, 1).reshape(x.shape), w[p + "o_proj.weight"], w.get(p + "o_proj.bias"))


def swiglu(w, p, x):
    def part(name, y):
        return linear(y, w[p + name + ".weight"], w.get(p + name + ".bias"))
    return part("down_proj", silu(part("gate_proj", x)) * part("up_proj", x))


def mixture(w, p, x, k, each):
    values, chosen = (linear(x, w[p + "router.weight"]) + w[p + "expert_bias"]).topk(k, -1)
    weights = values.softmax(-1)
    y = swiglu(w, p + "shared_expert.", x) if p + "shared_expert.up_proj.weight" in w else torch.zeros_like(x)
    if each:
        for t in range(len(x)):
            for weight, e in zip(weights[t], chosen[t].tolist()):
                y[t] += weight * swiglu(w, f"{p}experts.{e}.", x[t])
        return y
    for e in range(w[p + "router.weight"].shape[0]):
        rows, place = (chosen == e).nonzero(as_tuple=True)
        if len(rows):
            y.index_add_(0, rows, weights[rows, place, None] * swiglu(w, f"{p}experts.{e}.", x[rows]))
    return y


def forward(w, tokens, k, each=False):
    x = w["wte.weight"][tokens] + w["wpe.weight"][:len(tokens)]
    layer = 0
    while f"h.{layer}.ln_1.weight" in w:
        p = f"h.{layer}."
        x = x + attention(w, p + "attn.", rms(x, w[p + "ln_1.weight"]))
        x = x + mixture(w, p + "mlp.", rms(x, w[p + "ln_2.weight"]), k, each)
        layer += 1
    return linear(rms(x, w["ln_f.weight"]), w["lm_head.weight"])


def main():
    path, count, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    k = int(sys.argv[4]) if len(sys.argv) > 4 else 2
    each = sys.argv[5:] == ["each"]
    w = torch.load(path, map_location="cpu")
    vocab = w["wte.weight"].shape[0]
    tokens = torch.tensor([(i * 7919 + 13) % vocab for i in range(count)])
    with torch.no_grad():
        forward(w, tokens, k, each)
        for _ in range(rounds):
            start = time.perf_counter()
            forward(w, tokens, k, each)
            print(f"{count / (time.perf_counter() - start):.1f}", flush=True)


if __name__ == "__main__":
    main()
