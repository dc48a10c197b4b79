#!/usr/bin/python3
"""Makes a PyTorch checkpoint of the reference layout ("DeepSeek V3 from scratch").

Same names, shapes, order, tied storage and buffers as torch.save(model.state_dict())
of that implementation; the weights are random, from a seed. No model class is needed.
The defaults are the reference size: 638 entries, 424.2 MiB. Needs torch >= 1.13.

    tools/make_reference_checkpoint.py -o reference.pt
    tools/make_reference_checkpoint.py -o small.pt --layers 2 --hidden 64 --heads 4 ...
"""
import argparse
from collections import OrderedDict

import torch

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def parse_arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("-o", "--output", required=True)
    p.add_argument("--layers", type=int, default=8)
    p.add_argument("--heads", type=int, default=8)
    p.add_argument("--hidden", type=int, default=512)
    p.add_argument("--vocab", type=int, default=50257)
    p.add_argument("--block-size", type=int, default=1024)
    p.add_argument("--kv-rank", type=int, default=128)
    p.add_argument("--q-rank", type=int, default=192)
    p.add_argument("--rope-dim", type=int, default=32)
    p.add_argument("--experts", type=int, default=8)
    p.add_argument("--routed", type=int, default=512, help="width of each routed expert")
    p.add_argument("--shared", type=int, default=768, help="width of the shared expert, 0 = none")
    p.add_argument("--mtp", type=int, default=1, help="multi-token heads")
    p.add_argument("--no-bias", action="store_true", help="config.bias = false")
    p.add_argument("--dtype", choices=DTYPES, default="f32")
    p.add_argument("--legacy", action="store_true", help="the format before torch 1.6")
    p.add_argument("--nest", default="", metavar="KEY",
                   help="put the state dict under this key, e.g. model_state_dict")
    p.add_argument("--prefix", default="", help="before every name, e.g. _orig_mod.")
    p.add_argument("--untie", action="store_true", help="lm_head with its own storage and values")
    p.add_argument("--optimizer", action="store_true",
                   help="AdamW state and training numbers beside the weights; implies --nest")
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    if a.hidden % a.heads:
        p.error("--hidden must be a multiple of --heads")
    if a.rope_dim % 2:
        p.error("--rope-dim must be even")
    if a.optimizer and not a.nest:
        a.nest = "model_state_dict"
    return a


