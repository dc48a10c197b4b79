#!/usr/bin/env python3
"""Writes hostile checkpoints into a folder, for auditing by hand or with other readers.

One file per row of the attack table in docs/security.md; the name says what is wrong. None of
them does harm when weightbridge opens it, and the payloads only create the file
/tmp/weightbridge-attack-ran, should another program run them. The unit tests build the same
lies in C++ and do not need this. Standard library only: make_attack_files.py FOLDER
"""

import io
import json
import os
import pickle
import struct
import sys
import zipfile

PAYLOAD = b"touch /tmp/weightbridge-attack-ran"
PROTO, STOP = b"\x80\x02", b"."


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def name(module, attribute):
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def integer(value):
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x08" + struct.pack("<q", value)


def tup(*items):
    return b"(" + b"".join(items) + b"t"


def ints(*values):
    return tup(*(integer(v) for v in values))


def dictionary(**items):
    return b"}(" + b"".join(text(k) + v for k, v in items.items()) + b"u"


def storage(numel=4, key="0", cls="FloatStorage"):
    return tup(text("storage"), name("torch", cls), text(key), text("cpu"), integer(numel)) + b"Q"


def tensor(size=(4,), stride=(1,), offset=0, store=None):
    hooks = name("collections", "OrderedDict") + b")R"
    arguments = tup(store or storage(), integer(offset), ints(*size), ints(*stride), b"\x89", hooks)
    return name("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def archive(value, records=None, raw=False, compression=zipfile.ZIP_STORED, extra=()):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as z:
        z.writestr("archive/data.pkl", value if raw else PROTO + value + STOP)
        for key, data in (records if records is not None else {"0": bytes(16)}).items():
            z.writestr("archive/data/" + key, data)
        for entry, data in extra:
            z.writestr(entry, data)
        z.writestr("archive/version", "3\n")
    return out.getvalue()


def in_state_dict(value):
    return archive(dictionary(w=value))


def safetensors(header, data=b""):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data


def entry(begin=0, end=16, shape=(4,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}



def pickles():
    run = name("os", "system") + tup(text(PAYLOAD)) + b"R"
    yield "global-os-system", archive(run)
    yield "stack-global-posix-system", archive(text("posix") + text("system") + b"\x93"
                                               + tup(text(PAYLOAD)) + b"R")
    yield "eval-in-dict-subclass", archive(name("builtins", "eval") + tup(text("1+1")) + b"R")
    yield "inst", archive(b"(" + text(PAYLOAD) + b"ios\nsystem\n")
    yield "obj", archive(b"(" + name("os", "system") + text(PAYLOAD) + b"o")
    yield "build-setstate", archive(name("mylib", "X") + b")\x81" + run + b"b")
    yield "nested-pickle", archive(name("torch.storage", "_load_from_bytes")
                                   + tup(b"B" + struct.pack("<I", 3) + PROTO + STOP) + b"R")
    yield "attribute-traversal", archive(text("torch") + text("nn.Module.forward") + b"\x93")
    yield "payload-before-broken-end", archive(PROTO + run + b"\xff", raw=True)
    yield "second-pickle-after-stop", archive(PROTO + dictionary(w=tensor()) + STOP + PROTO + run
                                              + STOP, raw=True)
    yield "persistent-id-not-a-tuple", archive(text("0") + b"Q")
    yield "persistent-id-with-path", in_state_dict(tensor(store=storage(key="../version")))
    yield "persistent-id-missing-record", in_state_dict(tensor(store=storage(key="7")))
    yield "memo-index-huge", archive(b"Nr\xff\xff\xff\xff")
    yield "memo-index-unset", archive(b"j\x40\x00\x00\x00")
    yield "long1-cut-short", archive(b"\x8a\xff")
    yield "long4-negative", archive(b"\x8b\x00\x00\x00\x80")
    yield "binunicode8-huge", archive(b"\x8d" + b"\xff" * 8)
    yield "binbytes8-huge", archive(b"\x8e" + b"\xff" * 7 + b"\x7f")
    yield "frame-huge", archive(b"\x95" + b"\xff" * 8)
    yield "deep-lists", in_state_dict(b"]" * 500000 + b"a" * 499999)
    yield "list-in-itself", in_state_dict(b"]q\x01h\x01a")
    laughs = b"]" + tensor() + b"a"
    for i in range(1, 41):
        laughs += b"q" + bytes([i]) + b"0](h" + bytes([i]) + b"h" + bytes([i]) + b"e"
    yield "billion-laughs", in_state_dict(laughs)
    yield "stack-underflow", archive(b"R")
    yield "missing-mark", archive(b"Nt")
    yield "missing-stop", archive(PROTO + b"}", raw=True)
    yield "list-as-key", archive(b"}]Ns")
    yield "setitem-on-list", archive(b"]NNs")
    yield "duplicate-names", archive(b"}(" + text("a") + dictionary(b=tensor()) + text("a.b")
                                     + tensor() + b"u")
    yield "name-with-nul", archive(b"}" + text(b"a\0b") + tensor() + b"s")
    yield "name-lone-surrogate", archive(b"}" + text(b"\xed\xa0\x80") + tensor() + b"s")
    yield "name-reserved", archive(b"}" + text("__metadata__") + tensor() + b"s")
    yield "honest-pickle-module", archive(pickle.dumps(pickle.loads, protocol=2), raw=True)


def tensors():
    yield "record-too-short", archive(dictionary(w=tensor()), {"0": bytes(12)})
    yield "record-too-long", archive(dictionary(w=tensor()), {"0": bytes(20)})
    yield "one-key-two-sizes", archive(dictionary(a=tensor(), b=tensor((2,), store=storage(2))))
    yield "one-key-two-types", archive(dictionary(
        a=tensor(), b=tensor(store=storage(cls="IntStorage"))))
    yield "negative-size", in_state_dict(tensor((-4,)))
    yield "negative-stride", in_state_dict(tensor((4,), (-1,)))
    yield "negative-offset", in_state_dict(tensor(offset=-1))
    yield "rank-mismatch", in_state_dict(tensor((4,), (1, 1)))
    yield "rank-65", in_state_dict(tensor((1,) * 65, (1,) * 65))
    yield "product-overflow", in_state_dict(tensor((2**32, 2**32), (0, 0)))
    yield "reach-overflow", in_state_dict(tensor((2**32, 4), (2**32, 1)))
    yield "out-of-storage", in_state_dict(tensor((5,)))
    yield "expand-amplification", in_state_dict(tensor((2**50,), (0,)))


def zips():
    good = in_state_dict(tensor())
    yield "zip-duplicate-name", archive(dictionary(w=tensor()),
                                        extra=[("archive/data/0", bytes(16))])
    yield "zip-case-folded-twin", archive(dictionary(w=tensor()),
                                          extra=[("archive/DATA.pkl", b"x")])
    yield "zip-path-traversal", archive(dictionary(w=tensor()),
                                        extra=[("archive/../../etc/x", b"x")])
    yield "zip-backslash", archive(dictionary(w=tensor()), extra=[("archive/a\\b", b"x")])
    first = good.find(b"archive/data/0")
    yield "zip-local-name-differs", good[:first] + b"archive/data/9" + good[first + 14:]
    yield "zip-trailing-bytes", good + b"garbage"
    yield "zip-leading-bytes", b"garbage" + good
    end = good.rfind(b"PK\x05\x06")
    count = struct.unpack_from("<H", good, end + 10)[0]
    yield "zip-count-mismatch", (good[:end + 8] + struct.pack("<HH", count - 1, count - 1)
                                 + good[end + 12:])
    hidden = b"PK\x05\x06" + bytes(18)
    yield "zip-end-in-comment", good[:-2] + struct.pack("<H", len(hidden)) + hidden
    central = good.find(b"PK\x01\x02")
    yield "zip-encrypted", good[:central + 8] + b"\x01" + good[central + 9:]
    yield "zip-method-12", good[:central + 10] + b"\x0c" + good[central + 11:]
    yield "zip-disk-1", good[:end + 4] + b"\x01" + good[end + 5:]
    yield "zip-stored-two-sizes", (good[:central + 20] + b"\x01\x00\x00\x00"
                                   + good[central + 24:])
    yield "zip-directory-with-data", archive(dictionary(w=tensor()),
                                             extra=[("archive/x/", b"hidden")])
    packed = archive(dictionary(w=tensor()), compression=zipfile.ZIP_DEFLATED)
    at = packed.find(b"PK\x01\x02")
    yield "zip-lying-size", packed[:at + 24] + b"\x01\x00\x00\x00" + packed[at + 28:]
    bomb = archive(dictionary(w=tensor((2**29,), store=storage(2**29))), {"0": bytes(2**31)},
                   compression=zipfile.ZIP_DEFLATED) if "--bombs" in sys.argv else None
    if bomb:
        yield "zip-bomb", bomb
    flipped = bytearray(good)
    flipped[good.find(b"archive/data/0") + 14] ^= 1
    yield "zip-bad-crc", bytes(flipped)
    yield "zip-torchscript", archive(dictionary(w=tensor()),
                                     extra=[("archive/constants.pkl", b"x")])


def others():
    tar = bytearray(1024)
    tar[0:8], tar[257:262] = b"storages", b"ustar"
    yield "tar", bytes(tar)
    yield "seven-zip", b"7z\xbc\xaf\x27\x1c" + bytes(26)
    yield "st-header-too-long", struct.pack("<Q", 2**40) + b"{}"
    yield "st-overlap", safetensors({"a": entry(), "b": entry(8, 24)}, bytes(24))
    yield "st-hole", safetensors({"a": entry(), "b": entry(20, 36)}, bytes(36))
    yield "st-one-span-many-names", safetensors(
        {f"t{i}": entry() for i in range(100000)}, bytes(16))
    yield "st-wrapping-offsets", safetensors({"a": entry(2**64 - 16, 0)}, bytes(16))
    yield "st-wrapping-product", safetensors({"a": entry(0, 0, (65536,) * 4)})
    yield "st-trailing-bytes", safetensors({"a": entry()}, bytes(17))
    yield "st-deep-json", safetensors(b'{"a":{"x":' + b"[" * 100000)
    yield "st-duplicate-key", safetensors(
        b'{"a":' + json.dumps(entry()).encode() + b',"a":' + json.dumps(entry()).encode() + b"}",
        bytes(16))
    yield "st-nul-hides-rest", safetensors(json.dumps({"a": entry()}).encode() + b"\0{}", bytes(16))
    yield "st-metadata-not-strings", safetensors({"__metadata__": {"a": 1}, "a": entry()},
                                                 bytes(16))


def main():
    folders = [a for a in sys.argv[1:] if not a.startswith("-")]
    if len(folders) != 1:
        sys.exit("usage: make_attack_files.py FOLDER [--bombs]")
    os.makedirs(folders[0], exist_ok=True)
    count = 0
    for group in (pickles, tensors, zips, others):
        for stem, data in group():
            with open(os.path.join(folders[0], stem + ".bin"), "wb") as f:
                f.write(data)
            count += 1
    print(f"{count} files in {folders[0]}")


if __name__ == "__main__":
    main()
