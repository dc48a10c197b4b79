#!/usr/bin/env python3
"""Makes tests/fixtures/checkpoints: files that PyTorch wrote, and what they hold.

Needs PyTorch (1.13 was used) and NumPy. For each NAME.pt that has tensors, NAME.json
lists them as {name: {dtype, shape, hex, contiguous}}; the expected bytes come from
NumPy arrays, never from reading the file back. Run from the repository's root.
"""

import argparse
import json
import os
import sys
import zipfile

import numpy as np
import torch

OUT = os.path.join("tests", "fixtures", "checkpoints")
NAMES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", "complex64": "C64",
}


class Expected:
    def __init__(self):
        self.tensors = {}

    def add(self, name, array, contiguous=True, dtype=None, data=None):
        data = np.ascontiguousarray(array).tobytes() if data is None else data
        self.tensors[name] = {
            "dtype": dtype or NAMES[str(array.dtype)],
            "shape": list(array.shape),
            "hex": data.hex(),
            "contiguous": contiguous,
        }

    def write(self, stem):
        with open(os.path.join(OUT, stem + ".json"), "w") as f:
            json.dump(self.tensors, f, indent=1, sort_keys=True)
            f.write("\n")


def path(name):
    return os.path.join(OUT, name)


def bfloat16(values):
    """(tensor, array for its shape, bytes): float32 values whose low 16 bits are zero."""
    bits = np.asarray(values, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    exact = bits.view(np.float32)
    return torch.from_numpy(exact.copy()).bfloat16(), exact, (bits >> 16).astype("<u2").tobytes()


def dtypes():
    rng = np.random.default_rng(1)
    state, expected = {}, Expected()
    arrays = {
        "f64": rng.standard_normal((3, 4)),
        "f32": rng.standard_normal((2, 3, 4)).astype(np.float32),
        "f16": rng.standard_normal((5,)).astype(np.float16),
        "i64": rng.integers(-(2**62), 2**62, (4,)),
        "i32": rng.integers(-(2**31), 2**31, (2, 2)).astype(np.int32),
        "i16": rng.integers(-(2**15), 2**15, (3,)).astype(np.int16),
        "i8": rng.integers(-128, 128, (7,)).astype(np.int8),
        "u8": rng.integers(0, 256, (9,)).astype(np.uint8),
        "bool": np.array([[True, False, True], [False, False, True]]),
        "c64": (rng.standard_normal((2, 2)) + 1j * rng.standard_normal((2, 2))).astype(np.complex64),
        "scalar": np.array(2.5, np.float32),
        "empty": np.zeros((0, 5), np.float32),
    }
    for name, array in arrays.items():
        state[name] = torch.from_numpy(array.copy())
        expected.add(name, array)
    tensor, exact, data = bfloat16(rng.standard_normal((2, 5)))
    state["bf16"] = tensor
    expected.add("bf16", exact, dtype="BF16", data=data)
    return state, expected


def views():
    base = np.arange(24, dtype=np.float32).reshape(4, 6) * 0.5
    row = np.arange(10, dtype=np.int64)
    one = np.array([3.25], np.float32)
    tb, tr, to = (torch.from_numpy(a.copy()) for a in (base, row, one))
    state = {
        "tied.a": tb, "tied.b": tb, "transposed": tb.t(), "columns": tb[:, 1:4],
        "rows": tb[2:], "every_other": tr[::2], "expanded": to.expand(3, 3),
        "element": tb[3, 5], "nothing": tb[4:, :],
        "permuted": torch.from_numpy(base.copy()).view(2, 2, 6).permute(2, 0, 1),
    }
    expected = Expected()
    expected.add("tied.a", base)
    expected.add("tied.b", base)
    expected.add("transposed", base.T, contiguous=False)
    expected.add("columns", base[:, 1:4], contiguous=False)
    expected.add("rows", base[2:])
    expected.add("every_other", row[::2], contiguous=False)
    expected.add("expanded", np.broadcast_to(one, (3, 3)), contiguous=False)
    expected.add("element", base[3, 5].reshape(()))
    expected.add("nothing", base[4:, :])
    expected.add("permuted", base.reshape(2, 2, 6).transpose(2, 0, 1), contiguous=False)
    return state, expected


def nested():
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((3, 2)).astype(np.float32)
    bias = rng.standard_normal((3,)).astype(np.float32)
    model = torch.nn.Linear(2, 3)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(weight))
        model.bias.copy_(torch.from_numpy(bias))
    # One Adam step with the gradients 1 and 2: the moments are known by hand.
    model.weight.grad = torch.ones_like(model.weight)
    model.bias.grad = torch.full_like(model.bias, 2.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0, betas=(0.5, 0.75))
    optimizer.step()
    lone = np.array([1.5, -2.0], np.float32)
    checkpoint = {
        "model_state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "parameter": torch.nn.Parameter(torch.from_numpy(lone.copy())),
        "list": [torch.from_numpy(lone.copy()), {"deep": torch.from_numpy(bias.copy())}],
        "step": 70000, "loss": 0.125, "name": "tiny \u00e9", "done": True, "nothing": None,
        "big": 2**40, "negative": -5,
        "config": {"n_head": 8, "betas": (0.9, 0.95), "layers": [1, 2, 3], "tags": ["a", "b"]},
        "args": argparse.Namespace(lr=0.1), "best": np.float64(0.5), "set": {1, 2},
        "raw": b"\x00\xff", "shape": torch.Size([2, 3]),
    }
    expected = Expected()
    expected.add("model_state_dict.weight", weight)
    expected.add("model_state_dict.bias", bias)
    expected.add("parameter", lone)
    expected.add("list.0", lone)
    expected.add("list.1.deep", bias)
    for index, shape, gradient in ((0, (3, 2), 1.0), (1, (3,), 2.0)):
        prefix = f"optimizer.state.{index}."
        expected.add(prefix + "step", np.array(1.0, np.float32))
        expected.add(prefix + "exp_avg", np.full(shape, 0.5 * gradient, np.float32))
        expected.add(prefix + "exp_avg_sq", np.full(shape, 0.25 * gradient**2, np.float32))
    return checkpoint, expected


