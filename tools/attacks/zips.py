"""Zip archives: directories that lie, bombs, paths."""
import struct

from attacks.attack import in_group
from attacks.forge import (archive, central, dictionary, end_record, local, patched, state_dict, storage, tensor,
                           with_stream, zeros_deflated)

DATA = "archive/data/0"


def structure():
    a = in_group("Zip structure", ending=".pt")
    good = state_dict(tensor())
    more = lambda entry, data: lambda: archive(dictionary(w=tensor()), extra=[(entry, data)])
    head, end = central(good, DATA), end_record(good)
    one = "names are unique, also when case is ignored"
    say = lambda slug, lie, rule, says, make, code="zip_structure": a(slug, lie, rule, code, says, make)
    yield say("zip-duplicate-name", "data/0 twice", one, '"archive/data/0" twice', more(DATA, bytes(16)))
    yield say("zip-case-folded-twin", "data.pkl and DATA.pkl", one, '"archive/data.pkl" twice', more("archive/DATA.pkl", b"x"))
    yield say("zip-overlap", "a record inside another", "records do not overlap", "overlap",
              lambda: overlapping(good))
    yield say("zip-shared-header", "two entries on one local header", "records do not overlap",
              "otherwise in its local header", lambda: patched(good, head + 42, struct.pack("<I", local(good, "archive/data.pkl"))))
    yield say("zip-inside-directory", "a record inside the directory", "records end before the directory",
              "has no local header for", lambda: patched(good, head + 42, struct.pack("<I", head)))
    yield say("zip-local-method", "another method in the local header", "both headers say the same", "gives two methods for",
              lambda: patched(good, local(good, DATA) + 8, b"\x08\x00"))
    yield say("zip-local-size", "another size in the local header", "both headers say the same", "gives two sizes for",
              lambda: patched(good, local(good, DATA) + 22, b"\x09"))
    yield say("zip-trailing-bytes", "bytes after the end record", "the end record ends the file", "no end record that closes the file",
              lambda: good + b"garbage")
    yield say("zip-leading-bytes", "bytes before the archive", "an archive begins at byte 0", 'start with "garbageP"',
              lambda: b"garbage" + good, "format_unknown")
    yield say("zip-count-low", "one entry fewer in the end record", "the directory is what it counts",
              "more bytes than its entries take", lambda: patched(good, end + 8, struct.pack("<HH", 2, 2)))
    yield say("zip-count-high", "one entry more in the end record", "the directory is what it counts",
              "counts more entries than", lambda: patched(good, end + 8, struct.pack("<HH", 4, 4)))
    yield say("zip-count-two", "two counts in the end record", "the directory is what it counts",
              "has two different entry counts", lambda: patched(good, end + 8, struct.pack("<H", 2)))
    yield say("zip-end-in-comment", "an end record in the comment of another", "one end record only", "has two end records, one inside",
              lambda: good[:-2] + struct.pack("<H", 22) + b"PK\x05\x06" + bytes(18))
    yield say("zip-encrypted", "an encrypted entry", "not read", "holds an encrypted entry",
              lambda: patched(good, head + 8, b"\x01"), "zip_unsupported")
    yield say("zip-method-12", "bzip2", "stored and deflated only", "by method 12", lambda: patched(good, head + 10, b"\x0c"),
              "zip_unsupported")
    yield say("zip-disk-1", "an archive over two disks", "not read", "spans several disks", lambda: patched(good, end + 4, b"\x01"),
              "zip_unsupported")
    yield say("zip-directory-with-data", "data in a directory entry", "a directory entry is empty", "has a directory entry with data",
              more("archive/x/", b"hidden"))
    yield say("zip-bad-crc", "a record that is not its CRC-32", "checked when read, and by --check", "does not match its CRC-32",
              lambda: patched(good, local(good, DATA) + 30 + len(DATA), b"\x01"), "zip_crc")
    yield say("zip-torchscript", "a TorchScript archive", "holds code; refused by name", "a TorchScript archive",
              more("archive/constants.pkl", b"x"), "format_refused")
    yield say("zip-two-folders", "an entry outside the archive's folder", "one folder", "outside its folder",
              more("other/data/1", b"x"), "zip_layout")
    yield say("zip-version-99", "a version of tomorrow", "1 to 10", "format version is unknown",
              lambda: archive(dictionary(w=tensor()), version=b"99\n"), "zip_layout")


