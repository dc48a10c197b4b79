"""A stand-in for mlx_lm.models.base: what the exact class imports from it."""

import inspect

import mlx.core as mx


class BaseModelArgs:
    @classmethod
    def from_dict(cls, params):
        known = inspect.signature(cls).parameters
        return cls(**{key: value for key, value in params.items() if key in known})


def create_causal_mask(N, offset=0, left_padding=None):
    columns = mx.arange(offset + N)
    mask = mx.expand_dims(mx.arange(offset, offset + N), -1) >= columns
    if left_padding is not None:
        mask = mask & (mx.expand_dims(left_padding, (1, 2, 3)) <= columns)
    return mask


def create_attention_mask(h, cache=None):
    """None for one token, "causal", or an array where the cache says so."""
    if cache is not None:
        return cache.make_mask(h.shape[1])
    return None if h.shape[1] == 1 else "causal"


def scaled_dot_product_attention(queries, keys, values, cache, scale, mask):
    if hasattr(cache, "bits"):
        raise ValueError("the exact class never passes a quantised cache here")
    return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