class StateDict:
    """Entries and _metadata in the order in which nn.Module writes them."""

    def __init__(self, a):
        self.a = a
        self.generator = torch.Generator().manual_seed(a.seed)
        self.entries = OrderedDict()
        self.metadata = OrderedDict()
        self.buffers = set()  # names that an optimizer does not see
        self.module("")

    def module(self, name):
        key = (self.a.prefix + name).rstrip(".")
        if self.a.prefix and not name:
            self.metadata[""] = {"version": 1}
        self.metadata[key] = {"version": 1}

    def put(self, name, tensor, buffer=False):
        name = self.a.prefix + name
        self.entries[name] = tensor.to(DTYPES[self.a.dtype])
        if buffer:
            self.buffers.add(name)

    def randn(self, *shape):
        return torch.randn(*shape, generator=self.generator)

    def linear(self, name, out, into, bias=False):
        self.module(name)
        self.put(name + ".weight", self.randn(out, into) / into**0.5)
        if bias:
            self.put(name + ".bias", 0.1 * self.randn(out))

    def norm(self, name, width):
        self.module(name)
        self.put(name + ".weight", 1 + 0.1 * self.randn(width))

    def attention(self, p):
        a = self.a
        self.module(p)
        mask = torch.tril(torch.ones(a.block_size, a.block_size))
        self.put(p + ".causal_mask", mask.view(1, 1, a.block_size, a.block_size), buffer=True)
        self.linear(p + ".kv_proj", a.kv_rank, a.hidden)
        self.norm(p + ".kv_norm", a.kv_rank)
        self.linear(p + ".k_decompress", a.hidden, a.kv_rank)
        self.linear(p + ".v_decompress", a.hidden, a.kv_rank)
        self.linear(p + ".q_proj", a.q_rank, a.hidden)
        self.linear(p + ".q_decompress", a.hidden, a.q_rank)
        self.linear(p + ".k_rope_proj", a.heads * a.rope_dim, a.hidden)
        self.linear(p + ".q_rope_proj", a.heads * a.rope_dim, a.q_rank)
        self.linear(p + ".o_proj", a.hidden, a.hidden, not a.no_bias)
        self.module(p + ".attn_dropout")
        self.module(p + ".resid_dropout")
        self.module(p + ".rope")
        inv_freq = 1.0 / (10000 ** (torch.arange(0, a.rope_dim, 2).float() / a.rope_dim))
        self.put(p + ".rope.inv_freq", inv_freq, buffer=True)

    def swiglu(self, p, width):
        self.module(p)
        for part in ("gate_proj", "up_proj"):
            self.linear(f"{p}.{part}", width, self.a.hidden, not self.a.no_bias)
        self.linear(p + ".down_proj", self.a.hidden, width, not self.a.no_bias)

    def mixture(self, p):
        a = self.a
        self.module(p)
        self.put(p + ".expert_bias", self.randn(a.experts), buffer=True)
        self.linear(p + ".router", a.experts, a.hidden)
        self.module(p + ".experts")
        for e in range(a.experts):
            self.swiglu(f"{p}.experts.{e}", a.routed)
        if a.shared:
            self.swiglu(p + ".shared_expert", a.shared)

    def build(self):
        a = self.a
        self.module("wte")
        self.put("wte.weight", 0.1 * self.randn(a.vocab, a.hidden))
        self.module("wpe")
        self.put("wpe.weight", 0.02 * self.randn(a.block_size, a.hidden))
        self.module("drop")
        self.module("h")
        for l in range(a.layers):
            self.module(f"h.{l}")
            self.norm(f"h.{l}.ln_1", a.hidden)
            self.attention(f"h.{l}.attn")
            self.norm(f"h.{l}.ln_2", a.hidden)
            self.mixture(f"h.{l}.mlp")
        self.norm("ln_f", a.hidden)
        self.module("lm_head")
        if a.untie:
            self.put("lm_head.weight", 0.1 * self.randn(a.vocab, a.hidden))
        else:  # the same tensor, hence the same storage in the file
            self.entries[a.prefix + "lm_head.weight"] = self.entries[a.prefix + "wte.weight"]
        if a.mtp:
            self.module("mtp_heads")
        for m in range(a.mtp):
            p = f"mtp_heads.{m}"
            self.module(p)
            self.linear(p + ".combine_proj", a.hidden, 2 * a.hidden, not a.no_bias)
            self.norm(p + ".norm1", a.hidden)
            self.norm(p + ".norm2", a.hidden)
            self.attention(p + ".attn")
            self.mixture(p + ".mlp")
            self.norm(p + ".attn_norm", a.hidden)
            self.norm(p + ".mlp_norm", a.hidden)
        self.entries._metadata = self.metadata
        return self.entries


def optimizer_state(state, skip):
    """AdamW's, as torch.optim writes it: by index, with moments like the weights."""
    names = []
    seen = set()  # a tied weight is one parameter
    for name, tensor in state.items():
        if name not in skip and tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            names.append(name)
    moments = {
        i: {"step": torch.tensor(100.0), "exp_avg": torch.zeros_like(state[n]),
            "exp_avg_sq": torch.zeros_like(state[n])}
        for i, n in enumerate(names)
    }
    group = {"lr": 3e-4, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1,
             "amsgrad": False, "maximize": False, "foreach": None, "capturable": False,
             "params": list(range(len(names)))}
    return {"state": moments, "param_groups": [group]}


def main():
    a = parse_arguments()
    made = StateDict(a)
    state = made.build()
    content = state
    if a.nest:
        content = {a.nest: state}
    if a.optimizer:
        content["optimizer_state_dict"] = optimizer_state(state, made.buffers)
        content["iter_num"] = 100
        content["best_val_loss"] = torch.tensor(3.25)
        content["config"] = {"n_layer": a.layers, "n_head": a.heads, "n_embd": a.hidden,
                             "vocab_size": a.vocab, "block_size": a.block_size,
                             "bias": not a.no_bias}
    torch.save(content, a.output, _use_new_zipfile_serialization=not a.legacy)


if __name__ == "__main__":
    main()
