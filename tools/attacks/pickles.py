"""Pickles: code, opcodes, memo, lengths, nesting, names."""
import struct

from attacks.attack import in_group
from attacks.forge import (PAYLOAD, PROTO, STOP, archive, call, dictionary, entry, integer, name, patched,
                           safetensors, state_dict, storage, tensor, text, tup)

NEVER = "names are words, never resolved; these are refused"
OPCODES = "opcodes outside the allowed set are refused"
STRUCTURE = "every opcode checks the stack that it finds"


def code():
    a = in_group("Code in a pickle", ending=".pt")
    yield a("global-os-system", "GLOBAL os.system, called", NEVER, "pickle_global", "asks for os.system",
            lambda: archive(call("os", "system", text(PAYLOAD))))
    yield a("stack-global-posix", "STACK_GLOBAL posix.system, called", NEVER, "pickle_global", "asks for posix.system",
            lambda: archive(text("posix") + text("system") + b"\x93" + tup(text(PAYLOAD)) + b"R"))
    yield a("eval-in-dict-subclass", "eval as the state of a dict", NEVER, "pickle_global", "asks for builtins.eval",
            lambda: archive(name("collections", "OrderedDict") + b")R" + call("builtins", "eval", text("1+1")) + b"b"))
    yield a("inst", "INST os.system", OPCODES, "pickle_opcode", "(INST) is refused",
            lambda: archive(b"(" + text(PAYLOAD) + b"ios\nsystem\n"))
    yield a("obj", "OBJ of a harmless class", OPCODES, "pickle_opcode", "(OBJ) is refused",
            lambda: archive(b"(" + name("mylib", "X") + text(PAYLOAD) + b"o"))
    yield a("ext", "EXT1, a name from a registry", OPCODES, "pickle_opcode", "(EXT1) is refused",
            lambda: archive(b"\x82\x01"))
    yield a("build-setstate", "BUILD gives a class itself a state", "BUILD only on dicts, tensors and inert objects",
            "pickle_structure", "gives a state to a name", lambda: archive(name("mylib", "X") + dictionary(a=b"N") + b"b"))
    yield a("build-dict-state", "BUILD gives a dict a list for its __dict__", "a dict's state is a dict, and dropped",
            "pickle_structure", "a dict gets a state that is no dict",
            lambda: archive(name("collections", "OrderedDict") + b")R" + b"]" + b"b"))
    yield a("nested-pickle", "torch.storage._load_from_bytes, a pickle in the pickle", NEVER, "pickle_global",
            "asks for torch.storage._load_from_bytes",
            lambda: archive(call("torch.storage", "_load_from_bytes", b"B" + struct.pack("<I", 3) + PROTO + STOP)))
    yield a("attribute-traversal", "STACK_GLOBAL of a dotted name", NEVER, "pickle_global", "a name inside a name",
            lambda: archive(text("torch") + text("nn.Module.forward") + b"\x93"))
    yield a("call-of-a-list", "REDUCE on something that is no name", "only names are called", "pickle_structure",
            "calls a list", lambda: archive(b"])R"))


def evasions():
    a = in_group("Past a scanner", ending=".pt")
    yield a("payload-before-broken-end", "a call, then bytes that are no pickle", "nothing runs, whatever follows",
            "pickle_global", "asks for subprocess.Popen",
            lambda: archive(PROTO + call("subprocess", "Popen", text(PAYLOAD)) + b"\xff", raw=True))
    yield a("second-pickle-after-stop", "a second pickle behind STOP", "data.pkl ends at its STOP", "pickle_structure",
            "goes on after its STOP",
            lambda: archive(PROTO + dictionary(w=tensor()) + STOP + PROTO + call("os", "system", text(PAYLOAD)) + STOP,
                            raw=True))
    yield a("bare-pickle-renamed", "a bare pickle with the ending .safetensors", "bytes decide, not the ending",
            "format_unknown", "a bare pickle", lambda: PROTO + call("os", "system", text(PAYLOAD)) + STOP,
            ending=".safetensors")
    yield a("protocol-0", "a text pickle in the archive", OPCODES, "pickle_structure",
            "does not start with a protocol number", lambda: archive(b"cos\nsystem\n(S'true'\ntR.", raw=True))
    yield a("seven-zip", "a 7-Zip archive", "containers by their magic", "format_unknown", "a 7-Zip archive",
            lambda: b"7z\xbc\xaf\x27\x1c" + bytes(26))
    yield a("tar", "torch 0.1's tar archive", "tar is refused by name", "format_refused", "a tar archive",
            lambda: patched(patched(bytes(1024), 0, b"storages"), 257, b"ustar"))


