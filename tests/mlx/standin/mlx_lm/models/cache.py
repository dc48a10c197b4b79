"""A stand-in for mlx_lm.models.cache: the caches that generation hands to a model."""

import mlx.core as mx
from mlx_lm.models.base import create_causal_mask


class KVCache:
    """Keys and values [batch, heads, tokens, width]; both with the keys' head count."""

    def __init__(self):
        self.keys = self.values = None
        self.offset = 0

    def update_and_fetch(self, keys, values):
        if keys.shape[:3] != values.shape[:3]:
            raise ValueError(f"keys {keys.shape} and values {values.shape} differ in heads")
        if self.keys is not None:
            keys = mx.concatenate([self.keys[..., : self.offset, :], keys], axis=2)
            values = mx.concatenate([self.values[..., : self.offset, :], values], axis=2)
        self.keys, self.values = keys, values
        self.offset = keys.shape[2]
        return keys, values

    def trim(self, n):
        n = min(self.offset, n)
        self.offset -= n
        return n

    def make_mask(self, N):
        return None if N == 1 else "causal"

    def to_quantized(self, group_size=64, bits=4):
        cache = QuantizedKVCache(group_size, bits)
        if self.keys is not None:
            cache.update_and_fetch(
                self.keys[..., : self.offset, :], self.values[..., : self.offset, :]
            )
        return cache


class QuantizedKVCache(KVCache):
    """Hands out (weight, scales, biases) triples instead of arrays."""

    def __init__(self, group_size, bits):
        super().__init__()
        self.group_size, self.bits = group_size, bits

    def update_and_fetch(self, keys, values):
        new = [mx.quantize(t, group_size=self.group_size, bits=self.bits) for t in (keys, values)]
        if self.keys is not None:
            old = (self.keys, self.values)
            new = [
                tuple(mx.concatenate([a, b], axis=2) for a, b in zip(*pair))
                for pair in zip(old, new)
            ]
        self.keys, self.values = new
        self.offset += keys.shape[2]
        return self.keys, self.values


class BatchKVCache(KVCache):
    """Rows padded on the left: one position per row, negative within the padding."""

    def __init__(self, left_padding):
        super().__init__()
        self.left_padding = mx.array(left_padding)
        self.offset = mx.array([-n for n in left_padding])
        self.length = 0

    def update_and_fetch(self, keys, values):
        if self.keys is not None:
            keys = mx.concatenate([self.keys, keys], axis=2)
            values = mx.concatenate([self.values, values], axis=2)
        self.offset = self.offset + (keys.shape[2] - self.length)
        self.keys, self.values, self.length = keys, values, keys.shape[2]
        return keys, values

    def make_mask(self, N):
        return create_causal_mask(N, self.length, left_padding=self.left_padding)
