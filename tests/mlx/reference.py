"""The exact class's forward pass once more, in f64 numpy, one head and token at a time.

Written from docs/exact-class.md and src/model/spec.h, not from the class: no cache, no
absorption, no stacking, no fused kernels. Slow on purpose; what it shares with the
class is the meaning of the config keys and the names of the weights.
"""

import math

import numpy as np


def erf(x):
    return np.vectorize(math.erf)(x)


ACTIVATIONS = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu_erf": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5
    * x
    * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))),
    "relu": lambda x: np.where(x > 0, x, 0.0),
    "silu_clipped": lambda x: np.clip(x / (1 + np.exp(-x)), -100, 100),
}


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / e.sum()


class Reference:
    def __init__(self, config, tensors):
        self.c = config
        self.w = {name: value.astype(np.float64) for name, value in tensors.items()}

    def logits(self, tokens):
        """tokens [T] -> [T, vocab]"""
        return self.run(tokens)[0]

    def run(self, tokens):
        """Logits, and the normed state that they are read from."""
        c, w = self.c, self.w
        h = w["model.embed_tokens.weight"][tokens]
        if c["positions"] == "learned":
            h = h + w["model.embed_positions.weight"][: len(tokens)]
        for layer in range(c["num_hidden_layers"]):
            block = f"model.layers.{layer}."
            mixture = (
                c["n_routed_experts"] > 0
                and layer >= c["first_k_dense_replace"]
                and layer % c["moe_layer_freq"] == c["moe_layer_offset"]
            )
            h = self.block(block, h, mixture)
        h = self.norm("model.norm", "final_norm" if c["own_final_norm"] else "norm", h)
        return self.head_logits(h), h

    def block(self, name, h, mixture):
        h = h + self.attention(name, self.norm(name + "input_layernorm", "norm", h))
        x = self.norm(name + "post_attention_layernorm", "norm", h)
        if mixture:
            return h + np.stack([self.mixture(name + "mlp.", row) for row in x])
        return h + self.mlp(name + "mlp.", "dense", x)

    def head_logits(self, h):
        head = "model.embed_tokens" if self.c["tie_word_embeddings"] else "lm_head"
        return h @ self.w[head + ".weight"].T + self.w.get("lm_head.bias", 0.0)

    def mtp_logits(self, tokens):
        """The multi-token heads' logits, [heads, T, vocab]: head m from the state before it
        and the embedding of the token m + 1 places on, zero past the end."""
        c, w = self.c, self.w
        _, state = self.run(tokens)
        out = []
        for m in range(c["num_nextn_predict_layers"]):
            future = np.zeros_like(state)
            future[: len(tokens) - m - 1] = w["model.embed_tokens.weight"][tokens[m + 1 :]]
            both = [self.norm(f"mtp.{m}.prev_norm", "norm", state),
                    self.norm(f"mtp.{m}.embed_norm", "norm", future)]  # fmt: skip
            state = self.linear(f"mtp.{m}.combine_proj", np.concatenate(both, -1))
            state = self.block(f"mtp.{m}.block.", state, c["n_routed_experts"] > 0)
            last = self.norm(f"mtp.{m}.norm", "norm", state) if c["mtp_norm"] else state
            out.append(self.head_logits(last))
        return np.stack(out) if out else np.zeros((0, len(tokens), c["vocab_size"]))

    def linear(self, name, x):
        return x @ self.w[name + ".weight"].T + self.w.get(name + ".bias", 0.0)

    def norm(self, name, prefix, x):
        kind, eps = self.c[prefix + "_kind"], self.c[prefix + "_eps"]
        if kind == "none":
            return x
        if kind == "layer":
            x = x - x.mean(-1, keepdims=True)
        square = (x * x).mean(-1, keepdims=True)
        if self.c[prefix + "_eps_outside_root"]:
            x = x / (np.sqrt(square) + eps)
        else:
            x = x / np.sqrt(square + eps)
        return x * self.w[name + ".weight"] + self.w.get(name + ".bias", 0.0)

    def inverse_frequencies(self, dims):
        c = self.c
        base = c["rope_base"]
        plain = np.array([base ** (-2 * i / dims) for i in range(dims // 2)])
        if c["rope_scaling"] == "linear":
            return plain / c["rope_factor"]
        if c["rope_scaling"] == "longrope":
            return plain / np.array(c["rope_long_factor"])
        if c["rope_scaling"] == "yarn":
            # DeepSeek's own words: the pair that makes `n` rotations over the original length.
            def pair(n):
                original = c["rope_original_max_position_embeddings"]
                return dims * math.log(original / (n * 2 * math.pi)) / (2 * math.log(base))

            low = max(math.floor(pair(c["rope_beta_fast"])), 0)
            high = min(math.ceil(pair(c["rope_beta_slow"])), dims - 1)
            ramp = np.clip((np.arange(dims // 2) - low) / max(high - low, 0.001), 0, 1)
            return plain / c["rope_factor"] * ramp + plain * (1 - ramp)
        return plain

    def magnitude(self):
        c = self.c
        if c["rope_scaling"] == "yarn":
            grow = 0.1 * math.log(c["rope_factor"]) if c["rope_factor"] > 1 else 0.0
            return (1 + grow * c["rope_mscale"]) / (1 + grow * c["rope_mscale_all_dim"])
        if c["rope_scaling"] == "longrope":
            original = c["rope_original_max_position_embeddings"]
            stretch = c["max_position_embeddings"] / original
            if stretch > 1:
                return math.sqrt(1 + math.log(stretch) / math.log(original))
        return 1.0

    def rotate_heads(self, x):
        """x [heads][T, dims]: each head by itself, or all of them as one vector"""
        heads, pairs = len(x), x[0].shape[1] // 2
        table = np.array(self.c["rope_inv_freq"])
        if self.c["rope_span"] == "all_heads":
            whole = np.concatenate(x, -1)
            rates = table if len(table) else self.inverse_frequencies(whole.shape[1])
            return np.split(self.rotate(whole, rates), heads, -1)
        rates = table if len(table) else self.inverse_frequencies(x[0].shape[1])
        rates = np.broadcast_to(rates.reshape(-1, pairs), (heads, pairs))
        return [self.rotate(head, rate) for head, rate in zip(x, rates)]

    def rotate(self, x, rates):
        """x [T, dims], row t at position t; as complex numbers"""
        angle = np.arange(len(x))[:, None] * rates
        half = x.shape[1] // 2
        if self.c["rope_layout"] == "interleaved":
            pairs = x[:, 0::2] + 1j * x[:, 1::2]
        else:
            pairs = x[:, :half] + 1j * x[:, half:]
        pairs = pairs * np.exp(1j * angle) * self.magnitude()
        if self.c["rope_layout"] == "interleaved":
            return np.stack([pairs.real, pairs.imag], -1).reshape(x.shape)
        return np.concatenate([pairs.real, pairs.imag], -1)

    def attention(self, block, x):
        c, a = self.c, block + "self_attn."
        heads = c["num_attention_heads"]
        kv_heads = c["num_key_value_heads"] or heads
        nope, rope = c["qk_nope_head_dim"], c["qk_rope_head_dim"]
        query = x
        if c["q_lora_rank"]:
            query = self.norm(a + "q_a_layernorm", "q_norm", self.linear(a + "q_a_proj", x))
        raw = self.linear(a + "kv_a_proj", x) if c["kv_lora_rank"] else x
        latent = raw
        if c["kv_lora_rank"]:
            latent = self.norm(a + "kv_a_layernorm", "kv_norm", raw)
        latent = latent * c["kv_latent_factor"]
        default = 1 / math.sqrt(nope + rope)
        scale = c["softmax_scale"] or default
        scale_rope = c["softmax_scale_rope"] or scale
        queries, keys, values = [], [], []
        for h in range(heads):
            parts = []
            if nope:
                parts.append(self.part(a + "q_nope_proj", query, h, nope))
            if rope:
                parts.append(self.part(a + "q_rope_proj", query, h, rope))
            queries.append(self.head_norm(a, "q_head_norm", np.concatenate(parts, -1)))
        source = {"input": x, "raw_latent": raw, "normed_latent": latent}[c["rope_key_from"]]
        for g in range(kv_heads):
            parts = [self.head(a + "k_b_proj", latent, g)] if nope else []
            if rope:
                row = g if c["rope_keys"] == "per_head" else 0
                key = self.part(a + "k_rope_proj", source, row, rope)
                parts.append(key * c["rope_key_factor"])
            own = None if c["value_is_key_content"] else self.head(a + "v_b_proj", latent, g)
            values.append(parts[0] if own is None else own)
            keys.append(self.head_norm(a, "k_head_norm", np.concatenate(parts, -1)))
        if rope:
            q_turned = self.rotate_heads([q[:, nope:] for q in queries])
            shared = c["rope_keys"] == "shared"  # one key, however a norm per head changed it
            k_turned = [self.rotate_heads([k[:, nope:]])[0] if shared else None for k in keys]
            if not shared:
                k_turned = self.rotate_heads([k[:, nope:] for k in keys])
        outputs = []
        for h in range(heads):
            g = h // (heads // kv_heads)
            scores = scale * queries[h][:, :nope] @ keys[g][:, :nope].T
            if rope:
                scores = scores + scale_rope * q_turned[h] @ k_turned[g].T
            outputs.append(
                np.stack(
                    [softmax(row[: t + 1]) @ values[g][: t + 1] for t, row in enumerate(scores)]
                )
            )
        return self.linear(a + "o_proj", np.concatenate(outputs, -1))

    def head_norm(self, a, which, x):
        """Over the whole head, [content; position], or over its content alone."""
        if self.c["head_norm_part"] == "whole":
            return self.norm(a + which, which, x)
        nope = self.c["qk_nope_head_dim"]
        return np.concatenate([self.norm(a + which, which, x[:, :nope]), x[:, nope:]], -1)

    def part(self, name, x, head, width):
        """One head's rows of a flattened projection."""
        rows = slice(head * width, (head + 1) * width)
        bias = self.w[name + ".bias"][rows] if name + ".bias" in self.w else 0.0
        return x @ self.w[name + ".weight"][rows].T + bias

    def head(self, name, x, head):
        """One head of a [heads, out, in] weight."""
        bias = self.w[name + ".bias"][head] if name + ".bias" in self.w else 0.0
        return x @ self.w[name + ".weight"][head].T + bias

    def mlp(self, name, prefix, x, expert=None):
        def linear(proj):
            weight, bias = self.w[name + proj + ".weight"], self.w.get(name + proj + ".bias")
            if expert is not None:
                weight, bias = weight[expert], None if bias is None else bias[expert]
            return lambda v: v @ weight.T + (0.0 if bias is None else bias)

        act = ACTIVATIONS[self.c[prefix + "_activation"]]
        up = linear("up_proj")(x)
        inner = act(linear("gate_proj")(x)) * up if self.c[prefix + "_gated"] else act(up)
        return linear("down_proj")(inner)

    def mixture(self, name, x):
        """x [hidden], one token"""
        c = self.c
        y = sum(
            weight * self.mlp(name + "switch_mlp.", "routed", x, expert)
            for expert, weight in self.route(name + "gate", x)
        )
        if c["shared_intermediate_size"]:
            y = y + c["shared_scale"] * self.mlp(name + "shared_experts.", "shared", x)
        return y

    def route(self, name, x):
        c = self.c
        z = self.linear(name, x)
        if c["router_logit_clamp"]:
            z = np.clip(z, *c["router_logit_clamp"])
        bias = self.w.get(name + ".expert_bias", np.zeros_like(z))
        if c["router_expert_bias"] == "logits":
            z = z + bias
        scores = {
            "softmax_of_chosen": lambda: z,
            "softmax": lambda: softmax(z),
            "sigmoid": lambda: 1 / (1 + np.exp(-z)),
        }[c["router_score"]]()
        in_choice = c["router_expert_bias"] in ("selection", "scores")
        choice = scores + bias if in_choice else scores.copy()
        members = np.split(np.arange(len(z)), c["n_group"])
        if c["topk_group"] < c["n_group"]:
            best = {
                "max": lambda s: max(s),
                "top2_sum": lambda s: sum(sorted(s)[-2:]),
            }[c["router_group_score"]]
            ranked = sorted(members, key=lambda group: best(choice[group]))
            for group in ranked[: c["n_group"] - c["topk_group"]]:
                choice[group] = 0.0 if c["router_group_mask"] == "zero" else -np.inf
        chosen = np.argsort(-choice)[: c["num_experts_per_tok"]]
        weights = (choice if c["router_expert_bias"] == "scores" else scores)[chosen]
        if c["router_score"] == "softmax_of_chosen":
            weights = softmax(weights)
        if c["router_weight_clamp"]:
            weights = np.clip(weights, *c["router_weight_clamp"])
        if c["norm_topk_prob"]:
            total = weights.sum() + c["router_norm_eps"]
            least = c["router_norm_min"]
            weights = weights / (max(total, least) if least > 0 else total)
        return list(zip(chosen, weights * c["routed_scaling_factor"]))
