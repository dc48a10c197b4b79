#!/usr/bin/env python3
"""compare_shapes.py PLAN.json INSPECT.json: the written folder has exactly the planned
tensors, by name, shape and type. Reads the JSON of `plan` and `inspect --tensors`."""
import json
import sys


def tensors(document):
    return {t["name"]: (t["dtype"], tuple(t["shape"])) for t in document["tensors"] + document.get("extra", [])}


def main():
    planned, written = (tensors(json.load(open(path))) for path in sys.argv[1:3])
    problems = [f"{name} is missing" for name in planned.keys() - written.keys()]
    problems += [f"{name} was not planned" for name in written.keys() - planned.keys()]
    problems += [f"{name} is {written[name]}, planned {planned[name]}"
                 for name in planned.keys() & written.keys() if planned[name] != written[name]]
    for problem in sorted(problems):
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"read back: {len(written)} tensors, every name, shape and type as planned")


main()
