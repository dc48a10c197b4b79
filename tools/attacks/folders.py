"""Folders of shards: the index, what it names, and links."""
import json
import os

from attacks.attack import holes, in_group
from attacks.forge import nested, one_tensor

INDEX = "model.safetensors.index.json"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def attacks():
    def folder(index, **files):
        index = index if isinstance(index, bytes) or callable(index) else json.dumps(index).encode()
        return lambda: {INDEX: index, ONE: one_tensor("a"), **files}

    def of(slug, lie, rule, says, index, code="safetensors_index", **files):
        return in_group("Index files", about=INDEX)(slug, lie, rule, code, says, folder(index, **files))
    names = lambda file: {"weight_map": {"a": file}}
    plain, json_rule = "file names only, of the folder", "JSON, 16 levels deep, keys unique"
    yield of("index-traversal", "a shard called ../secret", plain, '"../secret.safetensors", which is not', names("../secret.safetensors"))
    yield of("index-absolute", "a shard called /etc/passwd", plain, '"/etc/passwd", which is not', names("/etc/passwd"))
    yield of("index-backslash", "a shard called ..\\\\secret", plain, '"..\\secret", which is not', names("..\\secret"))
    yield of("index-subfolder", "a shard in a folder below", plain, '"below/a.safetensors", which is not', names("below/a.safetensors"))
    yield of("index-nul", "a NUL in a shard's name", plain, '"a\\x00.safetensors", which is not', names("a\0.safetensors"))
    yield of("index-missing-shard", "a shard that is not there", "every listed file is there",
             "which is not in the folder", names(TWO))
    yield of("index-wrong-shard", "a tensor that another shard holds", "every tensor is where the index says",
             "places the tensor in a file that lacks it", {"weight_map": {"a": ONE, "b": ONE}}, **{TWO: one_tensor("b")})
    yield of("index-unknown-tensor", "a tensor that no shard holds", "every tensor is where the index says", "found it nowhere",
             {"weight_map": {"a": ONE, "c": ONE}})
    yield of("index-duplicate-tensor", "two shards for one tensor", json_rule, 'has the key "a" twice',
             f'{{"weight_map": {{"a": "{ONE}", "a": "{TWO}"}}}}'.encode(), **{TWO: one_tensor("b")})
    yield of("index-duplicate-map", "two weight_maps", json_rule, 'has the key "weight_map" twice',
             f'{{"weight_map": {{"a": "{ONE}"}}, "weight_map": {{}}}}'.encode())
    yield of("index-deep", "100 000 lists in each other", json_rule, "nests more than 16 levels", b'{"metadata":' + nested(100_000) + b"}")
    yield of("index-no-json", "text that is no JSON", json_rule, "is not valid JSON", b"weight_map: {}")
    yield of("index-nul-hides-rest", "a NUL, and JSON behind it", json_rule, "index holds a NUL byte",
             json.dumps(names(ONE)).encode() + b"\0{}")
    yield of("index-no-map", "no weight_map", "there is one", "has no weight_map", {})
    yield of("index-number", "a number for a shard", "names are text", "gives no file name for", {"weight_map": {"a": 1}})
    yield of("index-huge", "an index of 101 MB", "`--limit header-bytes`", "the index is too long", holes(101_000_000, b"{"),
             "limit_exceeded")
    yield in_group("Index files")(
        "shards-same-tensor", "one tensor in two shards, no index", "names are unique", "tensor_name", "the name occurs twice, again in",
        lambda: {ONE: one_tensor("a"), TWO: one_tensor("a")}, about=ONE)
    yield in_group("Index files")(
        "shard-dangling-link", "a shard that is a link to nowhere", "every listed file is there", "safetensors_index",
        "linked.safetensors, which is not in the folder",
        lambda: {INDEX: json.dumps(names("linked.safetensors")).encode(), ONE: one_tensor("a"),
                 "linked.safetensors": lambda path: os.symlink("/nowhere/at/all", path)}, about=INDEX)
    yield in_group("Index files")(
        "shard-device-link", "a shard that is a link to /dev/zero", "regular files only", "safetensors_index",
        "device.safetensors, which is not in the folder",
        lambda: {INDEX: json.dumps(names("device.safetensors")).encode(), ONE: one_tensor("a"),
                 "device.safetensors": lambda path: os.symlink("/dev/zero", path)}, about=INDEX)
