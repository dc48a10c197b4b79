"""A stand-in for mlx.core over numpy: only what mlx/weightbridge_mla.py uses.

It exists so that the class's arithmetic runs where MLX's Python package cannot be
installed. Each function keeps MLX's documented semantics (argument order, dtype
promotion with weak Python scalars, f32 inside softmax and norms) and refuses what
MLX leaves undefined, such as an index out of range. What is not here raises
AttributeError, so that the class cannot lean on something nobody checked. It is no
witness for MLX's own kernels: tests/mlx_live runs those.
"""

import json
import math

import numpy as np


class Dtype:
    def __init__(self, name, numpy_type, rank, safetensors, size):
        self.name, self.numpy, self.rank = name, numpy_type, rank
        self.safetensors, self.size = safetensors, size

    def __repr__(self):
        return "mlx.core." + self.name


bool_ = Dtype("bool", np.bool_, 0, "BOOL", 1)
uint32 = Dtype("uint32", np.uint32, 1, "U32", 4)
int32 = Dtype("int32", np.int32, 2, "I32", 4)
int64 = Dtype("int64", np.int64, 3, "I64", 8)
float16 = Dtype("float16", np.float16, 4, "F16", 2)
# Held as f32 values that bfloat16 can hold; rounded after every operation.
bfloat16 = Dtype("bfloat16", np.float32, 4, "BF16", 2)
float32 = Dtype("float32", np.float32, 5, "F32", 4)
_DTYPES = [bool_, uint32, int32, int64, float16, bfloat16, float32]
_BY_NUMPY = {np.dtype(d.numpy): d for d in _DTYPES if d is not bfloat16}


def _is_floating(dtype):
    return dtype.rank >= 4


class finfo:
    def __init__(self, dtype):
        self.min = -3.3895314e38 if dtype is bfloat16 else float(np.finfo(dtype.numpy).min)


def _round_bfloat16(x):
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    rounded = bits.astype(np.uint32).view(np.float32).reshape(np.shape(x))
    return np.where(np.isfinite(x), rounded, x).astype(np.float32)


def _promote(a, b):
    if a is b:
        return a
    if {a, b} == {float16, bfloat16}:
        return float32
    return a if a.rank > b.rank else b


class array:
    def __init__(self, value, dtype=None):
        if isinstance(value, array):
            dtype, value = dtype or value.dtype, value.np
        value = np.asarray(value)
        if dtype is None:
            if value.dtype == np.float64:
                dtype = float32
            elif value.dtype == np.int64:
                dtype = int32
            else:
                dtype = _BY_NUMPY[value.dtype]
        value = value.astype(dtype.numpy)
        self.np = _round_bfloat16(value) if dtype is bfloat16 else value
        self.dtype = dtype

    shape = property(lambda self: self.np.shape)
    ndim = property(lambda self: self.np.ndim)
    size = property(lambda self: self.np.size)
    nbytes = property(lambda self: self.np.size * self.dtype.size)
    T = property(lambda self: array(self.np.T, self.dtype))

    def item(self):
        return self.np.item()

    def astype(self, dtype):
        return array(self.np, dtype)

    def reshape(self, *shape):
        return array(self.np.reshape(_flat(shape)), self.dtype)

    def transpose(self, *axes):
        return array(self.np.transpose(_flat(axes)), self.dtype)

    def swapaxes(self, a, b):
        return array(self.np.swapaxes(a, b), self.dtype)

    def squeeze(self, axis):
        return array(np.squeeze(self.np, axis), self.dtype)

    def flatten(self, start_axis=0, end_axis=-1):
        end = end_axis % self.ndim
        shape = self.shape[:start_axis] + (-1,) + self.shape[end + 1 :]
        return self.reshape(shape)

    def sum(self, axis=None, keepdims=False):
        wide = _wide(self)
        return array(wide.sum(axis=axis, keepdims=keepdims, dtype=wide.dtype), self.dtype)

    def max(self, axis=None, keepdims=False):
        return array(self.np.max(axis=axis, keepdims=keepdims), self.dtype)

    def __getitem__(self, key):
        return array(self.np[_key(key, self.shape)], self.dtype)

    def __add__(self, other):
        return _binary(np.add, self, other)

    def __sub__(self, other):
        return _binary(np.subtract, self, other)

    def __mul__(self, other):
        return _binary(np.multiply, self, other)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other):
        return _binary(lambda a, b: np.subtract(b, a), self, other)

    def __truediv__(self, other):
        if not _is_floating(self.dtype):
            raise TypeError("integer division is not part of this stand-in")
        return _binary(np.divide, self, other)

    def __pow__(self, other):
        return _binary(np.power, self, other)

    def __floordiv__(self, other):
        return _binary(np.floor_divide, self, other)

    def __neg__(self):
        return array(-self.np, self.dtype)

    def __ge__(self, other):
        return array(self.np >= _raw(other), bool_)

    def __le__(self, other):
        return array(self.np <= _raw(other), bool_)

    def __and__(self, other):
        return array(self.np & _raw(other), self.dtype)

    def __matmul__(self, other):
        dtype = _promote(self.dtype, other.dtype)
        return array(np.matmul(_wide(self), _wide(other)), dtype)

    def __bool__(self):
        return bool(self.np)

    def __len__(self):
        return len(self.np)


