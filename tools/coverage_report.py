#!/usr/bin/env python3
"""coverage_report.py JSON ROOT: docs/coverage.md from gcovr's JSON, on standard output. Per file the
lines that code was made for and those that ran; then each line that did not, with its text."""
import collections
import json
import pathlib
import re
import sys

# Layers are included through links of a build's own: one file under two names.
LINKED = re.compile(r"^build/[^/]+/layers/([^/]+)/\1/")


def runs(numbers):
    """[1, 2, 3, 7] -> [(1, 3), (7, 7)]"""
    out = []
    for n in numbers:
        if out and n == out[-1][1] + 1:
            out[-1] = (out[-1][0], n)
        else:
            out.append((n, n))
    return out


def main(report, root):
    files = collections.defaultdict(lambda: collections.defaultdict(int))
    for entry in json.loads(pathlib.Path(report).read_text())["files"]:
        counts = files[LINKED.sub(r"src/\1/", entry["file"])]
        for line in entry["lines"]:
            if not line.get("gcovr/noncode"):
                counts[line["line_number"]] += line["count"]
    print("# Coverage of the readers and writers\n")
    print("Written by `make coverage`; do not edit. Lines of code by gcov, all tests together; lines of")
    print("checks on our own mistakes (WB_CHECK, WB_BUG) are left out. Processes that a test kills do not")
    print("count what they ran.\n")
    print("| layer | lines | tested | % |\n|---|---|---|---|")
    layers = collections.defaultdict(lambda: [0, 0])
    for name, counts in files.items():
        layer = layers[name.split("/")[1]]
        layer[0] += len(counts)
        layer[1] += sum(1 for c in counts.values() if c > 0)
    total = [sum(layer[i] for layer in layers.values()) for i in (0, 1)]
    for name, (lines, tested) in [*sorted(layers.items()), ("all", total)]:
        print(f"| {name} | {lines} | {tested} | {100 * tested / max(1, lines):.1f} |")
    print("\n## Lines that no test reaches\n")
    for name, counts in sorted(files.items()):
        missed = sorted(n for n, c in counts.items() if c == 0)
        if not missed:
            continue
        print(f"### {name}: {len(missed)} of {len(counts)}\n\n```")
        source = pathlib.Path(root, name).read_text().splitlines()
        for first, last in runs(missed):
            for n in range(first, last + 1):
                print(f"{n:5} {source[n - 1].rstrip()}")
        print("```\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
