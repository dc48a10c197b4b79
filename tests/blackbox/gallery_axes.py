"""The axes along which home-made models differ, value by value (docs/variety.md), and what tells that
a model has a value: its description, its tensors' names, the checkpoint's container.

Owns the list, and which values no gallery model has; gallery_test.py holds both to the models."""
import re

from gallery_flips import dead, mixtures

# Values that no public layout of the gallery has, none at present: (axis, value) -> where it is tested
# instead, "axes" (a variant of tests/mlx/test_axes.py) or "FILE: TEST".
NOT_IN_THE_GALLERY = {}


class Model:
    """spec: path -> value; the rest only of a checkpoint, None for a variant of tests/mlx/test_axes.py."""

    def __init__(self, name, spec, inspected=None, recipe=None):
        self.name, self.spec, self.inspected = name, spec, inspected
        prefix = inspected["prefix"] if inspected else ""
        self.names = [g["pattern"].removeprefix(prefix) for g in inspected["groups"]] if inspected else []
        self.shapes = {g["pattern"].removeprefix(prefix): g["shape"] for g in inspected["groups"]} if inspected else {}
        self.recipe = recipe.read_text() if recipe else ""

    def live(self, path):
        return self.spec[path] if not dead(self.spec, path) else None

    def named(self, pattern):
        return any(re.search(pattern, name) for name in self.names)

    def lines(self, pattern):
        return re.search(pattern, self.recipe, re.M) is not None


def is_value(path, *values):
    return lambda m: m.live(path) in values and m.live(path) is not None


def other_than(path, usual):
    return lambda m: m.live(path) not in (None, usual)


def norm_kinds(axis, group):
    return [(axis, f"{group.split('.')[1]} {kind}", is_value(group + ".kind", kind)) for kind in ("none", "rms", "layer")]


def checkpoint(test):
    return lambda m: m.inspected is not None and test(m)


def safetensors(m):
    """How many files of that kind."""
    return sum(f["path"].endswith(".safetensors") for f in m.inspected["files"])


def prefix(*parts):
    return checkpoint(lambda m: all(p in m.inspected["prefix"] for p in parts))