def _flat(values):
    return tuple(values[0]) if len(values) == 1 and isinstance(values[0], (tuple, list)) else values


def _raw(x):
    return x.np if isinstance(x, array) else x


def _wide(x):
    """Operands of sums and products: half precision accumulates in f32, as MLX does."""
    return x.np.astype(np.float32) if _is_floating(x.dtype) else x.np


def _key(key, shape):
    """Index keys with arrays inside; MLX does not check bounds, so the stand-in does."""
    keys = key if isinstance(key, tuple) else (key,)
    out = []
    for position, k in enumerate(keys):
        if isinstance(k, array):
            if k.size and position == 0 and (k.np.max() >= shape[0] or k.np.min() < -shape[0]):
                raise IndexError(f"index {k.np.max()} out of range for {shape[0]} rows")
            k = k.np
        out.append(k)
    return tuple(out)


def _binary(op, a, b):
    if isinstance(b, array):
        dtype, right = _promote(a.dtype, b.dtype), b.np
    else:  # a Python scalar is weak: it takes the array's dtype
        if not isinstance(b, (bool, int, float)):
            raise TypeError(f"operand of type {type(b)}")
        dtype = float32 if isinstance(b, float) and not _is_floating(a.dtype) else a.dtype
        right = dtype.numpy(b)
    return array(op(a.np.astype(dtype.numpy), np.asarray(right).astype(dtype.numpy)), dtype)


def _elementwise(op):
    def function(x):
        return array(op(_wide(x)), x.dtype)

    return function


exp, sqrt, tanh = _elementwise(np.exp), _elementwise(np.sqrt), _elementwise(np.tanh)
erf = _elementwise(np.vectorize(math.erf, otypes=[np.float32]))
# exp of a negative number alone: nothing overflows, and a score of 1e-4 keeps its digits.
sigmoid = _elementwise(lambda x: np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x))))


def zeros(shape, dtype=float32):
    return array(np.zeros(shape), dtype)


def ones(shape, dtype=float32):
    return array(np.ones(shape), dtype)


def arange(start, stop=None):
    return array(np.arange(start) if stop is None else np.arange(start, stop), int32)


def maximum(a, b):
    return _binary(np.maximum, a, b)


def clip(x, low, high):
    return _binary(np.minimum, _binary(np.maximum, x, low), high)


def mean(x, axis, keepdims=False):
    return array(_wide(x).mean(axis=axis, keepdims=keepdims, dtype=np.float32), x.dtype)


def where(condition, a, b):
    dtype = _promote(a.dtype, b.dtype)
    return array(np.where(condition.np, a.np, b.np), dtype)


def expand_dims(x, axis):
    return array(np.expand_dims(x.np, axis), x.dtype)


def broadcast_to(x, shape):
    return array(np.broadcast_to(x.np, shape), x.dtype)


def repeat(x, repeats, axis):
    return array(np.repeat(x.np, repeats, axis), x.dtype)


def concatenate(arrays, axis=0):
    dtype = arrays[0].dtype
    for a in arrays[1:]:
        dtype = _promote(dtype, a.dtype)
    return array(np.concatenate([a.np for a in arrays], axis), dtype)


def split(x, indices, axis):
    return [array(part, x.dtype) for part in np.split(x.np, indices, axis)]


def unflatten(x, axis, shape):
    axis = axis % x.ndim
    return x.reshape(x.shape[:axis] + tuple(shape) + x.shape[axis + 1 :])