def overlapping(good):
    """data/0 ends inside the record behind it."""
    size = struct.pack("<II", 40, 40)
    out = patched(good, central(good, DATA) + 20, size)
    return patched(out, local(good, DATA) + 18, size)


def bombs():
    a = in_group("Zip bombs", ending=".pt")
    deflated = lambda numel=4, **more: archive(dictionary(w=tensor((numel,), store=storage(numel))), deflate=True, **more)
    yield a("zip-bomb-ratio", "40 GB claimed for 26 bytes", "deflate yields at most 1032 times its input", "zip_structure",
            "than deflate can yield", lambda: lying(deflated(), 4_000_000_000))
    yield a("zip-bomb-total", "2 GiB of zeros in 2 MiB", "`--limit inflated-bytes`: 1 GiB, or 64 times the file",
            "limit_exceeded", "compressed records would inflate to too many bytes",
            lambda: with_stream(deflated(2**29), DATA, zeros_deflated(2048), 2**31))
    yield a("zip-inflates-to-more", "1 MiB in a record that claims 16 bytes", "inflating stops at the declared size",
            "zip_structure", "inflates to more", lambda: with_stream(deflated(), DATA, zeros_deflated(1), 16))
    yield a("zip-inflates-to-less", "15 bytes in a record that claims 16", "exactly the declared size", "zip_structure",
            "inflates to less", lambda: lying(deflated(records={"0": bytes(15)}), 16))
    yield a("zip-deflate-damaged", "a deflate stream that is none", "damage ends it", "zip_structure",
            "is not a whole deflate stream", lambda: with_stream(deflated(), DATA, b"\xff" * 8, 16))
    yield a("zip-stored-two-sizes", "stored, with two sizes", "stored means equal sizes", "zip_structure",
            "with two different sizes", lambda: lying(state_dict(tensor()), 17))
    yield a("zip64-overflow", "a zip64 size of 2^64 - 8", "sums are checked", "zip_structure", "beyond the start of its directory",
            lambda: zip64(state_dict(tensor())))


def lying(blob, size):
    """The directory and the local header claim `size` for data/0."""
    out = patched(blob, central(blob, DATA) + 24, struct.pack("<I", size))
    return patched(out, local(blob, DATA) + 22, struct.pack("<I", size))


def zip64(blob):
    """data/0 with sizes in a zip64 field, near 2^64."""
    head = central(blob, DATA)
    field = struct.pack("<HHQQ", 1, 16, 2**64 - 8, 2**64 - 8)
    out = bytearray(blob)
    struct.pack_into("<II", out, head + 20, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<II", out, local(blob, DATA) + 18, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<H", out, head + 30, len(field))
    at = head + 46 + len(DATA)
    out[at:at] = field
    end = end_record(bytes(out))
    struct.pack_into("<I", out, end + 12, struct.unpack_from("<I", out, end + 12)[0] + len(field))
    return bytes(out)


def paths():
    a = in_group("Zip paths", ending=".pt")
    rule = "names are keys, never paths; and refused"
    for slug, entry, says in (("zip-path-traversal", "archive/../../etc/x", "is not a plain path"),
                              ("zip-absolute", "/etc/passwd", "is an absolute path"),
                              ("zip-backslash", "archive/a\\b", "holds a backslash"),
                              ("zip-drive", "C:/x", "names a drive")):
        yield a(slug, entry.replace("\\", "\\\\"), rule, "zip_structure", says,
                lambda entry=entry: archive(dictionary(w=tensor()), extra=[(entry, b"x")]))


def attacks():
    for group in (structure, bombs, paths):
        yield from group()
