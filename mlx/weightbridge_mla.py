"""The exact class for mlx-lm: multi-head latent attention as a checkpoint has it.

mlx-lm loads this file through the config key "model_file" (trust_remote_code), by
path and as one module, so imports are absolute. Every switch comes from config.json;
docs/exact-class.md describes the keys, the weights and the forward pass. The class
owns the arithmetic and nothing else; a key that is missing, or a value that it cannot
compute, is refused by name.

What the cache holds per token and layer: the key-value latent (as mlx-lm's "keys")
and the rotated rope keys of all rope heads side by side (as its "values"), in one
head each, so that mlx-lm's own caches trim, save, batch and quantise them. (With
k_head_norm, a norm over content and position together, rope keys wait unrotated.)
"""

import math
from dataclasses import dataclass, fields
from typing import Any, List, Optional

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.base import (
    BaseModelArgs,
    create_attention_mask,
    scaled_dot_product_attention,
)
from mlx_lm.models.cache import KVCache
from mlx_lm.models.switch_layers import SwitchGLU, SwitchLinear

NORM_KINDS = ("none", "rms", "layer")
ACTIVATIONS = ("silu", "gelu_erf", "gelu_tanh", "relu", "silu_clipped")
ENUMERATIONS = {
    "positions": ("none", "learned"),
    "norm_kind": NORM_KINDS,
    "final_norm_kind": NORM_KINDS,
    "q_norm_kind": NORM_KINDS,
    "kv_norm_kind": NORM_KINDS,
    "q_head_norm_kind": NORM_KINDS,
    "k_head_norm_kind": NORM_KINDS,
    "rope_layout": ("half_split", "interleaved"),
    "rope_span": ("head", "all_heads"),
    "rope_scaling": ("none", "linear", "yarn", "longrope"),
    "head_norm_part": ("whole", "content"),
    "rope_keys": ("shared", "per_head"),
    "rope_key_from": ("input", "raw_latent", "normed_latent"),
    "dense_activation": ACTIVATIONS,
    "routed_activation": ACTIVATIONS,
    "shared_activation": ACTIVATIONS,
    "router_score": ("softmax_of_chosen", "softmax", "sigmoid"),
    "router_expert_bias": ("none", "logits", "selection", "scores"),
    "router_group_score": ("max", "top2_sum"),
    "router_group_mask": ("zero", "negative_infinity"),
}