def softmax(x, axis, precise=False):
    # Half precision without `precise` rounds inside; the class always asks for precise.
    if not precise:
        raise ValueError("softmax without precise=True is not part of this stand-in")
    wide = _wide(x)
    shifted = np.exp(wide - wide.max(axis=axis, keepdims=True))
    return array(shifted / shifted.sum(axis=axis, keepdims=True), x.dtype)


def argsort(x):
    return array(np.argsort(x.np, axis=-1, kind="stable"), uint32)


def argpartition(x, kth, axis=-1):
    return array(np.argpartition(x.np, kth, axis=axis), uint32)


def topk(x, k, axis=-1):
    """The k largest, in no order."""
    return array(np.partition(x.np, x.shape[axis] - k, axis=axis)[..., -k:], x.dtype)


def take_along_axis(x, indices, axis):
    return array(np.take_along_axis(x.np, indices.np.astype(np.int64), axis), x.dtype)


def put_along_axis(x, indices, values, axis):
    """Indices broadcast against x on every other axis."""
    shape = list(x.shape)
    shape[axis] = indices.shape[axis]
    where_to = np.broadcast_to(indices.np.astype(np.int64), shape)
    out = x.np.copy()
    np.put_along_axis(out, where_to, values.np.astype(x.dtype.numpy), axis)
    return array(out, x.dtype)


def stop_gradient(x):
    return x


def gather_mm(a, b, lhs_indices=None, rhs_indices=None, sorted_indices=False):
    """a [..., M, K] with b[rhs_indices] [..., K, N]; a's leading axes broadcast with the indices."""
    if lhs_indices is not None:
        raise ValueError("lhs_indices is not part of this stand-in")
    if sorted_indices and np.any(np.diff(rhs_indices.np.astype(np.int64)) < 0):
        raise ValueError("sorted_indices was promised, the indices are not sorted")
    lead = np.broadcast_shapes(a.shape[:-2], rhs_indices.shape)
    left = np.broadcast_to(_wide(a), lead + a.shape[-2:])
    which = np.broadcast_to(rhs_indices.np, lead)
    out = np.empty(lead + (a.shape[-2], b.shape[-1]), np.float32)
    for e in np.unique(which):  # expert by expert: a gathered copy of b would be large
        out[which == e] = left[which == e] @ _wide(b)[e]
    return array(out, _promote(a.dtype, b.dtype))


# Quantisation, affine mode only.


def quantize(w, group_size=64, bits=4, mode="affine"):
    if mode != "affine" or w.shape[-1] % group_size:
        raise ValueError(f"quantize: mode {mode}, last axis {w.shape[-1]}, group {group_size}")
    n = np.float32(2**bits - 1)
    groups = _wide(w).reshape(*w.shape[:-1], -1, group_size)
    high, low = groups.max(-1, keepdims=True), groups.min(-1, keepdims=True)
    negative = np.abs(low) > np.abs(high)
    scale = np.maximum((high - low) / n, np.float32(1e-7))
    scale = np.where(negative, scale, -scale)
    edge = np.where(negative, low, high)
    q0 = np.rint(edge / scale)
    scale = np.where(q0 != 0, edge / np.where(q0 != 0, q0, 1), scale)
    bias = np.where(q0 != 0, edge, np.float32(0))
    codes = np.clip(np.rint((groups - bias) / scale), 0, n).astype(np.uint8)
    stream = np.unpackbits(codes[..., None], axis=-1, bitorder="little")[..., :bits]
    packed = np.packbits(stream.reshape(*w.shape[:-1], -1), axis=-1, bitorder="little")
    words = np.ascontiguousarray(packed).view("<u4")
    return array(words, uint32), array(scale[..., 0], w.dtype), array(bias[..., 0], w.dtype)


def dequantize(w, scales, biases=None, group_size=64, bits=4, mode="affine"):
    if mode != "affine" or biases is None:
        raise ValueError("dequantize: this stand-in knows the affine mode only")
    stream = np.unpackbits(
        np.ascontiguousarray(w.np).view(np.uint8), axis=-1, bitorder="little"
    ).reshape(*w.shape[:-1], -1, bits)
    codes = (stream * (1 << np.arange(bits))).sum(-1).reshape(*scales.shape, group_size)
    out = array(codes.astype(np.float32), scales.dtype) * expand_dims(scales, -1)
    out = out + expand_dims(biases, -1)
    return out.reshape(*w.shape[:-1], -1)


def quantized_matmul(
    x, w, scales, biases=None, transpose=True, group_size=64, bits=4, mode="affine"
):
    plain = dequantize(w, scales, biases, group_size, bits, mode)
    return x @ (plain.swapaxes(-1, -2) if transpose else plain)


