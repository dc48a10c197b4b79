"""Which other values a setting is tried at, and which of them provably change nothing.

Owns the reasons: a flip that is left out is left out here, with its proof in words."""
import math


def flips(path, kind, value):
    """Other values of a field. kind: a list of words, "bool"/bool, a name of a number type, or a type."""
    if isinstance(kind, list):
        return [v for v in kind if v != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1] + ([value - 1] if value > 0 else [])
    if isinstance(value, float):
        if path.endswith("eps"):
            # What people confuse: 1e-5, 1e-6, 1e-8.
            return [1e-5 if value != 1e-5 else 1e-6] + ([0.0] if value else [])
        if path == "router.norm_min":
            return [100.0]  # more than any sum of weights: it acts
        if value == 0.0:
            return [0.5]
        return [value * 1.25, value * 0.5]
    return []


def mixtures(spec):
    """Which layers are mixtures."""
    return [l for l in range(spec["num_hidden_layers"])
            if spec["moe.n_routed_experts"] and l >= spec["moe.first_k_dense_replace"] and spec["moe.moe_layer_freq"]
            and l % spec["moe.moe_layer_freq"] == spec.get("moe.moe_layer_offset", 0)]


def dense_layers(spec):
    """Whether a layer of this model is not a mixture."""
    return len(mixtures(spec)) < spec["num_hidden_layers"]


def dead(spec, path):
    """Why a field does not enter the arithmetic of this model at all, or None."""
    def starts(*prefixes):
        return path.startswith(prefixes)

    kinds = {"norm", "attention.q_norm", "attention.kv_norm", "attention.q_head_norm", "attention.k_head_norm",
             "final_norm"}
    group = path.rpartition(".")[0]
    if group in kinds and not path.endswith("kind") and spec.get(group + ".kind") == "none":
        return "there is no such norm"
    if group == "final_norm" and not spec["own_final_norm"]:
        return "the final norm is of the blocks' kind"
    if starts("rope.") and spec["attention.qk_rope_head_dim"] == 0:
        return "nothing is rotated"
    if path in ("attention.rope_keys", "attention.rope_key_from", "attention.rope_key_factor",
                "attention.softmax_scale_rope", "attention.k_rope_bias") and spec["attention.qk_rope_head_dim"] == 0:
        return "there is no rope key"
    scaling = spec["rope.scaling"]
    if path in ("rope.factor",) and scaling not in ("linear", "yarn"):
        return "for linear and yarn"
    if path in ("rope.beta_fast", "rope.beta_slow", "rope.mscale", "rope.mscale_all_dim") and scaling != "yarn":
        return "for yarn"
    if path == "rope.original_max_position_embeddings" and scaling not in ("yarn", "longrope"):
        return "for yarn and longrope"
    if path == "max_position_embeddings" and spec["positions"] == "none":
        return "says how long sequences may be, and nothing else"
    if starts("moe.routed.", "moe.shared.", "router.") and spec["moe.n_routed_experts"] == 0:
        return "there is no mixture"
    if path in ("moe.first_k_dense_replace", "moe.moe_layer_freq", "moe.moe_layer_offset", "moe.shared_scale") \
            and spec["moe.n_routed_experts"] == 0:
        return "there is no mixture"
    if (starts("moe.shared.") and path != "moe.shared.intermediate_size" or path == "moe.shared_scale") \
            and spec["moe.shared.intermediate_size"] == 0:
        return "nothing is shared"
    if starts("dense.") and not dense_layers(spec):
        return "there is no dense layer"
    if path == "attention.q_down_bias" and spec["attention.q_lora_rank"] == 0:
        return "queries come straight from the input"
    if path in ("router.norm_eps", "router.norm_min", "router.norm_max", "router.norm_shared") \
            and not spec["router.norm_topk_prob"]:
        return "weights are not normalised"
    if path in ("router.topk_group", "router.group_score", "router.group_mask") and spec["router.n_group"] == 1:
        return "there is one group"
    if path in ("mtp_combine_bias", "mtp_norm") and spec["num_nextn_predict_layers"] == 0:
        return "there are no multi-token heads"
    if path in ("attention.kv_latent_factor", "attention.kv_down_bias", "attention.rope_key_from") \
            and spec["attention.kv_lora_rank"] == 0:
        return "there is no latent"
    if path == "attention.head_norm_part" and spec["attention.q_head_norm.kind"] == "none" \
            and spec["attention.k_head_norm.kind"] == "none":
        return "there is no norm per head"
    return None


def yarn_range(spec):
    """The pairs between which YaRN blends: whole numbers, so that near values give the same."""
    width, base = spec["attention.qk_rope_head_dim"], spec["rope.base"]

    def pair(rotations):
        turns = spec["rope.original_max_position_embeddings"] / (rotations * 2 * math.pi)
        return width * math.log(turns) / (2 * math.log(base))
    low, high = math.floor(pair(spec["rope.beta_fast"])), math.ceil(pair(spec["rope.beta_slow"]))
    # Pairs are 0 ... width / 2 - 1: a blend that ends beyond the last still has its own slope.
    return max(low, 0), min(high, width - 1)


