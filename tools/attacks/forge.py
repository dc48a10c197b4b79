"""The formats, byte by byte: pickles, zip archives and safetensors, right unless told to lie."""
import io
import json
import struct
import warnings
import zipfile
import zlib

# What a payload would do, should another program run it.
PAYLOAD = b"touch /tmp/weightbridge-attack-ran"
PROTO, STOP = b"\x80\x02", b"."


# --- opcodes ---

def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def name(module, attribute):
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def integer(value):
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def tup(*items):
    return b"(" + b"".join(items) + b"t"


def ints(*values):
    return tup(*(integer(v) for v in values))


def dictionary(**items):
    return b"}(" + b"".join(text(k) + v for k, v in items.items()) + b"u"


def call(module, attribute, *arguments):
    return name(module, attribute) + tup(*arguments) + b"R"


def storage(numel=4, key="0", cls="FloatStorage"):
    return tup(text("storage"), name("torch", cls), text(key), text("cpu"), integer(numel)) + b"Q"


def tensor(size=(4,), stride=(1,), offset=0, store=None):
    """_rebuild_tensor_v2(...); size, stride and offset may be opcodes already."""
    raw = lambda v: v if isinstance(v, bytes) else integer(v) if isinstance(v, int) else ints(*v)
    hooks = name("collections", "OrderedDict") + b")R"
    return call("torch._utils", "_rebuild_tensor_v2", store or storage(), raw(offset), raw(size), raw(stride),
                b"\x89", hooks)


# --- zip archives ---

def archive(value, records=None, raw=False, deflate=False, extra=(), version=b"3\n"):
    """torch.save's archive around a pickle; `records`: data/KEY -> bytes."""
    out = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as z:
        warnings.simplefilter("ignore")  # names that are there twice
        put = lambda entry, data: z.writestr(zipfile.ZipInfo(entry, (1980, 1, 1, 0, 0, 0)), data, method)
        put("archive/data.pkl", value if raw else PROTO + value + STOP)
        for key, data in ({"0": bytes(16)} if records is None else records).items():
            put("archive/data/" + key, data)
        for entry, data in extra:
            put(entry, data)
        put("archive/version", version)
    return out.getvalue()


def state_dict(value, **more):
    return archive(dictionary(w=value), **more)


def patched(blob, at, data):
    return blob[:at] + data + blob[at + len(data):]


def central(blob, entry):
    """Where the directory's header of an entry begins."""
    at = blob.find(b"PK\x01\x02")
    while blob[at + 46:at + 46 + len(entry)] != entry.encode():
        at = blob.find(b"PK\x01\x02", at + 4)
    return at


def local(blob, entry):
    """Where the local header of an entry begins."""
    return struct.unpack_from("<I", blob, central(blob, entry) + 42)[0]


def end_record(blob):
    return blob.rfind(b"PK\x05\x06")


def zeros_deflated(mebibytes):
    """A raw deflate stream of so many MiB of zeros: one piece, repeated."""
    piece = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = piece.compress(bytes(1 << 20)) + piece.flush(zlib.Z_FULL_FLUSH)
    return block * mebibytes + zlib.compressobj(9, zlib.DEFLATED, -15).flush()


def with_stream(blob, entry, stream, size):
    """The archive with the data of its deflated last-but-one entry replaced, sizes in the directory
    and the local header as given. `entry` must be directly before archive/version."""
    begin = local(blob, entry)
    data = begin + 30 + len(entry)
    following = local(blob, "archive/version")
    shift = len(stream) - (following - data)
    out = bytearray(blob[:data] + stream + blob[following:])
    head = central(bytes(out), entry)
    for at in (begin + 18, head + 20):
        struct.pack_into("<II", out, at, len(stream), size)
    last = central(bytes(out), "archive/version")
    struct.pack_into("<I", out, last + 42, following + shift)
    end = end_record(bytes(out))
    struct.pack_into("<I", out, end + 16, struct.unpack_from("<I", out, end + 16)[0] + shift)
    return bytes(out)


# --- safetensors ---

def safetensors(header, data=b"", length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(begin=0, end=16, shape=(4,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def one_tensor(tensor_name="w"):
    return safetensors({tensor_name: entry()}, bytes(16))


def nested(depth, inner=b"0"):
    """JSON: lists in lists."""
    return b"[" * depth + inner + b"]" * depth
