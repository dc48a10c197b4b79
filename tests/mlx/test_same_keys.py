"""The Swift class can't be run here; its names at least can be compared.

Its config.json keys, the values of its enumerations and the weight paths that it
declares must be those of the Python class, which is run.
"""

import os
import re
import sys
from dataclasses import fields

import run_exact_class  # puts the stand-in on the path
from folder import CLASS_FILE, DEFAULTS
from test_axes import NOT_COMPUTED

sys.path.insert(0, os.path.dirname(CLASS_FILE))
import weightbridge_mla  # noqa: E402

PATHS_BY_PROPERTY = {"mlp", "layers", "model", "gate", "switch_mlp"}  # `let`s named as the path


def main():
    assert run_exact_class.mx.__file__.endswith("core.py")
    with open(os.path.join(os.path.dirname(CLASS_FILE), "WeightbridgeMLA.swift")) as f:
        swift = f.read()
    with open(CLASS_FILE) as f:
        python = f.read()
    struct = swift[swift.index("struct WeightbridgeMLAConfiguration") : swift.index("var kvHeads:")]
    swift_keys = set(re.findall(r"public var (\w+):", struct))
    python_keys = {f.name for f in fields(weightbridge_mla.ModelArgs)}
    wanted = set(DEFAULTS) - NOT_COMPUTED

    enums = {}
    for name, body in re.findall(r"enum (\w+): String, Codable, Sendable \{(.*?)\}", struct, re.S):
        cases = re.sub(r"\w+ = \"(\w+)\"", r"\1", body.replace("case", ""))
        enums[name] = set(re.findall(r"\w+", cases))
    swift_values = {
        key: enums[kind]
        for key, kind in re.findall(r"public var (\w+): (\w+)", struct)
        if kind in enums
    }
    python_values = {k: set(v) for k, v in weightbridge_mla.ENUMERATIONS.items()}

    swift_paths = set(re.findall(r'Info\(key: "(\w+)"\)', swift)) | PATHS_BY_PROPERTY
    for name in PATHS_BY_PROPERTY:
        assert re.search(rf"let {name}: ", swift), name
    arrays = {"weight", "bias", "scales", "biases", "expert_bias"}
    modules = r"\w+(?:_proj|_norm|layernorm|_mlp|_experts|_head|_attn)|embed_\w+|norm|expert_bias"
    python_paths = set(re.findall(rf"self\.({modules}) = ", python)) | PATHS_BY_PROPERTY
    checks = [
        ("keys of the Swift class", swift_keys, wanted),
        ("keys of the Python class", python_keys - {"model_type"}, wanted),
        ("keys with enumerations", set(swift_values), set(python_values)),
        ("paths", swift_paths, python_paths | arrays),
    ]
    checks += [(f"values of {key}", swift_values[key], python_values[key]) for key in swift_values]
    failed = False
    for what, got, want in checks:
        if got != want:
            failed = True
            print(f"FAIL {what}: only here {sorted(got - want)}, not here {sorted(want - got)}")
    print(f"{len(swift_keys)} keys, {len(swift_values)} enumerations, {len(swift_paths)} paths")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
