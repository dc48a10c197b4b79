#!/usr/bin/python3
"""Makes tests/fixtures/runtime: small models with what PyTorch and numpy compute for them.

Two independent witnesses for the decoder:

  reference.*.safetensors   source tensors of the reference layout, as a checkpoint has them,
  *.golden.safetensors      and tokens, logits, hidden states and multi-token heads from the
                            PyTorch model below, written from docs/source-model.md alone.
  axes.json                 one small model for each switch of the exact class: its config, and
                            logits from tests/mlx/reference.py (f64 numpy). Weights are not
                            stored: pattern() makes them from their names, here and in C++.

Needs torch >= 1.13 and numpy. The output is committed; run this only to extend it.
"""

import argparse
import json
import os
import sys

import numpy as np
import torch

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(ROOT, "tests", "mlx"))

REFERENCE = dict(
    vocab=40, block=16, layers=2, hidden=24, heads=4, kv_rank=10, q_rank=14, rope=8, experts=4,
    top_k=2, routed=12, shared=20, mtp=1, bias=True, seed=1, embed_scale=0.02,
)  # fmt: skip
SHAPES = {
    "base": {},
    "wide-rope": dict(heads=2, rope=16, kv_rank=24, q_rank=9, seed=2),
    "equal-widths": dict(heads=3, rope=8, seed=8),
    "no-bias": dict(bias=False, seed=3, embed_scale=1.0),
    "no-shared-expert": dict(shared=0, experts=6, seed=4),
    "two-mtp-heads": dict(mtp=2, layers=1, heads=8, rope=2, seed=5),
    "top-1": dict(top_k=1, layers=3, hidden=18, heads=3, mtp=0, seed=6),
    "top-3": dict(top_k=3, experts=5, routed=12, shared=36, kv_rank=5, seed=7, embed_scale=0.3),
}


class RMSNorm(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(width))

    def forward(self, x):
        return self.weight * x / (x.pow(2).mean(-1, keepdim=True).sqrt() + 1e-6)


class Rope(torch.nn.Module):
    def __init__(self, dims):
        super().__init__()
        frequency = 1.0 / (10000 ** (torch.arange(0, dims, 2).float() / dims))
        self.register_buffer("inv_freq", frequency)

    def forward(self, x):
        """x [heads, T, dims], halves rotated against each other"""
        angle = torch.outer(torch.arange(x.shape[1]).float(), self.inv_freq)
        first, second = x.chunk(2, dim=-1)
        cos, sin = angle.cos(), angle.sin()
        return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


def plain(rows, columns):
    return torch.nn.Linear(columns, rows, bias=False)


class Attention(torch.nn.Module):
    def __init__(self, a):
        super().__init__()
        self.heads, self.head_dim = a.heads, a.hidden // a.heads
        self.register_buffer("causal_mask", torch.tril(torch.ones(a.block, a.block))[None, None])
        self.kv_proj = plain(a.kv_rank, a.hidden)
        self.kv_norm = RMSNorm(a.kv_rank)
        self.k_decompress = plain(a.hidden, a.kv_rank)
        self.v_decompress = plain(a.hidden, a.kv_rank)
        self.q_proj = plain(a.q_rank, a.hidden)
        self.q_decompress = plain(a.hidden, a.q_rank)
        self.k_rope_proj = plain(a.heads * a.rope, a.hidden)
        self.q_rope_proj = plain(a.heads * a.rope, a.q_rank)
        self.o_proj = torch.nn.Linear(a.hidden, a.hidden, bias=a.bias)
        self.rope = Rope(a.rope)

    def forward(self, x):
        def split(y):
            return y.view(y.shape[0], self.heads, -1).transpose(0, 1)

        latent, query = self.kv_norm(self.kv_proj(x)), self.q_proj(x)
        k = torch.cat([split(self.k_decompress(latent)), self.rope(split(self.k_rope_proj(x)))], -1)
        q = torch.cat(
            [split(self.q_decompress(query)), self.rope(split(self.q_rope_proj(query)))], -1
        )
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        mask = self.causal_mask[0, 0, : len(x), : len(x)] == 0
        weights = scores.masked_fill(mask, float("-inf")).softmax(-1)
        out = weights @ split(self.v_decompress(latent))
        return self.o_proj(out.transpose(0, 1).reshape(x.shape))


