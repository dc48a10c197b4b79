"""safetensors files: the header's length, its JSON, and byte ranges."""
import json

from attacks.attack import in_group
from attacks.forge import entry, nested, safetensors

HEADER, TENSOR = "safetensors_header", "safetensors_tensor"


def headers():
    a = in_group("safetensors headers", ending=".safetensors")
    yield a("st-header-limit", "a header of 2^40 bytes", "`--limit header-bytes`", "limit_exceeded", "header is too long",
            lambda: safetensors(b"{}", length=2**40))
    yield a("st-header-beyond-file", "a header of 1 MiB in a file of 10 bytes", "held to the file's size", "truncated",
            "expected 1048584 bytes", lambda: safetensors(b"{}", length=1 << 20))
    yield a("st-short", "seven bytes", "a length is 8 bytes", "format_unknown", "found bytes that start with",
            lambda: b"\x02" + bytes(6))
    yield a("st-not-object", "a space before the brace", "the first byte is a brace", HEADER, "does not start with '{'",
            lambda: safetensors(b" {}"))
    yield a("st-padding", "a tab behind the header", "padded with spaces only", HEADER, "padded with something other",
            lambda: safetensors(json.dumps({"a": entry()}).encode() + b"\t", bytes(16)))
    yield a("st-nul-hides-rest", "a NUL, and JSON behind it", "no NUL in a header", HEADER, "holds a NUL byte",
            lambda: safetensors(json.dumps({"a": entry()}).encode() + b"\0{}", bytes(16)))
    yield a("st-two-documents", "two JSON objects in a row", "one object", HEADER, "is not valid JSON",
            lambda: safetensors(json.dumps({"a": entry()}).encode() + b"{}", bytes(16)))
    yield a("st-not-utf8", "a byte that no UTF-8 has, in a name", "a header is UTF-8", HEADER, "is not valid UTF-8",
            lambda: safetensors(b'{"\xff":' + json.dumps(entry()).encode() + b"}", bytes(16)))
    yield a("st-deep-json", "100 000 lists in each other", "16 levels deep", HEADER, "nests more than 16 levels deep",
            lambda: safetensors(b'{"a":{"x":' + nested(100_000) + b"}}"))
    same = json.dumps(entry()).encode()
    yield a("st-duplicate-name", "one tensor twice", "names are unique", HEADER, 'has the tensor "a" twice',
            lambda: safetensors(b'{"a":' + same + b',"a":' + same + b"}", bytes(16)))
    yield a("st-duplicate-key", "two shapes of one tensor", "keys are unique", HEADER, 'the key "shape" twice',
            lambda: safetensors(b'{"a":' + same[:-1] + b',"shape":[2]}}', bytes(16)))
    yield a("st-duplicate-metadata", "__metadata__ twice", "keys are unique", HEADER, 'the key "__metadata__" twice',
            lambda: safetensors(b'{"__metadata__":{},"__metadata__":{"a":"b"}}'))
    yield a("st-metadata-not-strings", "a number in __metadata__", "strings only", HEADER, "not a string",
            lambda: safetensors({"__metadata__": {"a": 1}, "a": entry()}, bytes(16)))
    yield a("st-many-entries", "100 000 names on one span", "ranges do not overlap", TENSOR, "t1: its data overlaps",
            lambda: safetensors({f"t{i}": entry() for i in range(100_000)}, bytes(16)))


def entries():
    a = in_group("safetensors tensors", ending=".safetensors")
    of = lambda slug, lie, rule, says, header, data=16, code=TENSOR: a(
        slug, lie, rule, code, says, lambda: safetensors(header, bytes(data)))
    cover, types = "ranges cover the data exactly", "types of values are the format's"
    yield of("st-overlap", "two ranges that overlap", cover, "b: its data overlaps", {"a": entry(), "b": entry(8, 24)}, 24)
    yield of("st-hole", "a hole between two ranges", cover, "leaves a hole", {"a": entry(), "b": entry(20, 36)}, 36)
    yield of("st-trailing-bytes", "bytes after the last tensor", cover, "goes on after its last tensor", {"a": entry()}, 17,
             HEADER)
    yield of("st-truncated", "a byte too few", cover, "ends before the data of its last tensor", {"a": entry()}, 15, "truncated")
    yield of("st-wrong-size", "a range of 12 bytes for 4 floats", "a range is what dtype and shape take", "does not fit its dtype",
             {"a": entry(0, 12)}, 12)
    yield of("st-wrapping-offsets", "a range from 2^64 - 16 to 0", "ends after it begins", "ends before it begins",
             {"a": entry(2**64 - 16, 0)})
    yield of("st-offset-beyond-64", "an offset of 2^64", types, "data_offsets holds a number that is no size",
             {"a": entry(0, 2**64)})
    yield of("st-wrapping-product", "65536^4 elements in no byte", "products are checked", "281474976710656 * 65536",
             {"a": entry(0, 0, (65536,) * 4)}, 0, "size_overflow")
    yield of("st-huge-dimension", "a dimension of 2^63", "63 bits", "a dimension does not fit 63 bits", {"a": entry(shape=(2**63,))})
    yield of("st-float-shape", "a dimension of 4.0", types, "shape holds a number that is no size", {"a": entry(shape=(4.0,))})
    yield of("st-negative-shape", "a dimension of -4", types, "shape holds a negative number", {"a": entry(shape=(-4,))})
    yield of("st-rank-65", "65 dimensions", "at most 64", "more than 64 dimensions", {"a": entry(0, 4, (1,) * 65)}, 4)
    yield of("st-unknown-dtype", "a dtype F128", types, '"F128" is none of the format', {"a": entry(dtype="F128")})
    yield of("st-three-offsets", "three offsets", types, "more than two numbers",
             {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16, 16]}})
    yield of("st-missing-field", "no shape", types, "lacks one of dtype", {"a": {"dtype": "F32", "data_offsets": [0, 16]}})
    yield of("st-half-byte", "three elements of four bits", "whole bytes", "do not fill whole bytes",
             {"a": entry(0, 1, (3,), "F4")}, 1)


def attacks():
    yield from headers()
    yield from entries()