def persistent_ids():
    a = in_group("Storage ids", ending=".pt")
    items = [text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), integer(4)]
    used = lambda *parts: state_dict(tensor(store=tup(*parts) + b"Q"))
    rule = "type, number and charset of each item"
    yield a("persistent-id-not-a-tuple", "a string for an id", rule, "pickle_storage", "is a string, not a tuple",
            lambda: archive(text("0") + b"Q"))
    yield a("persistent-id-arity", "four items", rule, "pickle_storage", "has 4 items", lambda: used(*items[:4]))
    yield a("persistent-id-kind", "an id of another kind", rule, "pickle_storage", "of the unknown type",
            lambda: used(text("url"), *items[1:]))
    yield a("persistent-id-class", "a class that is no storage", rule, "pickle_storage", "names no storage class but",
            lambda: used(items[0], name("torch", "Size"), *items[2:]))
    yield a("persistent-id-path", "the key ../version", rule, "pickle_storage", "which is no plain word",
            lambda: used(*items[:2], text("../version"), *items[3:]))
    yield a("persistent-id-missing", "a key without a record", "keys are looked up in the directory only",
            "pickle_storage", "has no record", lambda: state_dict(tensor(store=storage(key="7"))))


def memo_and_lengths():
    a = in_group("Memo and lengths", ending=".pt")
    memo, length = "the memo is no longer than the pickle", "lengths are held to what remains"
    yield a("memo-index-huge", "LONG_BINPUT 2^32 - 1", memo, "pickle_structure", "out of all proportion",
            lambda: archive(b"Nr\xff\xff\xff\xff"))
    yield a("memo-index-unset", "LONG_BINGET of an index never set", memo, "pickle_structure", "was never set",
            lambda: archive(b"j\x40\x00\x00\x00"))
    yield a("memoize-flood", "six million MEMOIZE", "`--limit pickle-memo`", "limit_exceeded", "has too many memo entries",
            lambda: archive(b"N" + b"\x94" * 6_000_000))
    yield a("pickle-deflated-bomb", "64 MiB of opcodes in 64 KiB",
            "a compressed data.pkl inflates to 1 MiB, or 32 times its size", "limit_exceeded",
            "data.pkl would inflate to too many bytes", lambda: archive(b"N0" * (32 << 20) + b"N", deflate=True))
    yield a("long1-cut-short", "LONG1 of 255 bytes at the end", length, "pickle_structure", "a length of 255",
            lambda: archive(b"\x8a\xff"))
    yield a("long4-negative", "LONG4 of a negative length", length, "pickle_structure", "has a negative length",
            lambda: archive(b"\x8b\x00\x00\x00\x80"))
    yield a("binunicode8-huge", "BINUNICODE8 of 2^64 - 1 bytes", length, "pickle_structure",
            "a length of 18446744073709551615", lambda: archive(b"\x8d" + b"\xff" * 8))
    yield a("binbytes8-huge", "BINBYTES8 of 2^63 - 1 bytes", length, "pickle_structure",
            "a length of 9223372036854775807", lambda: archive(b"\x8e" + b"\xff" * 7 + b"\x7f"))
    yield a("bytearray8-huge", "BYTEARRAY8 of 2^62 bytes", length, "pickle_structure", "a length of 4611686018427387904",
            lambda: archive(b"\x96" + bytes(7) + b"\x40"))
    yield a("frame-huge", "FRAME of 2^64 - 1 bytes", length, "pickle_structure", "a frame of 18446744073709551615 bytes",
            lambda: archive(b"\x95" + b"\xff" * 8))


