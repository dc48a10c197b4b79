"""What the checks of written folders share: reading a checkpoint of the reference layout
with torch, reading safetensors by hand, comparing byte for byte. Independent of the C++."""
import glob
import json
import os
import struct
import sys

import torch

TORCH_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16",
               torch.float64: "F64"}
ASKED = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def read_safetensors(path):
    """{name: (dtype name, shape, bytes)}; refuses overlaps and holes."""
    with open(path, "rb") as f:
        data = f.read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    body = data[8 + length:]
    at = 0
    out = {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        assert begin == at, f"{path}: {name} begins at {begin}, not at {at}"
        at = end
        out[name] = (entry["dtype"], entry["shape"], body[begin:end])
    assert at == len(body), f"{path}: {len(body) - at} bytes behind the last tensor"
    return out


def read_folder(folder):
    """All of model*.safetensors, as mlx-lm's loader takes it, and config.json."""
    tensors = {}
    for path in sorted(glob.glob(os.path.join(folder, "model*.safetensors"))):
        for name, value in read_safetensors(path).items():
            assert name not in tensors, f"{name} is in two files"
            tensors[name] = value
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    return tensors, config


class Source:
    """A checkpoint of the reference layout, whatever wraps it."""

    def __init__(self, path, nest="", prefix=""):
        state = torch.load(path, map_location="cpu")
        if nest:
            state = state[nest]
        elif "wte.weight" not in state and prefix + "wte.weight" not in state:
            (state,) = [v for v in state.values()
                        if isinstance(v, dict) and any(k.endswith("wte.weight") for k in v)]
        if not prefix:
            (key,) = [k for k in state if k.endswith("wte.weight")]
            prefix = key[:-len("wte.weight")]
        self.state = {k[len(prefix):]: v for k, v in state.items()}
        s = self.state
        self.vocab, self.hidden = s["wte.weight"].shape
        self.block = s["wpe.weight"].shape[0]
        self.layers = 1 + max(int(k.split(".")[1]) for k in s if k.startswith("h."))
        a = "h.0.attn."
        self.rope = 2 * s[a + "rope.inv_freq"].shape[0]
        self.heads = s[a + "k_rope_proj.weight"].shape[0] // self.rope
        self.head = self.hidden // self.heads
        self.kv_rank = s[a + "kv_proj.weight"].shape[0]
        self.q_rank = s[a + "q_proj.weight"].shape[0]
        self.experts = s["h.0.mlp.router.weight"].shape[0]
        self.routed = s["h.0.mlp.experts.0.gate_proj.weight"].shape[0]
        shared = s.get("h.0.mlp.shared_expert.gate_proj.weight")
        self.shared = 0 if shared is None else shared.shape[0]
        self.bias = a + "o_proj.bias" in s
        heads = [int(k.split(".")[1]) for k in s if k.startswith("mtp_heads.")]
        self.mtp = 1 + max(heads) if heads else 0
        self.tied = torch.equal(s["wte.weight"], s["lm_head.weight"])

    def __getitem__(self, name):
        return self.state[name]


def raw_bytes(tensor):
    tensor = tensor.contiguous()
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.view(torch.int16)
    return tensor.numpy().tobytes()


def cast(tensors, asked, keep_wide=()):
    """--dtype; names that end in one of keep_wide become f32 instead of a half type."""
    if not asked:
        return tensors
    return {name: t.to(torch.float32 if name.endswith(tuple(keep_wide)) else ASKED[asked])
            for name, t in tensors.items()}


def compare(expected, written, config_expected, config):
    """Prints every difference; the number of them."""
    problems = []
    for name in sorted(set(expected) - set(written)):
        problems.append(f"{name}: missing")
    for name in sorted(set(written) - set(expected)):
        problems.append(f"{name}: not expected")
    total = 0
    for name in sorted(set(expected) & set(written)):
        tensor = expected[name]
        dtype, shape, data = written[name]
        total += len(data)
        if dtype != TORCH_NAMES[tensor.dtype]:
            problems.append(f"{name}: {dtype}, expected {TORCH_NAMES[tensor.dtype]}")
        elif shape != list(tensor.shape):
            problems.append(f"{name}: {shape}, expected {list(tensor.shape)}")
        elif raw_bytes(tensor) != data:
            problems.append(f"{name}: bytes differ")
    for key in sorted(set(config_expected) | set(config)):
        if key in config_expected and (key not in config or config_expected[key] != config[key]
                                       or type(config_expected[key]) is bool
                                       and type(config[key]) is not bool):
            problems.append(f"config.json: {key} = {config.get(key)!r}, "
                            f"expected {config_expected[key]!r}")
    for line in problems[:40]:
        print("DIFFERS", line, file=sys.stderr)
    if len(problems) > 40:
        print(f"... and {len(problems) - 40} more", file=sys.stderr)
    print(f"{len(written)} tensors, {total} bytes ({total / 2**20:.2f} MiB), "
          f"{len(problems)} differences")
    return len(problems)


def arguments(parser):
    parser.add_argument("checkpoint")
    parser.add_argument("folder")
    parser.add_argument("--dtype", choices=ASKED, help="what the folder was converted with")
    parser.add_argument("--experts-per-token", type=int, default=2)
    parser.add_argument("--nest", default="", help="key of the state dict; found by itself")
    parser.add_argument("--prefix", default="", help="before every name; found by itself")
    return parser
