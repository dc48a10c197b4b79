"""config.json and weightbridge.json beside the weights."""
import json

from attacks.attack import holes, in_group
from attacks.forge import nested, one_tensor

STOCK = {"model_type": "deepseek_v3", "vocab_size": 4, "hidden_size": 4, "num_hidden_layers": 1}
LOGITS = (("logits", "{}", "--tokens", "1", "-o", "{out}"),)


def parsing():
    a = in_group("config.json", about="config.json")

    def of(slug, lie, rule, says, text, code="config_invalid"):
        return a(slug, lie, rule, code, says, lambda: {"model.safetensors": one_tensor(), "config.json": text})
    rule = "JSON, 64 levels deep, keys unique"
    yield of("config-deep", "100 000 lists in each other", rule, "nests too deep", nested(100_000), "limit_exceeded")
    yield of("config-many-values", "a million numbers", "at most 524 288 values", "holds too many values",
             b'{"a":[' + b"0," * 1_000_000 + b"0]}", "limit_exceeded")
    yield of("config-huge", "17 MB", "at most 16 MiB", "is too long for a file of this kind", holes(17_000_000, b"{"),
             "limit_exceeded")
    yield of("config-duplicate-key", "two vocab_size", rule, 'has the key "vocab_size" twice',
             b'{"vocab_size": 4, "vocab_size": 5}')
    yield of("config-nul-hides-rest", "a NUL, and JSON behind it", "no NUL", "holds a NUL byte", b'{"a": 1}\0{"b": 2}')
    yield of("config-not-utf8", "a byte that no UTF-8 has", rule, "ill-formed UTF-8", b'{"a": "\xff"}')
    yield of("config-nan", "NaN for a number", "JSON has no NaN", "is not JSON: parse error", b'{"rms_norm_eps": NaN}')
    yield of("config-infinite", "1e999", "numbers fit 64 bits", "number overflow parsing", b'{"rms_norm_eps": 1e999}')
    yield of("config-cut-short", "the half of a file", rule, "unexpected end of input", b'{"a": ')
    yield of("config-list", "a list at the top", "an object", "is not a JSON object", b"[]")


def values():
    a = in_group("config.json", command=LOGITS[0])

    def of(slug, lie, rule, says, changes, code="config_invalid"):
        text = json.dumps({**STOCK, **changes}).encode()
        return a(slug, lie, rule, code, says, lambda: {"model.safetensors": one_tensor(), "config.json": text})
    rule = "types and ranges of every key"
    yield of("config-text-for-number", '"4" for vocab_size', rule, 'the key "vocab_size" has a value of the wrong kind',
             {"vocab_size": "4"})
    yield of("config-negative", "hidden_size -4", rule, 'the key "hidden_size" has a value', {"hidden_size": -4})
    yield of("config-beyond-int32", "a dimension of 2^40", rule, 'the key "kv_lora_rank" has a value', {"kv_lora_rank": 2**40})
    yield of("config-float-count", "1.5 experts", rule, 'the key "n_routed_experts" has a value', {"n_routed_experts": 1.5})
    yield of("config-many-layers", "two milliard layers", "at most 16 384 layers", 'the key "num_hidden_layers" is out of',
             {"num_hidden_layers": 2_000_000_000})
    yield of("config-many-experts", "16 384 layers of two milliard experts", "every tensor is looked for before the next",
             "no file has it", {"num_hidden_layers": 16384, "n_routed_experts": 2_000_000_000, "num_experts_per_tok": 1,
                                "first_k_dense_replace": 0}, "tensor_missing")
    yield of("config-rope-list", "a list for rope_scaling", rule, 'the key "rope_scaling" has a value', {"rope_scaling": [1]})
    yield of("config-unknown-class", "a class that is not covered", "classes by name", "", {"model_type": "gpt2"}, "recipe_unknown")


def manifests():
    a = in_group("weightbridge.json", about="weightbridge.json", command=("inspect", "{}", "--check"))

    def of(slug, lie, rule, says, text, code="config_invalid"):
        return a(slug, lie, rule, code, says, lambda: {"model.safetensors": one_tensor(), "weightbridge.json": text})
    rule = "JSON, 64 levels deep, keys unique"
    yield of("manifest-deep", "100 000 objects in each other", rule, "nests too deep", b'{"a":' * 100_000, "limit_exceeded")
    yield of("manifest-duplicate-key", "two lists of files", rule, 'has the key "files" twice', b'{"files": [], "files": []}')
    yield of("manifest-no-json", "text that is no JSON", rule, "is not JSON", b"files: []")
    yield in_group("weightbridge.json")(
        "manifest-wrong-hash", "a hash of other bytes", "held to by --check", "hash_mismatch", "XXH3-128",
        lambda: {"model.safetensors": one_tensor(), "weightbridge.json": json.dumps(
            {"files": [{"name": "model.safetensors", "xxh3_128": "0" * 32}]}).encode()},
        about="model.safetensors", command=("inspect", "{}", "--check"))


def attacks():
    for group in (parsing, values, manifests):
        yield from group()