@dataclass
class ModelArgs(BaseModelArgs):
    """config.json, flat: every key is required, none has a silent default."""

    model_type: str
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    max_position_embeddings: int
    positions: str
    tie_word_embeddings: bool
    head_bias: bool
    norm_kind: str
    norm_eps: float
    norm_eps_outside_root: bool
    norm_bias: bool
    own_final_norm: bool
    final_norm_kind: str
    final_norm_eps: float
    final_norm_eps_outside_root: bool
    final_norm_bias: bool
    rope_layout: str
    rope_base: float
    rope_span: str
    rope_inv_freq: List[float]
    rope_scaling: str
    rope_factor: float
    rope_original_max_position_embeddings: int
    rope_beta_fast: float
    rope_beta_slow: float
    rope_mscale: float
    rope_mscale_all_dim: float
    rope_long_factor: List[float]
    num_attention_heads: int
    num_key_value_heads: int
    q_lora_rank: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    q_norm_kind: str
    q_norm_eps: float
    q_norm_eps_outside_root: bool
    q_norm_bias: bool
    kv_norm_kind: str
    kv_norm_eps: float
    kv_norm_eps_outside_root: bool
    kv_norm_bias: bool
    q_head_norm_kind: str
    q_head_norm_eps: float
    q_head_norm_eps_outside_root: bool
    q_head_norm_bias: bool
    k_head_norm_kind: str
    k_head_norm_eps: float
    k_head_norm_eps_outside_root: bool
    k_head_norm_bias: bool
    head_norm_part: str
    rope_keys: str
    rope_key_from: str
    kv_latent_factor: float
    rope_key_factor: float
    softmax_scale: float
    softmax_scale_rope: float
    value_is_key_content: bool
    q_down_bias: bool
    q_bias: bool
    kv_down_bias: bool
    k_rope_bias: bool
    kv_up_bias: bool
    o_bias: bool
    dense_activation: str
    dense_gated: bool
    intermediate_size: int
    dense_bias: bool
    n_routed_experts: int
    routed_activation: str
    routed_gated: bool
    moe_intermediate_size: int
    routed_bias: bool
    shared_activation: str
    shared_gated: bool
    shared_intermediate_size: int
    shared_bias: bool
    shared_scale: float
    first_k_dense_replace: int
    moe_layer_freq: int
    moe_layer_offset: int
    router_score: str
    router_bias: bool
    router_expert_bias: str
    num_experts_per_tok: int
    router_logit_clamp: List[float]
    router_weight_clamp: List[float]
    norm_topk_prob: bool
    router_norm_eps: float
    router_norm_min: float
    routed_scaling_factor: float
    n_group: int
    topk_group: int
    router_group_score: str
    router_group_mask: str

    @classmethod
    def from_dict(cls, params):
        missing = [f.name for f in fields(cls) if f.name not in params]
        if missing:
            raise ValueError(
                "config.json lacks " + ", ".join(f'"{key}"' for key in missing) + ". "
                "Restore it as weightbridge wrote it, or convert the checkpoint again."
            )
        return super().from_dict(params)

    def __post_init__(self):
        for key, allowed in ENUMERATIONS.items():
            value = getattr(self, key)
            if value not in allowed:
                self._refuse(key, f"is {value!r}; this class computes {', '.join(allowed)}")
        for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"):
            if getattr(self, key) < 1:
                self._refuse(key, f"is {getattr(self, key)}; it must be at least 1")
        if self.norm_kind == "none" and self.norm_bias:
            self._refuse("norm_bias", 'is true, but "norm_kind" is "none"')
        if self.moe_layer_offset >= self.moe_layer_freq:
            self._refuse(
                "moe_layer_offset",
                f'is {self.moe_layer_offset}; "moe_layer_freq" is {self.moe_layer_freq}',
            )
        if not all(self.is_moe(layer) for layer in range(self.num_hidden_layers)):
            if self.intermediate_size < 1:
                self._refuse("intermediate_size", "is 0, but some layers are dense")
        self._check_attention()
        self._check_rope()
        if self.positions == "learned" and self.max_position_embeddings < 1:
            self._refuse("max_position_embeddings", 'is 0, but "positions" is "learned"')
        if any(self.is_moe(layer) for layer in range(self.num_hidden_layers)):
            self._check_experts()

    def _check_attention(self):
        if self.num_attention_heads % self.kv_heads:
            self._refuse(
                "num_key_value_heads",
                f"is {self.kv_heads}, which does not divide "
                f'"num_attention_heads" = {self.num_attention_heads}',
            )
        if self.qk_nope_head_dim + self.qk_rope_head_dim < 1 or self.v_head_dim < 1:
            self._refuse("v_head_dim", "and the query and key widths must not all be 0")
        if self.value_is_key_content and self.v_head_dim != self.qk_nope_head_dim:
            self._refuse(
                "value_is_key_content",
                f'is true, but "v_head_dim" = {self.v_head_dim} and '
                f'"qk_nope_head_dim" = {self.qk_nope_head_dim} differ',
            )
        if self.head_norm_part == "content" and self.qk_nope_head_dim == 0:
            self._refuse("head_norm_part", 'is "content", but "qk_nope_head_dim" is 0')
        if self.kv_lora_rank == 0 and self.rope_key_from != "input":
            self._refuse("rope_key_from", f'is {self.rope_key_from!r}, but "kv_lora_rank" is 0')

    def _check_rope(self):
        width = self.qk_rope_head_dim
        if width % 2:
            self._refuse("qk_rope_head_dim", f"is {width}; rotary pairs need an even width")
        if width and self.rope_scaling == "longrope" and len(self.rope_long_factor) != width // 2:
            self._refuse(
                "rope_long_factor",
                f'has {len(self.rope_long_factor)} numbers; "qk_rope_head_dim" = {width} '
                f"needs {width // 2}",
            )
        self._check_table(width // 2)
        if self.rope_scaling in ("yarn", "longrope"):
            if self.rope_original_max_position_embeddings < 1:
                self._refuse(
                    "rope_original_max_position_embeddings",
                    f'is 0, but "rope_scaling" is {self.rope_scaling!r}',
                )

    def _check_table(self, pairs):
        """One frequency for each pair, or for each pair of each head."""
        length, heads = len(self.rope_inv_freq), self.num_attention_heads
        if length == 0 or (length == pairs and (self.rope_span == "head" or heads == 1)):
            return
        if length != heads * pairs:
            self._refuse(
                "rope_inv_freq",
                f"has {length} numbers; {heads} heads of {pairs} pairs need {heads * pairs}",
            )
        if self.rope_heads != heads:
            self._refuse("rope_inv_freq", 'has frequencies for each head, but "rope_keys" has not')

    def _check_experts(self):
        if not 1 <= self.num_experts_per_tok <= self.n_routed_experts:
            self._refuse(
                "num_experts_per_tok",
                f'is {self.num_experts_per_tok}; "n_routed_experts" is {self.n_routed_experts}',
            )
        if self.n_group < 1 or self.n_routed_experts % self.n_group:
            self._refuse(
                "n_group", f'is {self.n_group}; "n_routed_experts" is {self.n_routed_experts}'
            )
        if not 1 <= self.topk_group <= self.n_group:
            self._refuse("topk_group", f'is {self.topk_group}; "n_group" is {self.n_group}')
        per_group = self.n_routed_experts // self.n_group
        if self.num_experts_per_tok > self.topk_group * per_group:
            self._refuse(
                "num_experts_per_tok",
                f"is {self.num_experts_per_tok}, more than the experts of the chosen groups",
            )
        for key in ("router_logit_clamp", "router_weight_clamp"):
            if len(getattr(self, key)) not in (0, 2):
                self._refuse(key, "is neither empty nor [least, largest]")

    def _refuse(self, key, why):
        raise ValueError(f'config.json: "{key}" {why}.')

    @property
    def kv_heads(self):
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def rope_heads(self):
        """How many rope keys there are."""
        return self.kv_heads if self.rope_keys == "per_head" else 1

    @property
    def scale_nope(self):
        return self.softmax_scale or (self.qk_nope_head_dim + self.qk_rope_head_dim) ** -0.5

    @property
    def scale_rope(self):
        return self.softmax_scale_rope or self.scale_nope

    def is_moe(self, layer):
        return (
            self.n_routed_experts > 0
            and layer >= self.first_k_dense_replace
            and layer % self.moe_layer_freq == self.moe_layer_offset
        )


class Norm(nn.Module):
    """RMS norm or LayerNorm with the epsilon inside or outside the root."""

    def __init__(self, args: ModelArgs, prefix: str, dims: int):
        super().__init__()
        self.kind = getattr(args, prefix + "_kind")
        self.eps = getattr(args, prefix + "_eps")
        self.outside = getattr(args, prefix + "_eps_outside_root")
        self.weight = mx.ones((dims,))
        if getattr(args, prefix + "_bias"):
            self.bias = mx.zeros((dims,))

    def __call__(self, x):
        bias = self["bias"] if "bias" in self else None
        if not self.outside and self.kind == "layer":
            return mx.fast.layer_norm(x, self.weight, bias, self.eps)
        if not self.outside:
            y = mx.fast.rms_norm(x, self.weight, self.eps)
            return y if bias is None else y + bias
        # No fused kernel adds epsilon to the root itself; in f32, as those work inside.
        t = x.astype(mx.float32)
        if self.kind == "layer":
            t = t - mx.mean(t, axis=-1, keepdims=True)
        root = mx.sqrt(mx.mean(t * t, axis=-1, keepdims=True))
        y = self.weight * (t / (root + self.eps)).astype(x.dtype)
        return y if bias is None else y + bias


class Rope:
    """Rotary positions of `heads` heads. Not a Module: it has no parameters to load.

    Heads with frequencies of their own are rotated side by side, as one vector: what the
    kernel takes is one list of periods. Half-split pairs are brought together for that,
    unless the rotation itself spans all heads and pairs them across.
    """

    def __init__(self, args: ModelArgs, heads: int):
        spans = args.rope_span == "all_heads" and heads > 1
        table = len(args.rope_inv_freq) > args.qk_rope_head_dim // 2 and not spans
        self.as_one = spans or table
        self.dims = args.qk_rope_head_dim * (heads if self.as_one else 1)
        self.reorder = table and args.rope_layout == "half_split"
        self.traditional = self.reorder or args.rope_layout == "interleaved"
        self.base = args.rope_base
        self.scale = 1.0
        self.magnitude = 1.0
        self.periods = None  # radians^-1 per pair; None = base^(2i / dims)
        if args.rope_inv_freq:
            self.periods = mx.array([1.0 / f if f else math.inf for f in args.rope_inv_freq])
        elif args.rope_scaling == "linear":
            self.scale = 1.0 / args.rope_factor
        elif args.rope_scaling == "yarn":
            self._yarn(args)
        elif args.rope_scaling == "longrope":
            self._longrope(args)

    def _plain_periods(self):
        return [self.base ** (2 * i / self.dims) for i in range(self.dims // 2)]

    def _yarn(self, args):
        """Fast pairs keep their period, slow ones are stretched by the factor, a ramp between."""

        def pair_with(rotations):
            length = args.rope_original_max_position_embeddings
            return (
                self.dims
                * math.log(length / (rotations * 2 * math.pi))
                / (2 * math.log(self.base))
            )

        def magnitude(factor):
            stretched = args.rope_factor > 1
            return 0.1 * factor * math.log(args.rope_factor) + 1.0 if stretched else 1.0

        low = max(math.floor(pair_with(args.rope_beta_fast)), 0)
        high = min(math.ceil(pair_with(args.rope_beta_slow)), self.dims - 1)
        width = (high - low) or 0.001
        periods = []
        for i, period in enumerate(self._plain_periods()):
            stretch = min(max((i - low) / width, 0.0), 1.0)
            periods.append(1.0 / ((1 - stretch) / period + stretch / (args.rope_factor * period)))
        self.periods = mx.array(periods)
        self.magnitude = magnitude(args.rope_mscale) / magnitude(args.rope_mscale_all_dim)

    def _longrope(self, args):
        pairs = zip(args.rope_long_factor, self._plain_periods())
        self.periods = mx.array([factor * period for factor, period in pairs])
        original = args.rope_original_max_position_embeddings
        stretch = args.max_position_embeddings / original
        if stretch > 1:
            self.magnitude = math.sqrt(1 + math.log(stretch) / math.log(original))

    def __call__(self, x, offset):
        """x: [batch, heads, tokens, dims]; offset: the first token's position, or one per row."""
        if not self.as_one:
            return self._rotate(x, offset)
        B, heads, L, dims = x.shape
        if self.reorder:
            x = x.reshape(B, heads, L, 2, dims // 2).swapaxes(-1, -2).reshape(B, heads, L, dims)
        x = self._rotate(x.transpose(0, 2, 1, 3).reshape(B, 1, L, heads * dims), offset)
        x = x.reshape(B, L, heads, dims).transpose(0, 2, 1, 3)
        if self.reorder:
            x = x.reshape(B, heads, L, dims // 2, 2).swapaxes(-1, -2).reshape(B, heads, L, dims)
        return x

    def _rotate(self, x, offset):
        if self.magnitude != 1.0:
            x = x * self.magnitude
        return mx.fast.rope(
            x,
            self.dims,
            traditional=self.traditional,
            base=self.base if self.periods is None else None,
            scale=self.scale,
            offset=offset,
            freqs=self.periods,
        )


class HeadLinear(nn.Module):
    """One matrix per head, [heads, out, in]: usable in both directions."""

    def __init__(self, input_dims: int, output_dims: int, heads: int, bias: bool):
        super().__init__()
        self.weight = mx.zeros((heads, output_dims, input_dims))
        if bias:
            self.bias = mx.zeros((heads, output_dims))

    def _multiply(self, x, transpose):
        return x @ (self.weight.swapaxes(-1, -2) if transpose else self.weight)

    def __call__(self, x):
        """[batch, heads or 1, rows, in] -> [batch, heads, rows, out]"""
        y = self._multiply(x, True)
        return y + mx.expand_dims(self["bias"], -2) if "bias" in self else y

    def backward(self, x):
        """[batch, heads, rows, out] -> [batch, heads, rows, in], the matrix from its other side"""
        return self._multiply(x, False)

    def to_quantized(self, group_size: int = 64, bits: int = 4, mode: str = "affine"):
        return QuantizedHeadLinear(self, group_size, bits, mode)


class QuantizedHeadLinear(HeadLinear):
    def __init__(self, plain: HeadLinear, group_size: int, bits: int, mode: str):
        nn.Module.__init__(self)
        self.group_size = group_size
        self.bits = bits
        self.mode = mode
        self.weight, self.scales, *biases = mx.quantize(
            plain.weight, group_size, bits, mode=mode
        )
        if biases:
            self.biases = biases[0]
        if "bias" in plain:
            self.bias = plain.bias
        self.freeze()

    def _multiply(self, x, transpose):
        return mx.quantized_matmul(
            x,
            self["weight"],
            scales=self["scales"],
            biases=self.get("biases"),
            transpose=transpose,
            group_size=self.group_size,
            bits=self.bits,
            mode=self.mode,
        )


class Attention(nn.Module):
    def __init__(self, args: ModelArgs):
        super().__init__()
        self.args = args
        hidden, heads = args.hidden_size, args.num_attention_heads
        nope, rope, value = args.qk_nope_head_dim, args.qk_rope_head_dim, args.v_head_dim
        q_in = args.q_lora_rank or hidden
        kv_in = args.kv_lora_rank or hidden
        if args.q_lora_rank:
            self.q_a_proj = nn.Linear(hidden, args.q_lora_rank, bias=args.q_down_bias)
            if args.q_norm_kind != "none":
                self.q_a_layernorm = Norm(args, "q_norm", args.q_lora_rank)
        if nope:
            self.q_nope_proj = nn.Linear(q_in, heads * nope, bias=args.q_bias)
            self.k_b_proj = HeadLinear(kv_in, nope, args.kv_heads, bias=args.kv_up_bias)
        if args.kv_lora_rank:
            self.kv_a_proj = nn.Linear(hidden, kv_in, bias=args.kv_down_bias)
            if args.kv_norm_kind != "none":
                self.kv_a_layernorm = Norm(args, "kv_norm", kv_in)
        if rope:
            k_rope_in = hidden if args.rope_key_from == "input" else kv_in
            self.q_rope_proj = nn.Linear(q_in, heads * rope, bias=args.q_bias)
            self.k_rope_proj = nn.Linear(k_rope_in, args.rope_heads * rope, bias=args.k_rope_bias)
            self.q_rope, self.k_rope = Rope(args, heads), Rope(args, args.rope_heads)
        if not args.value_is_key_content:
            self.v_b_proj = HeadLinear(kv_in, value, args.kv_heads, bias=args.kv_up_bias)
        normed = nope if args.head_norm_part == "content" else nope + rope
        if args.q_head_norm_kind != "none":
            self.q_head_norm = Norm(args, "q_head_norm", normed)
        if args.k_head_norm_kind != "none":
            self.k_head_norm = Norm(args, "k_head_norm", normed)
        self.o_proj = nn.Linear(heads * value, hidden, bias=args.o_bias)

    def __call__(self, x, mask=None, cache: Optional[Any] = None):
        """x: [batch, tokens, hidden], normed; mask: None, "causal" or a boolean array."""
        # Taken before the cache moves on; a batched cache has one position per row.
        offset = cache.offset if cache is not None else 0
        q_nope, q_rope = self._queries(x, offset)
        latent, k_rope = self._latent_and_rope_keys(x, offset)
        latent, k_rope = self._through_cache(latent, k_rope, cache)
        # For one token it is cheaper to bring the query into the latent space than the
        # whole context out of it. A norm on the expanded keys forbids that.
        if x.shape[1] == 1 and q_nope is not None and "k_head_norm" not in self:
            out = self._absorbed(q_nope, q_rope, latent, k_rope, mask)
        else:
            first = offset + x.shape[1] - latent.shape[2]  # the oldest key's position
            out = self._expanded(q_nope, q_rope, latent, k_rope, mask, first)
        B, _, L, _ = out.shape
        return self.o_proj(out.transpose(0, 2, 1, 3).reshape(B, L, -1))

    def _heads(self, x, heads):
        B, L, width = x.shape
        return x.reshape(B, L, heads, width // heads).transpose(0, 2, 1, 3)

    def _queries(self, x, offset):
        if "q_a_proj" in self:
            x = self.q_a_proj(x)
            if "q_a_layernorm" in self:
                x = self.q_a_layernorm(x)
        heads = self.args.num_attention_heads
        q_nope = q_rope = None
        if "q_nope_proj" in self:
            q_nope = self._heads(self.q_nope_proj(x), heads)
        if "q_rope_proj" in self:
            q_rope = self._heads(self.q_rope_proj(x), heads)
        if "q_head_norm" in self:
            q_nope, q_rope = self._head_norm(self.q_head_norm, q_nope, q_rope)
        return q_nope, q_rope if q_rope is None else self.q_rope(q_rope, offset)

    def _head_norm(self, norm, content, position):
        """One norm over both parts of a head, [content; position], or over the content alone;
        before the rotation."""
        if self.args.head_norm_part == "content":
            return norm(content), position
        if content is None or position is None:
            only = norm(position if content is None else content)
            return (None, only) if content is None else (only, None)
        return mx.split(
            norm(mx.concatenate([content, position], axis=-1)), [content.shape[-1]], axis=-1
        )

    def _latent_and_rope_keys(self, x, offset):
        raw = self.kv_a_proj(x) if "kv_a_proj" in self else x
        latent = self.kv_a_layernorm(raw) if "kv_a_layernorm" in self else raw
        if self.args.kv_latent_factor != 1.0:
            latent = latent * self.args.kv_latent_factor
        k_rope = None
        if "k_rope_proj" in self:
            source = {"input": x, "raw_latent": raw, "normed_latent": latent}
            k_rope = self.k_rope_proj(source[self.args.rope_key_from])
            if self.args.rope_key_factor != 1.0:
                k_rope = k_rope * self.args.rope_key_factor
            k_rope = self._heads(k_rope, self.args.rope_heads)
            if "k_head_norm" not in self:  # else the norm comes first, see _expanded
                k_rope = self.k_rope(k_rope, offset)
        return mx.expand_dims(latent, 1), k_rope

    def _through_cache(self, latent, k_rope, cache):
        """In and out: latent [batch, 1, tokens, rank], k_rope [batch, rope_heads, tokens, dims]."""
        if cache is None:
            return latent, k_rope
        B, _, L, _ = latent.shape
        if k_rope is None:
            flat = mx.zeros((B, 1, L, 1), dtype=latent.dtype)  # caches want a second array
        else:
            # One head in the cache: mlx-lm sizes both arrays by the keys' head count.
            flat = k_rope.transpose(0, 2, 1, 3).reshape(B, 1, L, -1)
        dtype = latent.dtype
        latent, flat = cache.update_and_fetch(latent, flat)
        if isinstance(latent, (tuple, list)):  # a cache that mlx-lm quantised (--kv-bits)
            latent, flat = (
                mx.dequantize(*t, group_size=cache.group_size, bits=cache.bits).astype(dtype)
                for t in (latent, flat)
            )
        if k_rope is not None:
            k_rope = self._heads(flat.squeeze(1), self.args.rope_heads)
        return latent, k_rope

    def _absorbed(self, q_nope, q_rope, latent, k_rope, mask):
        # A key bias would add q.b to every score of a query: softmax does not see it.
        B, heads, _, nope = q_nope.shape
        per_kv = heads // self.args.kv_heads  # query heads that share a key head, as rows
        q = self.k_b_proj.backward(q_nope.reshape(B, -1, per_kv, nope))
        q = q.reshape(B, heads, 1, -1)
        if q_rope is not None:
            q_rope = q_rope.reshape(B, -1, per_kv, q_rope.shape[-1]) * self.args.scale_rope
            position = (q_rope @ k_rope.swapaxes(-1, -2)).reshape(B, heads, 1, -1)
            if mask is not None:
                lowest = mx.array(mx.finfo(position.dtype).min, position.dtype)
                position = mx.where(mask, position, lowest)
            mask = position
        out = scaled_dot_product_attention(
            q, latent, latent, cache=None, scale=self.args.scale_nope, mask=mask
        )
        out = self._value_proj()(out.reshape(B, -1, per_kv, out.shape[-1]))
        return out.reshape(B, heads, 1, -1)

    def _expanded(self, q_nope, q_rope, latent, k_rope, mask, first):
        args = self.args
        content = self.k_b_proj(latent) if q_nope is not None else None
        values = content if args.value_is_key_content else self.v_b_proj(latent)
        if k_rope is not None:
            shape = (*k_rope.shape[:1], args.kv_heads, *k_rope.shape[2:])
            k_rope = mx.broadcast_to(k_rope, shape)
        if "k_head_norm" in self:
            content, k_rope = self._head_norm(self.k_head_norm, content, k_rope)
            k_rope = k_rope if k_rope is None else self.k_rope(k_rope, first)
        if q_rope is not None and args.scale_rope != args.scale_nope:
            # The one scale of the fused kernel is the content's.
            q_rope = q_rope * (args.scale_rope / args.scale_nope)
        return scaled_dot_product_attention(
            self._join(q_nope, q_rope),
            self._join(content, k_rope),
            values,
            cache=None,
            scale=args.scale_nope,
            mask=mask,
        )

    def _join(self, content, position):
        parts = [part for part in (content, position) if part is not None]
        return parts[0] if len(parts) == 1 else mx.concatenate(parts, axis=-1)

    def _value_proj(self):
        return self.k_b_proj if self.args.value_is_key_content else self.v_b_proj


def activate(kind, x):
    if kind == "silu":
        return nn.silu(x)
    if kind == "gelu_erf":
        return nn.gelu(x)
    if kind == "gelu_tanh":
        return nn.gelu_approx(x)
    if kind == "relu":
        return nn.relu(x)
    return mx.clip(nn.silu(x), -100.0, 100.0)


class Mlp(nn.Module):
    """down(act(gate x) * up x), or down(act(up x)) when not gated."""

    def __init__(self, args: ModelArgs, prefix: str, width: int):
        super().__init__()
        self.kind = getattr(args, prefix + "_activation")
        bias = getattr(args, prefix + "_bias")
        if getattr(args, prefix + "_gated"):
            self.gate_proj = nn.Linear(args.hidden_size, width, bias=bias)
        self.up_proj = nn.Linear(args.hidden_size, width, bias=bias)
        self.down_proj = nn.Linear(width, args.hidden_size, bias=bias)

    def __call__(self, x):
        up = self.up_proj(x)
        if "gate_proj" in self:
            return self.down_proj(activate(self.kind, self.gate_proj(x)) * up)
        return self.down_proj(activate(self.kind, up))


class GatedActivation(nn.Module):
    """What mlx-lm's SwitchGLU calls between its projections."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def __call__(self, x, gate):
        return activate(self.kind, gate) * x


class UngatedExperts(nn.Module):
    def __init__(self, args: ModelArgs):
        super().__init__()
        hidden, width = args.hidden_size, args.moe_intermediate_size
        experts, bias = args.n_routed_experts, args.routed_bias
        self.kind = args.routed_activation
        self.up_proj = SwitchLinear(hidden, width, experts, bias=bias)
        self.down_proj = SwitchLinear(width, hidden, experts, bias=bias)

    def __call__(self, x, indices):
        x = mx.expand_dims(x, (-2, -3))
        x = activate(self.kind, self.up_proj(x, indices))
        return self.down_proj(x, indices).squeeze(-2)


class Router(nn.Module):
    """Chooses experts and weighs them, in f32 whatever the weights are. Never quantised."""

    def __init__(self, args: ModelArgs):
        super().__init__()
        self.args = args
        self.weight = mx.zeros((args.n_routed_experts, args.hidden_size))
        if args.router_bias:
            self.bias = mx.zeros((args.n_routed_experts,))
        if args.router_expert_bias != "none":
            self.expert_bias = mx.zeros((args.n_routed_experts,))

    def __call__(self, x):
        """x: [..., hidden] -> indices and weights [..., num_experts_per_tok]"""
        args = self.args
        z = x.astype(mx.float32) @ self.weight.astype(mx.float32).T
        if args.router_bias:
            z = z + self.bias.astype(mx.float32)
        if args.router_logit_clamp:
            z = mx.clip(z, *args.router_logit_clamp)
        if args.router_expert_bias == "logits":
            z = z + self.expert_bias.astype(mx.float32)
        scores = z
        if args.router_score == "softmax":
            scores = mx.softmax(z, axis=-1, precise=True)
        elif args.router_score == "sigmoid":
            scores = mx.sigmoid(z)
        choice = scores
        if args.router_expert_bias in ("selection", "scores"):
            choice = choice + self.expert_bias.astype(mx.float32)
        if args.topk_group < args.n_group:
            choice = self._mask_groups(choice)
        k = args.num_experts_per_tok
        indices = mx.argpartition(-choice, kth=k - 1, axis=-1)[..., :k]
        # With the bias in the scores, what chose is what weighs, masks included.
        weigh = choice if args.router_expert_bias == "scores" else scores
        weights = mx.take_along_axis(weigh, indices, axis=-1)
        if args.router_score == "softmax_of_chosen":
            weights = mx.softmax(weights, axis=-1, precise=True)
        if args.router_weight_clamp:
            weights = mx.clip(weights, *args.router_weight_clamp)
        if args.norm_topk_prob:
            total = weights.sum(axis=-1, keepdims=True) + args.router_norm_eps
            if args.router_norm_min > 0:
                total = mx.maximum(total, args.router_norm_min)
            weights = weights / total
        return indices, weights * args.routed_scaling_factor

    def _mask_groups(self, choice):
        args = self.args
        groups = choice.reshape(*choice.shape[:-1], args.n_group, -1)
        if args.router_group_score == "max" or groups.shape[-1] == 1:
            ranks = groups.max(axis=-1)
        else:
            ranks = mx.topk(groups, 2, axis=-1).sum(axis=-1)
        drop = args.n_group - args.topk_group
        worst = mx.argpartition(ranks, kth=drop - 1, axis=-1)[..., :drop]
        fill = 0.0 if args.router_group_mask == "zero" else -math.inf
        groups = mx.put_along_axis(groups, mx.expand_dims(worst, -1), mx.array(fill), axis=-2)
        return groups.reshape(choice.shape)


class MixtureOfExperts(nn.Module):
    def __init__(self, args: ModelArgs):
        super().__init__()
        self.shared_scale = args.shared_scale
        self.gate = Router(args)
        if args.routed_gated:
            self.switch_mlp = SwitchGLU(
                args.hidden_size,
                args.moe_intermediate_size,
                args.n_routed_experts,
                activation=GatedActivation(args.routed_activation),
                bias=args.routed_bias,
            )
        else:
            self.switch_mlp = UngatedExperts(args)
        if args.shared_intermediate_size:
            self.shared_experts = Mlp(args, "shared", args.shared_intermediate_size)

    def __call__(self, x):
        indices, weights = self.gate(x)
        y = self.switch_mlp(x, indices)
        y = (y * mx.expand_dims(weights, -1)).sum(axis=-2).astype(x.dtype)
        if "shared_experts" in self:
            shared = self.shared_experts(x)
            y = y + (shared if self.shared_scale == 1.0 else shared * self.shared_scale)
        return y


class Block(nn.Module):
    def __init__(self, args: ModelArgs, layer: int):
        super().__init__()
        self.self_attn = Attention(args)
        if args.is_moe(layer):
            self.mlp = MixtureOfExperts(args)
        else:
            self.mlp = Mlp(args, "dense", args.intermediate_size)
        if args.norm_kind != "none":
            self.input_layernorm = Norm(args, "norm", args.hidden_size)
            self.post_attention_layernorm = Norm(args, "norm", args.hidden_size)

    def __call__(self, x, mask, cache):
        normed = self.input_layernorm(x) if "input_layernorm" in self else x
        x = x + self.self_attn(normed, mask, cache)
        normed = self.post_attention_layernorm(x) if "post_attention_layernorm" in self else x
        return x + self.mlp(normed)


class Decoder(nn.Module):
    def __init__(self, args: ModelArgs):
        super().__init__()
        self.args = args
        self.embed_tokens = nn.Embedding(args.vocab_size, args.hidden_size)
        if args.positions == "learned":
            self.embed_positions = nn.Embedding(args.max_position_embeddings, args.hidden_size)
        self.layers = [Block(args, layer) for layer in range(args.num_hidden_layers)]
        last = "final_norm" if args.own_final_norm else "norm"
        if getattr(args, last + "_kind") != "none":
            self.norm = Norm(args, last, args.hidden_size)

    def __call__(self, tokens, cache):
        h = self.embed_tokens(tokens)
        if "embed_positions" in self:
            offset = cache[0].offset if cache[0] is not None else 0
            h = h + self.embed_positions(self._positions(offset, tokens.shape[1]))
        mask = create_attention_mask(h, cache[0])
        for layer, c in zip(self.layers, cache):
            h = layer(h, mask, c)
        return self.norm(h) if "norm" in self else h

    def _positions(self, offset, length):
        batched = isinstance(offset, mx.array)
        end = (int(offset.max().item()) if batched else offset) + length
        limit = self.args.max_position_embeddings
        if end > limit:
            raise ValueError(
                f"position {end - 1} asked of a model with {limit} learned positions "
                '("max_position_embeddings"). Shorten the prompt or the reply.'
            )
        steps = mx.arange(length)
        if not batched:
            return offset + steps
        # Left padding has negative positions; it is masked, but the lookup must exist.
        return mx.maximum(mx.expand_dims(offset, -1) + steps, 0)


class HeadBias(nn.Module):
    """The output bias alone, where the output weight is the embedding's."""

    def __init__(self, vocab: int):
        super().__init__()
        self.bias = mx.zeros((vocab,))

    def __call__(self, x):
        return x + self.bias


class Model(nn.Module):
    def __init__(self, args: ModelArgs):
        super().__init__()
        self.args = args
        self.model_type = args.model_type
        self.model = Decoder(args)
        if not args.tie_word_embeddings:
            self.lm_head = nn.Linear(args.hidden_size, args.vocab_size, bias=args.head_bias)
        elif args.head_bias:
            self.lm_head = HeadBias(args.vocab_size)

    def __call__(self, inputs, cache: Optional[Any] = None):
        """inputs: token ids [batch, tokens] -> logits [batch, tokens, vocab]"""
        if cache is None:
            cache = [None] * len(self.layers)
        h = self.model(inputs, cache)
        if self.args.tie_word_embeddings:
            h = self.model.embed_tokens.as_linear(h)
        return self.lm_head(h) if "lm_head" in self else h

    @property
    def layers(self):
        return self.model.layers

    def make_cache(self):
        return [KVCache() for _ in self.layers]

    @property
    def quant_predicate(self):
        def predicate(path, module):
            return not path.endswith(("mlp.gate", "embed_positions"))

        return predicate

    @property
    def cast_predicate(self):
        return lambda path: "expert_bias" not in path