def nesting():
    a = in_group("Nesting and sharing", ending=".pt")
    depth = "the walk goes 64 levels deep; parsing does not recurse"
    yield a("deep-lists", "200 000 lists in each other", depth, "limit_exceeded", '"w.0.0.0',
            lambda: state_dict(b"]" * 200_000 + b"a" * 199_999))
    yield a("deep-tuples", "200 000 TUPLE1", depth, "limit_exceeded", '"v.0.0.0',
            lambda: archive(dictionary(v=b"N" + b"\x85" * 200_000)))
    yield a("stack-flood", "2 200 000 items in one tuple", "`--limit pickle-stack`", "limit_exceeded", "has too many open objects",
            lambda: archive(dictionary(v=b"(" + b"N" * 2_200_000 + b"t")))
    yield a("list-in-itself", "a list that holds itself", "the walk knows what it is inside", "pickle_structure",
            '"w.0" contains itself', lambda: state_dict(b"]q\x01h\x01a"))
    yield a("dict-in-itself", "a dict that holds itself", "the walk knows what it is inside", "pickle_structure",
            '"w.a" contains itself', lambda: state_dict(b"}q\x01" + text("a") + b"h\x01s"))

    def laughs():
        out = b"]" + tensor() + b"a"
        for i in range(1, 41):
            out += b"q" + bytes([i]) + b"0](h" + bytes([i]) + b"h" + bytes([i]) + b"e"
        return state_dict(out)
    yield a("pickle-copies", "a list of 100 000 items, copied 100 times by a call of 20 bytes", "`--limit pickle-objects`", "limit_exceeded",
            "too many copied items", lambda: archive(
                b"](" + b"N" * 100_000 + b"eq\x01" + (name("builtins", "list") + b"h\x01\x85R0") * 100))
    yield a("billion-laughs", "40 lists that each hold the one before twice",
            "the tree may be four times what is written out, and 65 536 more", "limit_exceeded",
            "unfolds to too many entries", laughs)


def structure():
    a = in_group("Malformed streams", ending=".pt")
    at = lambda slug, lie, says, value, **raw: a(slug, lie, STRUCTURE, "pickle_structure", says,
                                                 lambda: archive(value, **raw))
    yield at("stack-underflow", "REDUCE on an empty stack", "the stack is empty", b"R")
    yield at("missing-mark", "TUPLE without MARK", "a mark is missing", b"Nt")
    yield at("missing-stop", "no STOP", "ends without a STOP", PROTO + b"}", raw=True)
    yield at("left-over", "STOP with more on the stack", "are left over at its STOP", b"NN")
    yield at("list-as-key", "a list for a key", "a list is used as a dict key", b"}]Ns")
    yield at("dict-as-key", "a dict for a key", "a dict is used as a dict key", b"}}Ns")
    yield at("setitem-on-list", "SETITEM on a list", "sets items of a list", b"]NNs")
    yield at("append-to-dict", "APPEND to a dict", "appends to a dict", b"}Na")
    yield a("duplicate-names", "{a: {b: T}, a.b: T}", "names are unique once joined", "tensor_name",
            "the name occurs twice", lambda: archive(b"}(" + text("a") + dictionary(b=tensor()) + text("a.b") + tensor()
                                                     + b"u"))


def names():
    a = in_group("Names", ending=".pt")
    named = lambda key: archive(b"}" + text(key) + tensor() + b"s")
    rule = "a name is UTF-8 without NUL, of at most 4096 bytes"
    yield a("name-with-nul", "a NUL in a name", rule, "tensor_name", "holds a NUL byte", lambda: named(b"a\0b"))
    yield a("name-not-utf8", "a byte that no UTF-8 has", rule, "tensor_name", '"a\\xff" is not valid UTF-8',
            lambda: named(b"a\xff"))
    yield a("name-lone-surrogate", "half of a surrogate pair", rule, "tensor_name", '"\\xed\\xa0\\x80" is not',
            lambda: named(b"\xed\xa0\x80"))
    yield a("name-reserved", "a tensor called __metadata__", "safetensors' own word is refused", "tensor_name",
            "is reserved by the safetensors format", lambda: named("__metadata__"))
    yield a("name-too-long", "5000 bytes", rule, "tensor_name", "is longer than 4096 bytes", lambda: named("n" * 5000))
    yield a("name-terminal", "escape sequences for the reader's terminal", "what a file says is escaped when printed",
            "safetensors_tensor", "\\x1b[2J", lambda: safetensors({"\x1b[2J": entry(0, 4)}, bytes(4)),
            ending=".safetensors")


def attacks():
    for group in (code, evasions, persistent_ids, memo_and_lengths, nesting, structure, names):
        yield from group()
