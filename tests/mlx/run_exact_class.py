"""Runs an exact folder's own class file on the stand-in for MLX.

    run_exact_class.py FOLDER --golden G.safetensors [--bound 1e-4] [--step]
    run_exact_class.py FOLDER --tokens 1,2,3 [-o OUT.safetensors] [--step]

Loads the folder as mlx-lm does (model_file by path, model*.safetensors, quantised
layers by their scales, strict weights), evaluates the tokens whole, and with --step
also token by token through a cache. --golden compares with the file's "logits"
[rows, tokens, vocab] for its "tokens" and fails above the bound. With --real the
installed mlx and mlx_lm are used instead of the stand-in.
"""

import argparse
import glob
import importlib.util
import json
import os
import sys

import numpy as np
from folder import read_safetensors, write_safetensors

sys.dont_write_bytecode = True
if "--real" not in sys.argv:
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "standin"))

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402


def load_model(folder):
    """What mlx_lm.utils.load_model does with a folder that has a model_file."""
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    files = glob.glob(os.path.join(glob.escape(folder), "model*.safetensors"))
    if not files:
        raise FileNotFoundError(f"No safetensors found in {folder}")
    weights = {}
    for path in files:
        weights.update(mx.load(path))
    path = os.path.join(folder, config["model_file"])
    spec = importlib.util.spec_from_file_location("custom_model", path)
    arch = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(arch)
    model = arch.Model(arch.ModelArgs.from_dict(config))
    if hasattr(model, "sanitize"):
        weights = model.sanitize(weights)
    if (quantization := config.get("quantization")) is not None:

        def predicate(path, module):
            if path in quantization:
                return quantization[path]
            return hasattr(module, "to_quantized") and f"{path}.scales" in weights

        nn.quantize(
            model,
            group_size=quantization["group_size"],
            bits=quantization["bits"],
            mode=quantization.get("mode", "affine"),
            class_predicate=predicate,
        )
    model.eval()
    model.load_weights(list(weights.items()), strict=True)
    return model


def logits_whole(model, tokens):
    return to_numpy(model(mx.array(tokens)))


def logits_by_steps(model, tokens, first=3):
    """A prompt of `first` tokens, a second one of two, then token by token."""
    cache = model.make_cache()
    cuts = [0, first, first + 2] + list(range(first + 3, tokens.shape[1] + 1))
    cuts = [c for c in cuts if c <= tokens.shape[1]]
    parts = [
        to_numpy(model(mx.array(tokens[:, a:b]), cache=cache)) for a, b in zip(cuts, cuts[1:])
    ]
    return np.concatenate(parts, axis=1)


def to_numpy(x):
    x = x.astype(mx.float32)
    return x.np if hasattr(x, "np") else np.array(x)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--golden")
    parser.add_argument("--tokens")
    parser.add_argument("-o", "--output")
    parser.add_argument("--bound", type=float, default=1e-4)
    parser.add_argument("--step", action="store_true")
    parser.add_argument("--real", action="store_true")
    args = parser.parse_args()
    golden = read_safetensors(args.golden) if args.golden else None
    if golden is not None:
        tokens = golden["tokens"]
    else:
        tokens = np.array([[int(t) for t in args.tokens.split(",")]])
    tokens = np.atleast_2d(tokens).astype(np.int32)
    model = load_model(args.folder)
    results = {"whole": logits_whole(model, tokens)}
    if args.step:
        results["step by step"] = logits_by_steps(model, tokens)
    failed = False
    for how, logits in results.items():
        if golden is None:
            other = results["whole"]
        else:
            other = golden["logits"].reshape(logits.shape)
        worst = float(np.abs(logits.astype(np.float64) - other).max())
        verdict = "ok" if worst <= args.bound else f"ABOVE {args.bound:g}"  # NaN is above too
        failed = failed or not worst <= args.bound
        print(f"{how}: max abs difference {worst:.3g} over {logits.shape} ({verdict})")
    if args.output:
        write_safetensors(args.output, {"tokens": tokens, "logits": results["whole"]})
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
