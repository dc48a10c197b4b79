#!/usr/bin/env python3
"""The table of run_decode.sh from its raw results: decode_table.py FOLDER TURNS. Rows of a peer that
has no results are left out."""
import json
import os
import platform
import statistics
import sys


def numbers(folder, name, turns):
    """Every number of NAME's files, which have one in each line."""
    out = []
    for i in range(turns):
        with open(os.path.join(folder, f"{name}.{i}")) as f:
            out += [float(line) for line in f]
    return out


def ours(folder, name, test, turns):
    """Medians over the turns: tokens per second, roofline, part of it reached."""
    rows = []
    for i in range(turns):
        with open(os.path.join(folder, f"{name}.{i}")) as f:
            rows += [r for r in json.load(f)["results"] if r["test"] == test]
    return [statistics.median(r[key] for r in rows)
            for key in ("tokens_per_second", "roofline", "part_of_roofline")]


def processor():
    """Its name, where the system says it."""
    try:
        with open("/proc/cpuinfo") as f:
            for line in f:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def main():
    folder, turns = sys.argv[1], int(sys.argv[2])
    print(f"{processor()}, {os.cpu_count()} cores; medians of {turns} turns; tokens per second")
    line = "{:<34} {:>9} {:>22} {:>9}  {:<6} {}"
    print(line.format("", "ours", "against", "reached", "bar", ""))

    def row(what, rate, peer, peer_rate, reached, bar, unit):
        text = f"{reached:.0f} %" if unit == "%" else f"{reached:.1f} x"
        want = "" if bar is None else f"{bar} {unit}"
        held = "" if bar is None else "held" if reached >= bar else "NOT held"
        print(line.format(what, f"{rate:.1f}", f"{peer} {peer_rate:.1f}", text, want, held))

    def roofline(what, name, test, bar):
        rate, peak, part = ours(folder, name, test, turns)
        row(what, rate, "roofline", peak, 100 * part, bar, "%")

    names = {"f32": "f32", "bf16": "bf16"}
    for bits in (8, 6, 5, 4, 3, 2):
        for dtype in ("f32", "bf16"):
            names[f"{dtype}-{bits}"] = f"{bits} bits, {dtype} scales"
    bars = {"f32": 80, "bf16": 80, "f32-4": 65, "bf16-4": 65}
    for name, text in names.items():
        roofline(f"decode 128, {text}", name + ".alone", "decode 128", bars.get(name))
    for name in ("f32", "bf16", "f32-4", "bf16-4"):
        roofline(f"prompt 512, {names[name]}", name + ".alone", "prompt 512", 60)
    at256 = {name: ours(folder, name + ".at256", "decode 64 at 256", turns)[0]
             for name in ("f32", "f32-4")}
    for name in ("f32", "f32-4"):
        if not os.path.exists(os.path.join(folder, f"{name}.mlx.0")):
            continue
        mlx = statistics.median(numbers(folder, name + ".mlx", turns))
        row(f"decode at 256, {names[name]}", at256[name], "MLX", mlx, at256[name] / mlx, 3, "x")
    prompt = ours(folder, "f32.alone", "prompt 512", turns)[0]
    # The bars are on the original, which evaluates experts one token at a time.
    for way, text, bars in (("each", "PyTorch by token", (50, 5)),
                            ("groups", "PyTorch by expert", (None, None))):
        torch = statistics.median(numbers(folder, f"torch.generate.{way}", turns))
        row("generate at 256, no cache there", at256["f32"], text, torch, at256["f32"] / torch,
            bars[0], "x")
        torch = statistics.median(numbers(folder, f"torch.evaluate.{way}", turns))
        row("prompt 512, f32", prompt, text, torch, prompt / torch, bars[1], "x")
    print("milliseconds from the command to the first token of its answer, prompt of 16 (bar: 100)")
    for name in ("f32", "f32-4"):
        ms = statistics.median(numbers(folder, name + ".first", turns))
        print(f"{names[name]:<34} {ms:>9.1f} {'':>22} {'':>9}  {'':<6} {'held' if ms <= 100 else 'NOT held'}")


if __name__ == "__main__":
    main()
