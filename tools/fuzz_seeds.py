"""Inputs and dictionaries for the fuzzers, made from the repository's own files: fixtures, shipped
recipes, the attack files. tools/fuzz.py writes them (its command `seeds`)."""
import collections
import io
import json
import pathlib
import random
import re
import struct
import subprocess
import sys
import tempfile
import tomllib
import zipfile

LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
ATTACKS = 3000  # bytes of the largest attack file that is of use here

INDEXES = [
    '{"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"}}',
    '{"metadata":{"total_size":12},"weight_map":{"a":"1.safetensors","b":"1.safetensors"}}',
    '{"weight_map":{"c":"2.safetensors"},"more":[1,-2,3.5,null,true,{"x":"y"}]}',
    '{"weight_map":{"a":"../1.safetensors"}}', '{"weight_map":{"a":"2.safetensors"}}',
    '{"weight_map":{"a":1}}', '{"weight_map":{}}', '{"weight_map":[]}', '{}', '[',
    '{"weight_map":{"a":"1.safetensors","a":"2.safetensors"}}',
]
V3 = {
    "model_type": "deepseek_v3", "vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2,
    "intermediate_size": 24, "moe_intermediate_size": 8, "num_attention_heads": 2,
    "num_key_value_heads": 2, "n_shared_experts": 1, "n_routed_experts": 4,
    "routed_scaling_factor": 2.5, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4,
    "v_head_dim": 8, "qk_nope_head_dim": 8, "topk_method": "noaux_tc", "scoring_func": "sigmoid",
    "norm_topk_prob": True, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2,
    "moe_layer_freq": 1, "first_k_dense_replace": 1, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": None, "attention_bias": False,
}
V2 = {**V3, "model_type": "deepseek_v2", "topk_method": "greedy", "scoring_func": "softmax"}
YARN = {"type": "yarn", "factor": 40, "original_max_position_embeddings": 16, "beta_fast": 32,
        "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0}
RULES = [
    '"model.layers.*.q_proj" = false\n"*" = { bits = 8, group_size = 32, mode = "affine" }\n',
    '"lm_head" = { mode = "mxfp4" }\n"?mbed*" = true\n', '"*" = { mode = "nvfp4", bits = 4 }\n',
    '"a" = { bits = 7 }\n', '"a" = 5\n', '[x]\nbits = 2\ngroup_size = 128\n', 'a = [1, "b", 2.5]\n',
    '"***a*?*" = { mode = "mxfp8" }\n',
]
BODIES = [
    {"prompt": "Hello", "max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 1},
    {"prompt": ["a", "b"], "n": 2, "stop": ["x", "yy"], "stream": True,
     "stream_options": {"include_usage": True}},
    {"prompt": [1, 2, 3], "echo": True, "min_p": 0.1, "repetition_penalty": 1.1, "user": "me"},
    {"prompt": [[1], [2, 3]], "logprobs": 3, "model": "m", "best_of": 1, "suffix": ""},
    {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
     "max_completion_tokens": 9, "logprobs": True, "top_logprobs": 2, "stop": "z", "seed": -1},
    {"messages": [{"role": "developer", "content": [{"type": "text", "text": "t"}]}],
     "response_format": {"type": "text"}, "tools": [], "return_token_ids": True, "top_k": -1},
    {"messages": [{"role": "assistant", "content": "a", "name": "n"}], "presence_penalty": 0,
     "frequency_penalty": 0.0, "logit_bias": {}, "modalities": ["text"], "unknown": None},
    {"prompt": "x", "max_tokens": 5.0, "tools": [{}]},
]


def text(value):
    return json.dumps(value, separators=(",", ":")).encode()


def safetensors(entries):
    """entries: name, dtype, shape, data."""
    header, data = {}, b""
    for name, dtype, shape, content in entries:
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    packed = text({"__metadata__": {"format": "pt"}, **header})
    return struct.pack("<Q", len(packed)) + packed + data


def attack_files(root):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-W", "ignore", root / "tools/make_attack_files.py", folder], check=True,
                       stdout=subprocess.DEVNULL)
        files = sorted(p for p in pathlib.Path(folder).rglob("*") if p.is_file())
        return [p.read_bytes() for p in files if p.stat().st_size <= ATTACKS]


def pickle_in(archive):
    """The first byte is fuzz/unpickler.cpp's: ids of five items."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as z:
            names = [n for n in z.namelist() if n.endswith("data.pkl")]
            return b"\x01" + z.read(names[0]) if names else None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError):
        return None


def containers(root):
    fixtures = [p.read_bytes() for p in sorted((root / "tests/fixtures/checkpoints").glob("*.pt"))
                if p.stat().st_size <= ATTACKS]
    files = fixtures + attack_files(root)
    zips = [f for f in files if f.startswith(b"PK")]
    legacy = [f for f in files if f[:len(LEGACY)] == LEGACY]
    others = [f for f in files if not f.startswith((b"PK", b"\x80"))]
    pickles = [p for p in map(pickle_in, zips) if p is not None]
    # The five pickles of a legacy file one after the other: the third is the tensors'.
    pickles += [b"\x02" + f[f.find(b"\x80\x02", 40):] for f in legacy]
    made = [safetensors([("a", "F32", [2], bytes(8)), ("b.c", "BF16", [1, 3], bytes(6))]),
            safetensors([("x", "F8_E4M3", [0, 4], b""), ("y", "I64", [], bytes(8))]),
            safetensors([("w", "F4", [4], bytes(2))])]
    return {"zip": zips, "torch_zip": zips, "torch_legacy": legacy, "unpickler": pickles,
            "safetensors": others + made}


def strings_in(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from strings_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings_in(inner)


def expressions(root):
    found = set()
    for path in sorted((root / "recipes").glob("*.toml")):
        found.update(s for s in strings_in(tomllib.loads(path.read_text())) if len(s) < 200)
    words = sorted(s for s in found if re.search(r"[(\[{+*/<=-]", s))
    random.Random(7).shuffle(words)
    return [w.encode() for w in words[:80]]


def inputs(root):
    out = containers(root)
    recipes = [p.read_bytes() for p in sorted((root / "recipes").glob("*.toml"))]
    out["recipe"] = [r for r in recipes if len(r) < 5000]
    out["expression"] = expressions(root)
    out["safetensors_index"] = [i.encode() for i in INDEXES]
    out["config"] = [text(V3), text(V2), text({**V3, "rope_scaling": YARN}),
                     text({**V2, "rope_scaling": {"type": "linear", "factor": 2}}),
                     text({**V3, "q_lora_rank": None, "n_routed_experts": None})]
    out["tokenizer"] = [p.read_bytes() for p in
                        sorted((root / "tests/fixtures/tokenizer").glob("*.json"))]
    out["chat_template"] = [p.read_bytes() for p in
                            sorted((root / "tests/fixtures/chat_templates").glob("*.jinja"))]
    out["http_body"] = [bytes([i % 2]) + text(b) for b in BODIES for i in (0, 1)]
    out["quant_rules"] = [r.encode() for r in RULES]
    chance = random.Random(11)
    out["convert"] = [b""] + [chance.randbytes(96) for _ in range(24)]
    return {target: sorted(set(data)) for target, data in out.items()}


def words_of(data, most=120):
    count = collections.Counter(w for d in data for w in re.findall(rb"[A-Za-z_][A-Za-z_0-9]{2,30}", d))
    return [w for w, _ in sorted(count.items(), key=lambda x: (-x[1], x[0]))[:most]]


def dictionaries(root):
    made = inputs(root)
    zip_words = [b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07",
                 b"PK\x07\x08", b"archive/data.pkl", b"archive/data/0", b"archive/version",
                 b"\xff\xff\xff\xff", b"\xff\xff", b"\x08\x08"]
    names = [f"c{m}\n{n}\n".encode() for m, n in
             [("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2"),
              ("torch._utils", "_rebuild_parameter"), ("torch._tensor", "_rebuild_from_type_v2"),
              ("torch", "FloatStorage"), ("torch", "HalfStorage"), ("torch", "BFloat16Storage"),
              ("torch.storage", "UntypedStorage"), ("torch", "Size"), ("torch", "float32"),
              ("_codecs", "encode"), ("builtins", "dict"), ("os", "system")]]
    pickle_words = names + [b"X\x07\x00\x00\x00storage", b"X\x03\x00\x00\x00cpu",
                            b"X\x01\x00\x00\x000", b"(", b"t", b"R", b"Q", b"}", b"u", b"\x89",
                            b"\x8a\x08", b"\x95\x00\x00\x00\x00\x00\x00\x00\x00", b"\x80\x02"]
    out = {target: words_of(made[target]) for target in
           ("recipe", "expression", "safetensors_index", "config", "tokenizer", "chat_template",
            "http_body", "quant_rules", "safetensors")}
    out["chat_template"] += [b"{%-", b"-%}", b"{{", b"}}", b"{#", b"#}", b"%}", b"~", b"|", b"[::-1]"]
    out["expression"] += [b"==", b"!=", b"<=", b"{l}", b"{e + 1}", b"'", b"and", b"not", b"or"]
    out["zip"] = zip_words
    out["unpickler"] = pickle_words
    out["torch_legacy"] = pickle_words
    out["torch_zip"] = zip_words + pickle_words
    return out