YARN_ASKS = {"ask.original_seq_len": "rope.original_max_position_embeddings", "ask.beta_fast": "rope.beta_fast",
             "ask.beta_slow": "rope.beta_slow"}


# (model, path) -> why no other value of it changes anything, beyond what equivalent() proves.
EQUIVALENT = {
    ("deepseek-from-scratch", "num_nextn_predict_layers"):
        "further tokens' heads are no part of the logits; their number is the checkpoint's",
}
# Checkpoints that hold the embedding a second time as lm_head.
ALIASED = ("minimind", "quipu-moe", "vineet-llm", "mobilereason", "deepseek-from-scratch",
           "deepseek-v3-int8")


NORM = ("kind", "eps", "eps_outside_root", "bias")
# Models whose own_final_norm, flipped alone, brings another epsilon that rounding hides: the change of
# the logits by final_norm_change() is below what verify grants to rounding. gallery_test.py calculates
# it for every model with RMS norms, holds the program to it, and holds this list to it.
HIDDEN_FINAL_NORM = ("deepseek-from-scratch", "deepseek-lm", "nmoe", "smol-deepseek", "smol-deepseek-int8",
                     "torchtitan-v3")


def final_norm_change(spec, last, logits, eps=None):
    """The most that any logit changes when an RMS final norm is one of its own, by calculation in f64:
    each position's state is divided by another number, and the logits with it. `last`: the state after
    the last layer [positions, hidden]; `logits`: the model's own [positions, vocab], without a bias."""
    import numpy as np
    mean = (last.astype(np.float64) ** 2).mean(-1)

    def divisor(norm, eps):
        return np.sqrt(mean) + eps if spec[norm + ".eps_outside_root"] else np.sqrt(mean + eps)
    assert spec["norm.kind"] == spec["final_norm.kind"] == "rms" and not spec["head_bias"]
    ratio = divisor("norm", spec["norm.eps"]) / divisor("final_norm", spec["final_norm.eps"] if eps is None else eps)
    return float((np.abs(ratio - 1)[:, None] * np.abs(logits.astype(np.float64))).max())


def equivalent(name, spec, path, value):
    """Why this flip changes nothing in this model, or None."""
    if (name, path) in EQUIVALENT:
        return EQUIVALENT[name, path]
    if path in ("ask.max_position_embeddings", "ask.max_seq_len", "ask.context"):
        return dead(spec, "max_position_embeddings")
    if path.startswith("moe.") and path in spec and mixtures({**spec, path: value}) == mixtures(spec) \
            and path in ("moe.first_k_dense_replace", "moe.moe_layer_freq", "moe.moe_layer_offset"):
        return "the same layers are mixtures"
    if path == "own_final_norm" and value and all(spec["norm." + k] == spec["final_norm." + k] for k in NORM):
        return "the final norm is then one of its own, and the same one"
    field = YARN_ASKS.get(path, path)
    if field in YARN_ASKS.values() and spec["rope.scaling"] == "yarn" and value \
            and yarn_range({**spec, field: value}) == yarn_range(spec):
        return "the pairs between which YaRN blends are whole numbers: the same ones"
    if path == "router.norm_eps" and value == 0 and name in ("deepseek-v3-int8", "torchtitan-v3"):
        return "the divisor is at least 0.5, or far above 1e-12: in f32 the epsilon is lost beside it"
    if path == "tie_word_embeddings" and value is False and name in ALIASED:
        return "the head is in the checkpoint too, with the same values: untied it is the same model"
    if path == "router.score" and spec[path] == "softmax" and value == "softmax_of_chosen" \
            and spec["router.norm_topk_prob"] and spec["router.expert_bias"] in ("none", "logits") \
            and spec["router.norm_eps"] < 1e-12:
        return "softmax over all, divided by the sum over the chosen, is the softmax over the chosen"
    if path == "router.expert_bias" and spec["router.score"] == "softmax_of_chosen" \
            and {value, spec[path]} == {"logits", "scores"}:
        return "the scores are the logits"
    if path == "router.norm_eps" and 0 < spec[path] < 1e-12 and spec["router.score"] == "softmax" and value == 0:
        return "the chosen of E experts sum to at least 1 / E, beside which it vanishes in f32"
    if path.endswith("activation") and {value, spec[path]} == {"silu", "silu_clipped"}:
        return "silu_clipped clips at 100, which no unit of these models comes near"
    if path == "rope.scaling" and value == "linear" and spec["rope.factor"] == 1:
        return "positions are divided by a factor of 1"
    if path == "router.norm_topk_prob" and spec["router.score"] == "softmax_of_chosen" \
            and spec["router.norm_eps"] == 0:
        return "a softmax over the chosen has the sum 1 already"
    if path == "attention.num_key_value_heads" and (value or spec["attention.num_attention_heads"]) == \
            (spec[path] or spec["attention.num_attention_heads"]):
        return "0 means as many as query heads"
    if path == "attention.rope_key_from" and spec["attention.kv_norm.kind"] == "none" \
            and spec["attention.kv_latent_factor"] == 1 and {value, spec[path]} == {"raw_latent", "normed_latent"}:
        return "the latent is not normed, so both are the same"
    return None