def gather_qmm(
    x, w, scales, biases=None, lhs_indices=None, rhs_indices=None, transpose=True,
    group_size=64, bits=4, mode="affine", sorted_indices=False,
):  # fmt: skip
    plain = dequantize(w, scales, biases, group_size, bits, mode)
    plain = plain.swapaxes(-1, -2) if transpose else plain
    return gather_mm(x, plain, lhs_indices, rhs_indices, sorted_indices)


def eval(*_):
    pass


# Files.


def load(path):
    """A safetensors file as {name: array}."""
    by_name = {d.safetensors: d for d in _DTYPES}
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        data = f.read()
    out = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype = by_name[entry["dtype"]]
        raw = data[slice(*entry["data_offsets"])]
        if dtype is bfloat16:
            value = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            value = np.frombuffer(raw, np.dtype(dtype.numpy).newbyteorder("<"))
        out[name] = array(value.reshape(entry["shape"]), dtype)
    return out


class fast:
    """Names as in mlx.core.fast; each computes in f32 and rounds once, as the kernels do."""

    @staticmethod
    def rms_norm(x, weight, eps):
        wide = _wide(x)
        y = wide / np.sqrt((wide * wide).mean(-1, keepdims=True) + np.float32(eps))
        return array(y, x.dtype) * weight

    @staticmethod
    def layer_norm(x, weight, bias, eps):
        wide = _wide(x)
        centred = wide - wide.mean(-1, keepdims=True)
        y = centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(eps))
        y = array(y, x.dtype) * weight
        return y if bias is None else y + bias

    @staticmethod
    def rope(a, dims, *, traditional, base, scale, offset, freqs=None):
        """a [B, heads, T, D]; position t of row b is offset[b] + t; freqs are periods."""
        if (base is None) == (freqs is None):
            raise ValueError("[rope] exactly one of base and freqs")
        if dims <= 0 or dims % 2 or dims > a.shape[-1] or a.ndim != 4:
            raise ValueError(f"[rope] dims {dims} of input {a.shape}")
        half = dims // 2
        if freqs is None:
            step = np.float32(-math.log(base) / half)
            inverse = np.exp(np.arange(half, dtype=np.float32) * step)
        else:
            if freqs.shape != (half,):
                raise ValueError(f"[rope] {freqs.shape} freqs for {half} pairs")
            inverse = 1 / freqs.np.astype(np.float32)
        first = _raw(offset)
        first = np.reshape(first, (-1, 1, 1))  # [B or 1, 1 head, 1 token]
        position = (first + np.arange(a.shape[2])).astype(np.float32) * np.float32(scale)
        angle = position[..., None] * inverse
        cos, sin = np.cos(angle), np.sin(angle)
        x = _wide(a)
        out = x.copy()
        if traditional:
            one, two = slice(0, dims, 2), slice(1, dims, 2)
        else:
            one, two = slice(0, half), slice(half, dims)
        out[..., one] = x[..., one] * cos - x[..., two] * sin
        out[..., two] = x[..., one] * sin + x[..., two] * cos
        return array(out, a.dtype)

    @staticmethod
    def scaled_dot_product_attention(q, k, v, *, scale, mask=None, sinks=None):
        """q [B, H, L, D]; k, v [B, KV, T, .]; query head h reads key head h // (H / KV)."""
        if sinks is not None or q.shape[1] % k.shape[1] or k.shape[:3] != v.shape[:3]:
            raise ValueError(f"attention of {q.shape}, {k.shape}, {v.shape}")
        repeats = q.shape[1] // k.shape[1]
        keys, values = (np.repeat(_wide(t), repeats, axis=1) for t in (k, v))
        scores = np.float32(scale) * _wide(q) @ keys.swapaxes(-1, -2)
        L, T = scores.shape[-2:]
        if isinstance(mask, str):
            if mask != "causal":
                raise ValueError(mask)
            mask = array(np.arange(T)[None] <= np.arange(T - L, T)[:, None])
        if mask is not None and mask.dtype is bool_:
            scores = np.where(mask.np, scores, np.float32(finfo(q.dtype).min))
        elif mask is not None:
            if _promote(mask.dtype, q.dtype) is not q.dtype:
                raise ValueError("the mask's dtype must promote to the output's")
            scores = scores + _wide(mask)
        return array(softmax(array(scores), -1, precise=True).np @ values, q.dtype)
