"""Tensors of a pickle: storages that lie about their size, and geometry."""
from attacks.attack import in_group
from attacks.forge import archive, dictionary, integer, state_dict, storage, tensor, tup


def storages():
    a = in_group("Storages", ending=".pt")
    size, same = "a record is exactly numel * item size", "one key, one class and one count"
    yield a("record-too-short", "12 bytes for 4 floats", size, "pickle_storage", "found 12",
            lambda: archive(dictionary(w=tensor()), {"0": bytes(12)}))
    yield a("record-too-long", "20 bytes for 4 floats", size, "pickle_storage", "found 20",
            lambda: archive(dictionary(w=tensor()), {"0": bytes(20)}))
    yield a("one-key-two-sizes", "one key with two counts", same, "pickle_storage", "found 2 elements of torch.Float",
            lambda: archive(dictionary(a=tensor(), b=tensor((2,), store=storage(2)))))
    yield a("one-key-two-types", "one key with two classes", same, "pickle_storage", "found 4 elements of torch.IntStorage",
            lambda: archive(dictionary(a=tensor(), b=tensor(store=storage(cls="IntStorage")))))


def geometry():
    a = in_group("Geometry", ending=".pt")
    bad = lambda slug, lie, rule, says, code="pickle_tensor", **t: a(slug, lie, rule, code, says,
                                                                    lambda: state_dict(tensor(**t)))
    size, wrap = "sizes are integers from 0 to 2^63 - 1", "products and sums are checked"
    yield bad("negative-size", "size -4", size, "its size is negative", size=(-4,))
    yield bad("negative-stride", "stride -1", size, "its stride is negative", stride=(-1,))
    yield bad("negative-offset", "offset -1", size, "its storage offset is negative", offset=-1)
    yield bad("bool-size", "True for a size", size, "its size is no size", size=tup(b"\x88"))
    yield bad("float-stride", "0.5 for a stride", size, "its stride is no size", stride=tup(b"G\x3f\xe0" + bytes(6)))
    yield bad("long-offset", "2^80 for an offset", size, "its storage offset is no size", offset=integer(2**80))
    yield bad("size-no-tuple", "a number for the size", size, "its size is no tuple", size=integer(4))
    yield bad("rank-mismatch", "one size, two strides", "as many strides as sizes", "differ in rank", stride=(1, 1))
    yield bad("rank-65", "65 dimensions", "at most 64 dimensions", "too many dimensions", size=(1,) * 65,
              stride=(1,) * 65)
    yield bad("product-overflow", "2^32 * 2^32 elements", wrap, "4294967296 * 4294967296", "size_overflow",
              size=(2**32, 2**32), stride=(0, 0))
    yield bad("reach-overflow", "an address beyond 2^63", wrap, "a tensor's reach does not fit", "size_overflow",
              size=(2**32, 4), stride=(2**32, 1))
    yield bad("out-of-storage", "5 elements of 4", "the last element lies in the storage", "reaches beyond its storage",
              size=(5,))
    yield bad("expand-amplification", "2^50 elements from one, by stride 0", "`--limit total-bytes`, before memory is taken",
              "would unfold to too many bytes", "limit_exceeded", size=(2**50,), stride=(0,))
    yield bad("expand-squared", "2^40 * 2^40 elements, by stride 0", wrap, "1099511627776 * 1099511627776",
              "size_overflow", size=(2**40, 2**40), stride=(0, 0))


def attacks():
    yield from storages()
    yield from geometry()