def rezip(source, target, method):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), old.read(name), method)


def refused():
    """Files that PyTorch writes and weightbridge refuses by name."""
    torch.save({"z": torch.zeros(2, dtype=torch.complex128)}, path("complex128.pt"))
    torch.save({"q": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)},
               path("quantized.pt"))
    torch.save({"s": torch.eye(2).to_sparse()}, path("sparse.pt"))
    torch.save(torch.nn.Linear(2, 2), path("module.pt"))
    torch.save({"step": 1}, path("no-tensors.pt"))


def main():
    if not os.path.isdir("tools"):
        sys.exit("run this from the repository's root")
    os.makedirs(OUT, exist_ok=True)
    torch.manual_seed(0)
    state, expected = dtypes()
    expected.write("dtypes")
    for protocol in (2, 3, 4):
        torch.save(state, path(f"dtypes-p{protocol}.pt"), pickle_protocol=protocol)
    for protocol in (2, 4):
        torch.save(state, path(f"dtypes-legacy-p{protocol}.pt"), pickle_protocol=protocol,
                   _use_new_zipfile_serialization=False)
    state, expected = views()
    expected.write("views")
    torch.save(state, path("views.pt"))
    torch.save(state, path("views-legacy.pt"), _use_new_zipfile_serialization=False)
    rezip(path("views.pt"), path("views-deflated.pt"), zipfile.ZIP_DEFLATED)
    rezip(path("views.pt"), path("views-stored.pt"), zipfile.ZIP_STORED)
    state, expected = nested()
    expected.write("nested")
    torch.save(state, path("nested.pt"))
    torch.save(state, path("nested-p4.pt"), pickle_protocol=4)
    torch.save(state, path("nested-legacy.pt"), _use_new_zipfile_serialization=False)
    bare = np.arange(6, dtype=np.float32).reshape(2, 3)
    torch.save(torch.from_numpy(bare.copy()), path("bare.pt"))
    refused()


if __name__ == "__main__":
    main()