class SwiGLU(torch.nn.Module):
    def __init__(self, a, width):
        super().__init__()
        self.gate_proj = torch.nn.Linear(a.hidden, width, bias=a.bias)
        self.up_proj = torch.nn.Linear(a.hidden, width, bias=a.bias)
        self.down_proj = torch.nn.Linear(width, a.hidden, bias=a.bias)

    def forward(self, x):
        return self.down_proj(torch.nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Mixture(torch.nn.Module):
    def __init__(self, a):
        super().__init__()
        self.k = a.top_k
        self.router = plain(a.experts, a.hidden)
        self.register_buffer("expert_bias", torch.zeros(a.experts))
        self.experts = torch.nn.ModuleList([SwiGLU(a, a.routed) for _ in range(a.experts)])
        if a.shared:
            self.shared_expert = SwiGLU(a, a.shared)

    def forward(self, x):
        values, chosen = (self.router(x) + self.expert_bias).topk(self.k, dim=-1)
        weights = values.softmax(-1)
        rows = []
        for row, experts, w in zip(x, chosen, weights):
            rows.append(sum(w[i] * self.experts[e](row) for i, e in enumerate(experts.tolist())))
        y = torch.stack(rows)
        return y + self.shared_expert(x) if hasattr(self, "shared_expert") else y


class Block(torch.nn.Module):
    def __init__(self, a):
        super().__init__()
        self.ln_1, self.ln_2 = RMSNorm(a.hidden), RMSNorm(a.hidden)
        self.attn, self.mlp = Attention(a), Mixture(a)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class MtpHead(torch.nn.Module):
    def __init__(self, a):
        super().__init__()
        self.combine_proj = torch.nn.Linear(2 * a.hidden, a.hidden, bias=a.bias)
        self.norm1, self.norm2 = RMSNorm(a.hidden), RMSNorm(a.hidden)
        self.attn, self.mlp = Attention(a), Mixture(a)
        self.attn_norm, self.mlp_norm = RMSNorm(a.hidden), RMSNorm(a.hidden)

    def forward(self, previous, future):
        h = self.combine_proj(torch.cat([self.norm1(previous), self.norm2(future)], -1))
        h = h + self.attn(self.attn_norm(h))
        return h + self.mlp(self.mlp_norm(h))


class Model(torch.nn.Module):
    def __init__(self, a):
        super().__init__()
        self.wte = torch.nn.Embedding(a.vocab, a.hidden)
        self.wpe = torch.nn.Embedding(a.block, a.hidden)
        self.h = torch.nn.ModuleList([Block(a) for _ in range(a.layers)])
        self.ln_f = RMSNorm(a.hidden)
        self.lm_head = plain(a.vocab, a.hidden)
        self.lm_head.weight = self.wte.weight
        if a.mtp:
            self.mtp_heads = torch.nn.ModuleList([MtpHead(a) for _ in range(a.mtp)])

    def forward(self, tokens):
        """tokens [T] -> everything that the golden file holds"""
        out = {}
        x = self.wte(tokens) + self.wpe(torch.arange(len(tokens)))
        for l, block in enumerate(self.h):
            x = block(x)
            out[f"hidden.{l}"] = x
        x = self.ln_f(x)
        out["hidden.final"], out["logits"] = x, self.lm_head(x)
        for m, head in enumerate(getattr(self, "mtp_heads", [])):
            future = torch.zeros_like(x)
            future[: len(tokens) - m - 1] = self.wte(tokens[m + 1 :])
            x = head(x, future)
            out[f"mtp.{m}.hidden"], out[f"mtp.{m}.logits"] = x, self.lm_head(x)
        return out


def randomise(model, a):
    """Nothing left at a value that a mistake could hide behind (0 or 1)."""
    generator = torch.Generator().manual_seed(a.seed)

    def normal(t, scale, mean=0.0):
        t.copy_(mean + scale * torch.randn(t.shape, generator=generator))

    with torch.no_grad():
        for name, t in model.state_dict().items():
            if name.endswith(("causal_mask", "inv_freq")):
                continue
            if "norm" in name or "ln_" in name:
                normal(t, 0.3, 1.0)
            elif name.endswith("expert_bias"):
                normal(t, 1.0)
            elif name.endswith("bias"):
                normal(t, 0.2)
            elif name.startswith(("wte", "wpe", "lm_head")):
                normal(t, a.embed_scale)
            else:
                normal(t, 1.3 / t.shape[-1] ** 0.5)


def write_safetensors(path, tensors, metadata):
    names = {torch.float32: "F32", torch.int32: "I32"}
    header, blobs, offset = {"__metadata__": metadata}, [], 0
    for name, t in sorted(tensors.items()):
        blob = t.detach().contiguous().numpy().tobytes()
        header[name] = {"dtype": names[t.dtype], "shape": list(t.shape),
                        "data_offsets": [offset, offset + len(blob)]}  # fmt: skip
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def make_reference(folder):
    for name, changes in SHAPES.items():
        a = argparse.Namespace(**{**REFERENCE, **changes})
        model = Model(a).eval()
        randomise(model, a)
        generator = torch.Generator().manual_seed(100 + a.seed)
        tokens = torch.randint(0, a.vocab, (14,), generator=generator)
        with torch.no_grad():
            golden = {**model(tokens), "tokens": tokens.int()}
        facts = {key: str(value) for key, value in vars(a).items()}
        path = os.path.join(folder, f"reference.{name}")
        write_safetensors(path + ".safetensors", model.state_dict(), facts)
        write_safetensors(path + ".golden.safetensors", golden, facts)


def make_axes(folder):
    from pattern import pattern
    from reference import Reference
    from test_axes import BASE, HEADS, VARIANTS, shapes

    def difference(new, old):
        """What changes `old` into `new`; null takes a key away."""
        changed = {k: v for k, v in new.items() if old.get(k) != v}
        return {**changed, **{k: None for k in old if k not in new}}

    def rounded(values):
        return [float(f"{v:.6f}") for v in values.ravel()]

    out = []
    base = {"config": {}, "tensors": {}}  # the first variant, from which the others differ
    for name, changes in {**VARIANTS, **HEADS}.items():
        config = {**BASE, **{k: v for k, v in changes.items() if not k.startswith("_")}}
        wanted = shapes(config)
        tensors = {n: pattern(n, s) for n, s in wanted.items()}
        gain = changes.get("_gain", 1.0)  # of the routed gates, where clipping is to bite
        for n in tensors:
            if n.endswith("switch_mlp.gate_proj.weight"):
                tensors[n] = tensors[n] * np.float32(gain)
        tokens = np.random.default_rng(9).integers(0, config["vocab_size"], 9)
        reference = Reference(config, tensors)
        logits = reference.logits(tokens)
        whole = {"config": config, "tensors": {n: list(s) for n, s in wanted.items()}}
        entry = {key: difference(whole[key], base[key]) for key in whole}
        base = base if out else whole
        entry = {**entry, "gain": gain} if gain != 1.0 else entry
        out.append({"name": name, **entry, "tokens": tokens.tolist(), "logits": rounded(logits)})
        if config["num_nextn_predict_layers"]:
            out[-1]["mtp"] = rounded(reference.mtp_logits(tokens))
    with open(os.path.join(folder, "axes.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(v, separators=(",", ":")) for v in out) + "\n]\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.path.join(ROOT, "tests", "fixtures", "runtime")
    parser.add_argument("-o", "--output", default=default)
    folder = parser.parse_args().output
    os.makedirs(folder, exist_ok=True)
    torch.set_num_threads(1)
    make_reference(folder)
    make_axes(folder)


if __name__ == "__main__":
    main()