A, R = "attention.", "router."
AXES = [
    ("container", "a plain state dict", checkpoint(lambda m: m.inspected["prefix"] == "")),
    *[("container", f"under {key}", checkpoint(lambda m, key=key: m.inspected["prefix"].split(".")[0] == key))
      for key in ("model", "model_state", "state_dict", "quant_state")],
    ("container", "under model_state_dict", prefix("model_state_dict.")),
    ("container", "_orig_mod. and module. in front", prefix("_orig_mod.", "module.")),
    ("container", "beside numbers and optimizer state",
     checkpoint(lambda m: any("optimizer" in k for k in m.inspected.get("facts", {})))),
    ("container", "beside pickled config classes",
     checkpoint(lambda m: any(n.startswith("not read: an object of ") for n in m.inspected["notes"]))),
    ("container", "safetensors, one file", checkpoint(lambda m: safetensors(m) == 1)),
    ("container", "safetensors in shards", checkpoint(lambda m: safetensors(m) > 1)),
    *[("container", kind.lower(), checkpoint(lambda m, kind=kind: kind in m.inspected["dtypes"]))
      for kind in ("F32", "F16", "BF16")],
    ("container", "FP8 blocks", checkpoint(lambda m: "F8_E4M3" in m.inspected["dtypes"])),
    ("container", "INT8, a scalar scale beside each",
     checkpoint(lambda m: "I8" in m.inspected["dtypes"] and m.named(r"weight[._]scale$"))),
    ("container", "INT8, scales as numbers in a dict beside",
     checkpoint(lambda m: "I8" in m.inspected["dtypes"] and m.lines(r"fact\([^)]*\{any\}"))),
    ("embedding, head", "learned positions", is_value("positions", "learned")),
    ("embedding, head", "no positions", is_value("positions", "none")),
    ("embedding, head", "no rope", lambda m: m.spec[A + "qk_rope_head_dim"] == 0),
    ("embedding, head", "tied by alias",
     checkpoint(lambda m: m.spec["tie_word_embeddings"] and m.named(r"(lm_|out_?|output_)head|lm_head"))),
    ("embedding, head", "tied, no head tensor",
     checkpoint(lambda m: m.spec["tie_word_embeddings"] and not m.named(r"head\.weight$|output\.weight$"))),
    ("embedding, head", "untied", is_value("tie_word_embeddings", False)),
    ("embedding, head", "head bias", is_value("head_bias", True)),
    ("query path", "direct", lambda m: m.spec[A + "q_lora_rank"] == 0),
    ("query path", "low rank", lambda m: m.spec[A + "q_lora_rank"] > 0),
    *norm_kinds("query path", A + "q_norm"),
    ("query path", "norm per head", lambda m: m.spec[A + "q_head_norm.kind"] != "none"),
    ("query path", "biases", is_value(A + "q_bias", True)),
    ("query path", "nope before rope in a head",
     lambda m: m.lines(r"q_rope.*\.slice\(1, (\w*nope\w*),")),
    ("query path", "rope before nope in a head", lambda m: m.lines(r"q_nope.*\.slice\(1, (\w*rope\w*),")),
    *norm_kinds("kv latent", A + "kv_norm"),
    ("kv latent", "a constant factor", other_than(A + "kv_latent_factor", 1.0)),
    ("kv latent", "biases", is_value(A + "kv_down_bias", True)),
    ("kv latent", "fewer kv heads than query heads", lambda m: 0 < m.spec[A + "num_key_value_heads"] <
     m.spec[A + "num_attention_heads"]),
    ("kv latent", "value equal to key content", is_value(A + "value_is_key_content", True)),
    *[("rope key", source, is_value(A + "rope_key_from", source)) for source in ("input", "raw_latent", "normed_latent")],
    ("rope key", "shared", is_value(A + "rope_keys", "shared")),
    ("rope key", "per head", is_value(A + "rope_keys", "per_head")),
    ("rope key", "a constant factor", other_than(A + "rope_key_factor", 1.0)),
    ("head widths", "nope, rope, value all different",
     lambda m: len({m.spec[A + f"{w}_head_dim"] for w in ("qk_nope", "qk_rope", "v")} - {0}) == 3),
    ("head widths", "nope zero", lambda m: m.spec[A + "qk_nope_head_dim"] == 0),
    ("head widths", "rope zero", lambda m: m.spec[A + "qk_rope_head_dim"] == 0),
    ("head widths", "heads * width != hidden",
     lambda m: m.spec[A + "num_attention_heads"] * m.spec[A + "v_head_dim"] != m.spec["hidden_size"]),
    ("softmax scale", "one number", other_than(A + "softmax_scale", 0.0)),
    ("softmax scale", "one for content, one for position", other_than(A + "softmax_scale_rope", 0.0)),
    ("rope", "half-split", is_value("rope.layout", "half_split")),
    ("rope", "interleaved", is_value("rope.layout", "interleaved")),
    ("rope", "another base", other_than("rope.base", 10000.0)),
    ("rope", "no scaling", is_value("rope.scaling", "none")),
    ("rope", "linear", is_value("rope.scaling", "linear")),
    ("rope", "YaRN with its magnitude", lambda m: m.live("rope.scaling") == "yarn" and m.spec[A + "softmax_scale"] != 0),
    ("rope", "frequencies per head", is_value("rope.span", "all_heads")),
    ("norms", "RMS", is_value("norm.kind", "rms")),
    ("norms", "LayerNorm with bias", lambda m: m.spec["norm.kind"] == "layer" and m.spec["norm.bias"]),
    *[("norms", f"epsilon {eps:g}", is_value("norm.eps", eps)) for eps in (1e-6, 1e-5)],
    ("norms", "epsilon inside the root", is_value("norm.eps_outside_root", False)),
    ("norms", "epsilon outside the root", is_value("norm.eps_outside_root", True)),
    ("norms", "parameters called scale and shift", checkpoint(lambda m: m.named(r"norm\d?\.shift$"))),
    *[("router", score, is_value(R + "score", score)) for score in ("softmax_of_chosen", "softmax", "sigmoid")],
    ("router", "router bias", is_value(R + "bias", True)),
    ("router", "balancing bias in the weights", is_value(R + "expert_bias", "logits", "scores")),
    ("router", "balancing bias in the selection", is_value(R + "expert_bias", "selection")),
    ("router", "renormalised", is_value(R + "norm_topk_prob", True)),
    ("router", "not renormalised", is_value(R + "norm_topk_prob", False)),
    ("router", "an epsilon in the sum", other_than(R + "norm_eps", 0.0)),
    ("router", "clamps", lambda m: any(m.live(R + f) for f in ("logit_clamp", "weight_clamp", "norm_min"))),
    ("router", "a routed factor", other_than(R + "routed_scaling_factor", 1.0)),
    *[("router", f"groups masked with {mask}", lambda m, mask=mask: m.live(R + "group_mask") == mask)
      for mask in ("zero", "negative_infinity")],
    ("mixing", "routed + c * shared", other_than("moe.shared_scale", 1.0)),
    ("mixing", "shared experts summed", lambda m: m.lines(r"concat_over\(s") and m.live("moe.shared_scale") == 1.0),
    ("mixing", "shared experts averaged", lambda m: m.lines(r"concat_over\(s") and m.live("moe.shared_scale") == 0.5),
    ("experts", "gated", is_value("moe.routed.gated", True)),
    ("experts", "not gated", is_value("moe.routed.gated", False)),
    *[("experts", activation, lambda m, a=activation: a in [m.live(f"{n}.activation") for n in ("moe.routed", "moe.shared", "dense")])
      for activation in ("silu", "gelu_erf", "gelu_tanh", "relu")],
    ("experts", "biases", is_value("moe.routed.bias", True)),
    ("experts", "own widths for routed and shared",
     lambda m: m.live("moe.shared.intermediate_size") not in (None, 0, m.spec["moe.routed.intermediate_size"])),
    ("experts", "one tensor for each", lambda m: m.lines(r"mlp\.experts\.\{e\}\.gate[^=]*= *\"[^\"]*\.\{e\}\.")),
    ("experts", "stacked [E, out, in]", lambda m: m.lines(r"mlp\.experts\.\{e\}\.gate[^=]*= *\"[^\"]*select\(0, e\)\"")),
    ("experts", "stacked [E, in, out]", lambda m: m.lines(r"mlp\.experts\.\{e\}\.gate[^=]*= *\"[^\"]*select\(0, e\)\.t\(\)\"")),
    ("experts", "gate and up fused", lambda m: m.lines(r"mlp\.experts\.\{e\}\.gate[^=]*= *\"[^\"]*slice\(0, 0, \w+\)\"")),
    ("experts", "the index at the end of the name",
     lambda m: m.lines(r"mlp\.experts\.\{e\}\.\w+\"? *= *\"[\w.{}]*\.\{e\}\"")),
    ("experts", "shared experts inside the routed list", lambda m: m.lines(r"select\(0, e \+ n_shared_experts\)")),
    ("layers", "all mixture", lambda m: len(mixtures(m.spec)) == m.spec["num_hidden_layers"]),
    ("layers", "the first dense", lambda m: m.live("moe.first_k_dense_replace") not in (None, 0) and bool(mixtures(m.spec))),
    ("layers", "every n-th", other_than("moe.moe_layer_freq", 1)),
    ("layers", "a dense network of its own kind", lambda m: m.live("dense.activation") not in (None, "silu")),
    ("multi-token heads", "dropped", lambda m: m.lines(r"^\"[^\"]*mtp[^\"]*\"\s*=")),
    ("multi-token heads", "kept on request", lambda m: m.lines(r"^num_nextn_predict_layers\s*=")),
    ("buffers", "causal masks", lambda m: m.lines(r"tril\(")),
    ("buffers", "a mask called bias", checkpoint(lambda m: any(n.endswith(".bias") and len(m.shapes[n].split(",")) == 4
                                                               for n in m.names))),
    ("buffers", "inv_freq", checkpoint(lambda m: m.named(r"inv_freq$|theta$"))),
    ("buffers", "cos and sin tables", checkpoint(lambda m: m.named(r"cos\w*$"))),
    ("buffers", "counters", checkpoint(lambda m: m.named(r"load$|count\w*$|processed$|steps?$"))),
]
